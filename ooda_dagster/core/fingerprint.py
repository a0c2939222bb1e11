"""Which statement is this? A fingerprint that is equal on every server, and the kind of the statement.

libpg_query's fingerprint of the text is used rather than the server's queryid, which hashes table oids and so changes
with every version, dump and clone. It leaves out schemas; we do not: tenants that have a schema each are told apart
where their statements name it.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any, Literal

import pglast

Kind = Literal["select", "insert", "update", "delete", "merge", "other"]

_KINDS: dict[str, Kind] = {
    "SelectStmt": "select",
    "InsertStmt": "insert",
    "UpdateStmt": "update",
    "DeleteStmt": "delete",
    "MergeStmt": "merge",
}

_FIRST_WORDS: dict[str, Kind] = {**{kind: kind for kind in _KINDS.values()}, "with": "select"}

#: A statement of the loop's own ends in a comment that begins so, in pg_stat_statements too.
_OWN = re.compile(r"/\* ooda\b[^*]*\*/\s*\Z")
#: pg_stat_statements cuts nothing, but a text of megabytes helps nobody: it is hashed, not parsed.
MAX_PARSED_BYTES = 100_000
#: `1+1+1+...` makes a tree as deep as it is long, which pglast walks on the C stack: 15,000 levels fill 8 MB, and a
#: full stack is a crash, no exception. Parentheses need no count: the parser itself refuses many.
_MAX_CHAIN = 5_000
#: Tokens of what nests without parentheses: operators that can be chained, casts, subscripts, joins, set operations.
_CHAINED = frozenset(
    {"ASCII_43", "ASCII_45", "ASCII_42", "ASCII_47", "ASCII_37", "ASCII_94", "ASCII_91", "Op", "TYPECAST"}
    | {"COLLATE", "AT", "IS", "ISNULL", "NOTNULL", "NOT", "JOIN", "UNION", "INTERSECT", "EXCEPT"}
)
_DOT = "ASCII_46"
_PLAIN = re.compile(r'"[a-z_][a-z0-9_]*"\Z')  # quoted without need


@lru_cache(maxsize=20_000)
def fingerprint(text: str) -> str:
    """16 hex digits, the same for statements that differ in literals only. Never raises."""
    if len(text) <= MAX_PARSED_BYTES:
        try:
            return _with_schemas(pglast.fingerprint(text), text)
        except (pglast.Error, ValueError, RecursionError):
            pass  # newer syntax, or a cut text: fall back to the text itself
    return _digest(" ".join(text.split()))


def _with_schemas(found: str, text: str) -> str:
    """The fingerprint with the dotted names of the text in it: columns' are in it anyway, tables' schemas are not."""
    if "." not in text:
        return found
    tokens = pglast.parser.scan(text)
    pairs: set[str] = set()
    for before, dot, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if dot.name == _DOT and _is_name(before) and _is_name(after):
            pairs.add(f"{_name(before, text)}.{_name(after, text)}")
    return _digest(f"{found} {' '.join(sorted(pairs))}") if pairs else found


def _is_name(token: Any) -> bool:
    return token.name == "IDENT" or token.kind != "NO_KEYWORD"


def _name(token: Any, text: str) -> str:
    """A name as the server sees it: folded to lower case unless quoted."""
    written = text[token.start : token.end + 1]
    if _PLAIN.match(written):
        return written[1:-1]
    return written if written.startswith('"') else written.lower()


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=8).hexdigest()


def parseable(text: str) -> bool:
    """Whether pglast.parse_sql can take the text without taking the process down. Raises pglast.Error as it would."""
    if len(text) <= 2 * _MAX_CHAIN:
        return True
    # The scanner builds no tree, so it is safe on anything.
    return (
        len(text) <= MAX_PARSED_BYTES
        and sum(token.name in _CHAINED for token in pglast.parser.scan(text)) <= _MAX_CHAIN
    )


@lru_cache(maxsize=20_000)
def kind_of(text: str) -> Kind:
    """What the statement does at its top: reading, writing or something else. Never raises."""
    try:
        statements = pglast.parse_sql(text) if parseable(text) else None
    except (pglast.Error, ValueError, RecursionError):
        statements = None
    if statements is None:
        first = text.split(None, 1)[0].lower() if text.split() else ""
        return _FIRST_WORDS.get(first, "other")
    if len(statements) != 1:
        return "other"
    return _KINDS.get(type(statements[0].stmt).__name__, "other")


def is_own(text: str) -> bool:
    """Whether a statement carries the loop's mark."""
    return _OWN.search(text) is not None
