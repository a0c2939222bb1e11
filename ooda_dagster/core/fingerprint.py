"""Which statement is this? A fingerprint that is equal on every server, and the kind of the statement.

libpg_query's fingerprint of the text is used rather than the server's queryid, which hashes table oids and so changes
with every version, dump and clone.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Literal

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
_OWN = re.compile(r"/\* ooda[^*]*\*/\s*\Z")
#: pg_stat_statements cuts nothing, but a text of megabytes helps nobody: it is hashed, not parsed.
MAX_PARSED_BYTES = 100_000


@lru_cache(maxsize=20_000)
def fingerprint(text: str) -> str:
    """16 hex digits, the same for statements that differ in literals only. Never raises."""
    if len(text) <= MAX_PARSED_BYTES:
        try:
            return pglast.fingerprint(text)
        except (pglast.Error, ValueError, RecursionError):
            pass  # newer syntax, or a cut text: fall back to the text itself
    return hashlib.blake2b(" ".join(text.split()).encode(errors="replace"), digest_size=8).hexdigest()


@lru_cache(maxsize=20_000)
def kind_of(text: str) -> Kind:
    """What the statement does at its top: reading, writing or something else. Never raises."""
    if len(text) > MAX_PARSED_BYTES:
        return "other"
    try:
        statements = pglast.parse_sql(text)
    except (pglast.Error, ValueError, RecursionError):
        first = text.split(None, 1)[0].lower() if text.split() else ""
        return _FIRST_WORDS.get(first, "other")
    if len(statements) != 1:
        return "other"
    return _KINDS.get(type(statements[0].stmt).__name__, "other")


def is_own(text: str) -> bool:
    """Whether a statement carries the loop's mark."""
    return _OWN.search(text) is not None
