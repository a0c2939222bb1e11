"""Writes evidence files: by itself when a verdict closed, whatever died since, and when somebody asks."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
import zlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ooda_dagster.core.evidence_file import as_text
from ooda_dagster.core.evidence_settings import EvidenceFiles
from ooda_dagster.core.text import size
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.evidence import evidence_of

_PART, _STALE_S = ".part", 3600
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, zlib.error)


def export_due(loop: Loop) -> list[Path]:
    """Write what closed verdicts have no file of yet, and remove what is too old. What failed is tried again."""
    policy, book, now = loop.settings.evidence, loop.ledger.evidence, loop.clock()
    for gone in book.forget(loop.name, now - timedelta(days=policy.keep_d)):
        _remove(Path(gone), loop)
    for part in place(policy, loop.home, loop.name, "").parent.glob(f".*{_PART}"):
        if _is_stale(part):
            _remove(part, loop)
    written: list[Path] = []
    for action_id, newest in book.due(loop.name) if policy.export else []:
        done = _export(loop, action_id, newest, now)
        if why := done.get("error"):
            loop.say(f"no evidence of action {action_id[:8]} was written: {why}; `ooda actions export` writes it")
        else:
            written.append(Path(done["path"]))
        book.written(loop.name, action_id, now=now, **done)
    return written


def _export(loop: Loop, action_id: str, newest: int, now: datetime) -> dict[str, Any]:
    """Write one file; what the ledger is to hold of it. Without `journal_seq`, which is `newest`, it is tried again."""
    policy = loop.settings.evidence
    try:
        text = as_text(evidence_of(loop.ledger, loop.ledger.actions.get(action_id), loop.settings, now))
    except _UNREADABLE as error:  # what one verdict was computed from is spoilt: that stops no undo of another
        why = f"what it was computed from cannot be read: {type(error).__name__} {error}"
        return {"journal_seq": newest, "error": why}
    if len(text) > policy.max_mb * 2**20:
        why = f"it would be {size(len(text))}, and evidence.max_mb is {policy.max_mb:g}"
        return {"journal_seq": newest, "error": why}
    path = place(policy, loop.home, loop.name, action_id)
    try:
        write(path, text)
    except OSError as error:
        return {"error": f"{path}: {error.strerror or error}"}
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"journal_seq": newest, "path": str(path), "digest": digest, "bytes": len(text)}


def _is_stale(part: Path) -> bool:
    """Whether who wrote it was killed."""
    try:
        return part.stat().st_mtime < time.time() - _STALE_S
    except OSError:
        return False


def _remove(path: Path, loop: Loop) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        loop.say(f"old evidence was not removed: {path}: {error.strerror or error}")


def place(policy: EvidenceFiles, home: Path, target: str, action_id: str) -> Path:
    """Where the file of an action belongs."""
    directory = home / (policy.directory or "evidence")
    return directory / (re.sub(r"[^A-Za-z0-9_.-]", "_", target).lstrip(".") or "_") / f"{action_id}.json"


def write(path: Path, text: str) -> None:
    """All of a file or nothing of it, for its owner's eyes. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=_PART, dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
