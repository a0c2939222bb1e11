"""How the command line speaks: people on stdout, or JSON on stdout and everything else on stderr; and exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any, NoReturn, TextIO

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

SCHEMA_VERSION = 1
#: Columns of a pipe or a file, which have none of their own: rich would take 80.
_PIPED_WIDTH = 200


def _console(stream: TextIO, *, stderr: bool) -> Console:
    width = None if stream.isatty() or os.environ.get("COLUMNS") else _PIPED_WIDTH
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


out = _console(sys.stdout, stderr=False)
err = _console(sys.stderr, stderr=True)


class Exit(IntEnum):
    """Exit codes; 0 is also "nothing to do"."""

    OK = 0
    FAILED = 1
    CONFIG = 2
    UNREACHABLE = 3
    DENIED = 4


def _codes() -> Sequence[tuple[tuple[type[BaseException], ...], Exit]]:
    """What is known to go wrong. Imported when it does: these modules take seconds, and a command may do without."""
    from ooda_dagster.advisor.index_ddl import IndexDdlError
    from ooda_dagster.advisor.workload import WorkloadFileError
    from ooda_dagster.config import ConfigError, ConnectionReferenceError
    from ooda_dagster.core.journal import IllegalTransitionError
    from ooda_dagster.embedded import BinariesNotFoundError, ClusterError
    from ooda_dagster.embedded.server_user import ServerUserError
    from ooda_dagster.ledger import CycleRefusedError, LedgerUnreachableError, UnknownActionError
    from ooda_dagster.targets.base import RefusedError, TargetError

    return (
        ((ConfigError, ConnectionReferenceError, WorkloadFileError, IndexDdlError, UnknownActionError), Exit.CONFIG),
        ((RefusedError, CycleRefusedError, IllegalTransitionError), Exit.DENIED),
        ((TargetError, LedgerUnreachableError), Exit.UNREACHABLE),
        ((BinariesNotFoundError, ClusterError, ServerUserError), Exit.CONFIG),
    )


def fail(message: str, code: Exit) -> NoReturn:
    """End with a word on stderr."""
    err.print(Text.assemble(("error: ", "bold red"), shown(message)))
    raise typer.Exit(code)


@contextmanager
def errors() -> Iterator[None]:
    """Turn what is known to go wrong into a message and an exit code; the rest is a bug and keeps its traceback."""
    try:
        yield
    except Exception as error:
        if isinstance(error, typer.Exit):
            raise
        for known, code in _codes():
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
        console.print(shown(text), style="dim", markup=False)

    return line


def emit(value: dict[str, Any], *, one_line: bool = False) -> None:
    """JSON on stdout; `one_line`: of several, one a line."""
    versioned = {"schema_version": SCHEMA_VERSION, **value}
    sys.stdout.write(json.dumps(versioned, default=_json, indent=None if one_line else 2) + "\n")
    sys.stdout.flush()  # somebody may be reading along


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        from ooda_dagster.core.wire import iso

        return iso(value)
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, below: Sequence[str] = ()) -> None:
    """A table for people; numbers are aligned right.

    No line is broken: the last column runs as far as it needs, and what is long besides (SQL) is named in `below` and
    gets a line of its own under its row.
    """
    grid = [n for n, name in enumerate(columns) if name not in below]
    under = [n for n, name in enumerate(columns) if name in below]
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = {n for n in grid if rows and all(isinstance(r[n], int | float) or r[n] is None for r in rows)}
    widths = {n: max(map(cell_len, [columns[n], *(row[n] for row in cells)])) for n in grid}

    def line(texts: Sequence[str]) -> str:
        padded = (" " * (widths[n] - cell_len(texts[n])) for n in grid)
        placed = (space + texts[n] if n in numeric else texts[n] + space for n, space in zip(grid, padded, strict=True))
        return "  ".join(placed).rstrip()

    if title:
        out.print(title, style="bold", markup=False)
    out.print(line(columns), style="bold", markup=False)
    for row in cells:
        out.print(line(row), markup=False)
        for text in (row[n] for n in under if row[n]):
            out.print(f"    {text}", style="dim", markup=False)
    out.print()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return " ".join(shown(str(value)).split())


def shown(text: str) -> str:
    """A text of someone else's, fit for a terminal: escape sequences in a statement must not steer it."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
