"""Takes the literals out of a statement's text that pg_stat_statements left in.

It leaves some: those of DDL and of most utility statements (`ALTER ROLE ... PASSWORD '...'` before 16), and those of a
statement whose entry was evicted or reset while it ran, whose text is then kept as it was sent.
"""

from __future__ import annotations

import pglast
from pglast import parser

from ooda_dagster.core.fingerprint import is_own, kind_of, parseable

#: Of a text that PostgreSQL's scanner cannot take apart, nothing is told.
UNREADABLE = "(a text that cannot be read)"
_STRINGS = frozenset({"SCONST", "BCONST", "XCONST", "USCONST"})
_NUMBERS = frozenset({"ICONST", "FCONST"})
_COMMENTS = frozenset({"C_COMMENT", "SQL_COMMENT"})


def scrubbed(text: str) -> str:
    """The text with parameters for its literals, and without comments but our own and hints."""
    try:
        if not parseable(text):
            return _blanked(text, _STRINGS | _NUMBERS)
        kind = kind_of(text)
        try:
            text = parser.normalize(text)
        except pglast.Error:
            return _blanked(text, _STRINGS | _NUMBERS)  # newer syntax, or a text that was cut
        # Numbers that are left in a query are places (ORDER BY 1) and sizes of types.
        return _blanked(text, _STRINGS | _NUMBERS if kind == "other" else frozenset())
    except (pglast.Error, ValueError, RecursionError):
        return UNREADABLE


def _blanked(text: str, names: frozenset[str]) -> str:
    parts, position = [], 0
    for token in parser.scan(text):
        found = text[token.start : token.end + 1]
        if token.name in names:
            found = "?" if token.name in _NUMBERS else "'?'"
        elif token.name in _COMMENTS and not _stays(found):
            found = ""
        else:
            continue
        parts += [text[position : token.start], found]
        position = token.end + 1
    return "".join([*parts, text[position:]]).strip()


def _stays(comment: str) -> bool:
    """Our mark, a planner's hint, and what PostgreSQL 18 writes for the rest of a list. Frameworks write values."""
    return is_own(comment) or comment.startswith("/*+") or comment == "/*, ... */"
