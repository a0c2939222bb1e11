"""How the command line speaks: people on stdout, or JSON on stdout and everything else on stderr; and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from ooda_dagster.advisor.index_ddl import IndexDdlError
from ooda_dagster.advisor.workload import WorkloadFileError
from ooda_dagster.config import ConfigError, ConnectionReferenceError
from ooda_dagster.core.messages import iso
from ooda_dagster.embedded import BinariesNotFoundError, ClusterError
from ooda_dagster.embedded.server_user import ServerUserError
from ooda_dagster.ledger import CycleRefusedError, LedgerUnreachableError, UnknownActionError
from ooda_dagster.targets.base import RefusedError, TargetError

SCHEMA_VERSION = 1

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class Exit(IntEnum):
    """Exit codes; 0 is also "nothing to do"."""

    OK = 0
    FAILED = 1
    CONFIG = 2
    UNREACHABLE = 3
    DENIED = 4


_CODES: tuple[tuple[tuple[type[BaseException], ...], Exit], ...] = (
    ((ConfigError, ConnectionReferenceError, WorkloadFileError, IndexDdlError, UnknownActionError), Exit.CONFIG),
    ((RefusedError, CycleRefusedError), Exit.DENIED),
    ((TargetError, LedgerUnreachableError), Exit.UNREACHABLE),
    ((BinariesNotFoundError, ClusterError, ServerUserError), Exit.CONFIG),
)


def fail(message: str, code: Exit) -> NoReturn:
    """End with a word on stderr."""
    err.print(f"[bold red]error:[/] {_plain(message)}")
    raise typer.Exit(code)


@contextmanager
def errors() -> Iterator[None]:
    """Turn what is known to go wrong into a message and an exit code; the rest is a bug and keeps its traceback."""
    try:
        yield
    except Exception as error:
        for known, code in _CODES:
            found = _find(error, known)
            if found is not None:
                fail(str(found), code)
        raise


def _find(error: BaseException | None, kinds: tuple[type[BaseException], ...]) -> BaseException | None:
    """The error itself, or what it was raised from: Dagster wraps what a phase raises."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, kinds):
            return error
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def say(as_json: bool) -> Callable[[str], None]:
    """Where progress goes."""
    console = err if as_json else out

    def line(text: str) -> None:
        console.print(_plain(text), style="dim")

    return line


def emit(value: dict[str, Any]) -> None:
    """JSON on stdout."""
    sys.stdout.write(json.dumps({"schema_version": SCHEMA_VERSION, **value}, default=_json, indent=2) + "\n")


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table for people; numbers are aligned right."""
    shown = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for n, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(r[n], int | float) or r[n] is None for r in rows)
        shown.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_cell(v) for v in row))
    out.print(shown)
    out.print()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return _plain(str(value))


def _plain(text: str) -> str:
    """Square brackets are markup to rich."""
    return text.replace("[", "\\[")


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1024 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"
