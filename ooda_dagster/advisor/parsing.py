"""PostgreSQL's parser, guarded: no text, however hostile, takes the process down with it."""

from __future__ import annotations

from typing import Any

import pglast

from ooda_dagster.advisor.shape import UnreadableStatementError
from ooda_dagster.core.fingerprint import MAX_PARSED_BYTES

#: `1+1+1+...` makes a tree as deep as it is long, which pglast walks on the C stack: 15,000 levels fill 8 MB, and a
#: full stack is a crash, no exception. Parentheses need no count: the parser itself refuses many.
MAX_CHAIN = 5_000

#: Tokens of what nests without parentheses: operators that can be chained, casts, subscripts, joins, set operations.
_CHAINED = frozenset(
    {"ASCII_43", "ASCII_45", "ASCII_42", "ASCII_47", "ASCII_37", "ASCII_94", "ASCII_91", "Op", "TYPECAST"}
    | {"COLLATE", "AT", "IS", "ISNULL", "NOTNULL", "NOT", "JOIN", "UNION", "INTERSECT", "EXCEPT"}
)


def parse(text: str) -> tuple[Any, ...]:
    """The statements of a text, as pglast's RawStmt. Raises UnreadableStatementError with words for a person."""
    if len(text) > MAX_PARSED_BYTES:
        raise UnreadableStatementError("its text is too long to parse")
    if "\0" in text:
        raise UnreadableStatementError("it holds a NUL character")
    try:
        # The scanner builds no tree, so it is safe on anything.
        chained = sum(token.name in _CHAINED for token in pglast.parser.scan(text))
        statements = pglast.parse_sql(text) if chained <= MAX_CHAIN else None
    except pglast.Error as error:
        words = str(error.args[0]) if error.args else "syntax error"
        raise UnreadableStatementError(f"the parser does not read it: {words}") from None
    except (RecursionError, ValueError):
        raise UnreadableStatementError("the parser does not read it") from None
    if statements is None:
        raise UnreadableStatementError("it is nested too deeply")
    return statements
