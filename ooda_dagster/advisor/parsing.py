"""PostgreSQL's parser, guarded: no text, however hostile, takes the process down with it."""

from __future__ import annotations

import re
from typing import Any

import pglast

from ooda_dagster.advisor.shape import UnreadableStatementError
from ooda_dagster.core.fingerprint import MAX_PARSED_BYTES, parseable

#: What follows is a token of the text, or all that is left of it; where that is no word it may hold a literal.
_AT_VALUE = re.compile(r' at or near "(?!\w+"\Z).*', re.DOTALL)


def parse(text: str) -> tuple[Any, ...]:
    """The statements of a text, as pglast's RawStmt. Raises UnreadableStatementError with words for a person."""
    if len(text) > MAX_PARSED_BYTES:
        raise UnreadableStatementError("its text is too long to parse")
    if "\0" in text:
        raise UnreadableStatementError("it holds a NUL character")
    try:
        statements = pglast.parse_sql(text) if parseable(text) else None
    except pglast.Error as error:
        words = _AT_VALUE.sub("", str(error.args[0])) if error.args else "syntax error"
        raise UnreadableStatementError(f"the parser does not read it: {words}") from None
    except (RecursionError, ValueError):
        raise UnreadableStatementError("the parser does not read it") from None
    if statements is None:
        raise UnreadableStatementError("it is nested too deeply")
    return statements
