"""An evidence file: what it holds, and the digests by which an edit is found and named.

Each part has a digest. The series of a verdict has them both ways, by statement and by block, so that an edited number
is named with both. A digest can be computed anew by who edits; that of the series is therefore in the journal's row
too, which is chained to others (core/chain.py), and the newest hash of a chain can be kept elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ooda_dagster.core.chain import canonical, digest_of
from ooda_dagster.core.question import SUMS

FORMAT, VERSION = "ooda-dagster evidence", 1
#: Parts of a file → what they are, for people.
PARTS = {
    "made_by": "who made the file",
    "target": "the target",
    "action": "the action and its statements",
    "why": "why it was proposed",
    "allowed_by": "who or what allowed it",
    "journal": "the journal",
    "looks": "the looks",
    "change_set": "the change set",
    "verdict": "the verdict",
    "judged": "what the verdict was computed from",
    "before_after": "before and after by statement",
    "settings": "the settings",
}
_SHORT = 16  # hex digits of a block's digest
_SHAPE = (KeyError, TypeError, ValueError, IndexError, AttributeError)  # of who reads what has another form


class NotEvidenceError(ValueError):
    """A file that is none of ours, or of a later version."""


def sealed(parts: Mapping[str, Any]) -> dict[str, Any]:
    """A document of all PARTS, with its digests."""
    assert parts.keys() == PARTS.keys()
    digests: dict[str, Any] = {name: digest_of(canonical(part)) for name, part in parts.items()}
    if parts["judged"] is not None:
        digests["series"] = _series_digests(parts["judged"])
    return {"format": FORMAT, "schema_version": VERSION, **parts, "digests": digests}


def as_text(document: Mapping[str, Any]) -> str:
    """JSON with one part a line; numbers are read back as they were."""
    lines = (f"{json.dumps(name)}: {json.dumps(part, allow_nan=False)}" for name, part in document.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read(text: str | bytes) -> dict[str, Any]:
    """The document of a file. Raises NotEvidenceError."""
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotEvidenceError(f"it is no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise NotEvidenceError(f'it is no evidence of ooda-dagster: that begins with "format": "{FORMAT}"')
    version = document.get("schema_version")
    if version != VERSION:
        raise NotEvidenceError(f"its schema_version is {version}, and this ooda-dagster reads {VERSION}")
    return document


def edits(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(part, what) of all that is not as its digest says."""
    digests = document.get("digests")
    if not isinstance(digests, dict):
        yield "digests", "they are missing"
        return
    for name in document:
        if name not in (*PARTS, "format", "schema_version", "digests"):
            yield name, "it does not belong into the file"
    for name, words in PARTS.items():
        if name not in document:
            yield name, f"{words}: the part is missing"
        elif digest_of(canonical(document[name])) != digests.get(name):
            named = list(_edits_of_series(document[name], digests.get("series"))) if name == "judged" else []
            yield from named or [(name, f"{words}: the part is not as it was written, or its digest is not")]
        elif name == "judged" and document[name] is not None and _series(document[name]) != digests.get("series"):
            yield "digests", "those of the series do not fit to it"


def _series(judged: Any) -> dict[str, Any] | None:
    try:
        return _series_digests(judged)
    except _SHAPE:
        return None


def _series_digests(judged: Mapping[str, Any]) -> dict[str, Any]:
    statements = judged["statements"]
    return {
        "head": digest_of(canonical({k: v for k, v in judged.items() if k != "statements"})),
        "order": digest_of(canonical([s["fingerprint"] for s in statements])),
        "statements": {s["fingerprint"]: digest_of(canonical(s)) for s in statements},
        "blocks": [_block_digest(statements, n) for n in range(len(judged["block_start"]))],
    }


def _block_digest(statements: list[dict[str, Any]], number: int) -> str:
    cells = [[s[name][number] for name in ("n", *SUMS) if name in s] for s in statements]
    return digest_of(canonical(cells))[:_SHORT]


def _edits_of_series(judged: Any, known: Any) -> Iterator[tuple[str, str]]:
    """Which statement, in which block. Nothing where the digests do not tell."""
    try:
        now = _series_digests(judged)
        blocks = [
            start for start, a, b in zip(judged["block_start"], now["blocks"], known["blocks"], strict=True) if a != b
        ]
        if now["head"] != known["head"]:
            yield "judged", "times, settings or the places of blocks are not as they were written"
        if now["order"] != known["order"]:
            yield "judged", "its statements are not those that were judged, or not in their order"
        for fingerprint, digest in now["statements"].items():
            if digest != known["statements"].get(fingerprint):
                where = f", block of {', '.join(blocks[:5])}" + (" and more" if len(blocks) > 5 else "")
                yield "judged", f"the series of statement {fingerprint} was changed{where if blocks else ''}"
    except _SHAPE:
        return


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in it")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
