"""What of an error may stand in a table, a tag, a message to a person."""

from __future__ import annotations

import re
from typing import Any

from ooda_dagster.core.text import cut

#: In a URL, or in a connection string of keys.
_PASSWORD = re.compile(r"(://[^/\s:@]*:|password\s*=\s*)[^\s@]+", re.IGNORECASE)


#: Classes of SQLSTATE whose messages name objects, limits and settings. Those of 22 (data), of P0 (a function's own)
#: and of codes that nobody knows quote values.
_NAMES_ONLY = frozenset(
    {"08", "0A", "21", "23", "24", "25", "26", "28", "2B", "34", "3D", "3F", "40", "42", "44", "53", "54", "55", "57"}
    | {"58", "F0", "XX"}
)


#: Timeouts, cancels and deadlocks have a context of the server's own.
_INTERRUPTS = frozenset({"40", "55", "57"})
#: Where procedural languages raise what a function's author wrote, under any code that they like.
_RAISING = frozenset({"pl_exec.c", "plpy_elog.c", "plperl.c", "pltcl.c"})


def server_words(error: Any) -> str:
    """What a server's error may tell: its primary message where that holds no value of a row or a statement.

    error: a psycopg.Error. A message has a context where a function of the user's stands above it.
    """
    words, state = error.diag.message_primary, error.sqlstate
    if not words or state is None:
        return words or type(error).__name__
    foreign = error.diag.context and state[:2] not in _INTERRUPTS
    if foreign or error.diag.source_file in _RAISING:
        return "a function of the database raised an error; its message may hold values and is left out"
    if state[:2] in _NAMES_ONLY and "'" not in words:
        return words
    return "it fails on a value; the server's message may hold it and is left out"


def silenced(error: Any) -> None:
    """Leave of a psycopg.Error's own text what it may tell: whoever prints what was raised from it prints it too."""
    error.args = (server_words(error),)


def one_line(error: BaseException | str, length: int = 300) -> str:
    """Its first line, cut and without passwords. Further lines of a database's error quote rows and statements."""
    text = str(error)
    line = next((part for part in text.splitlines() if part.strip()), "")
    line = _PASSWORD.sub(r"\1***", line) or (type(error).__name__ if isinstance(error, BaseException) else "")
    return cut(line, length)
