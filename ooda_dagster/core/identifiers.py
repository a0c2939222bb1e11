"""How is a name written in SQL, and how are our own objects called?"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from pglast.keywords import COL_NAME_KEYWORDS, RESERVED_KEYWORDS, TYPE_FUNC_NAME_KEYWORDS

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")
_MAX_BYTES = 63  # NAMEDATALEN - 1
#: What the server's quote_ident() quotes too. "between" is a good column and no good function.
_KEYWORDS = RESERVED_KEYWORDS | TYPE_FUNC_NAME_KEYWORDS | COL_NAME_KEYWORDS
_PART = re.compile(r'"((?:[^"]|"")*)"|[^."]+')

#: Names that the loop gives begin so.
OWN_PREFIX = "ooda_"
#: Comments on what the loop made begin so.
OWN_COMMENT = "ooda action "


def quote_identifier(name: str) -> str:
    """Quote `name` for SQL where it needs quoting, as the server's quote_ident() does."""
    if _PLAIN.match(name) and name not in _KEYWORDS:
        return name
    if "\0" in name:
        raise ValueError("an identifier cannot hold a NUL character")
    return '"' + name.replace('"', '""') + '"'


def qualified(*parts: str) -> str:
    """`schema.table` with each part quoted where needed."""
    return ".".join(quote_identifier(part) for part in parts)


def parts(name: str) -> tuple[str, ...]:
    """The inverse of `qualified`: the names in a dotted name, without their quotes."""
    return tuple(match[0] if match[1] is None else match[1].replace('""', '"') for match in _PART.finditer(name))


def quote_literal(value: str) -> str:
    """Quote a string literal; safe whatever `standard_conforming_strings` says."""
    if "\0" in value:
        raise ValueError("a literal cannot hold a NUL character")
    quoted = "'" + value.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in value else quoted


def _shorten(text: str, max_bytes: int) -> str:
    return text.encode()[:max_bytes].decode(errors="ignore")


def own_index_name(table: str, columns: Iterable[str], identity: str) -> str:
    """Name of an index that the loop builds: `ooda_<table>_<columns>_<hash6>`, at most 63 bytes.

    The hash is taken of the index's whole identity, so equal definitions get equal names on every server.
    """
    digest = hashlib.sha256(identity.encode()).hexdigest()[:6]
    readable = re.sub(r"\W+", "_", "_".join((table, *columns))).strip("_")
    return f"{OWN_PREFIX}{_shorten(readable, _MAX_BYTES - len(OWN_PREFIX) - 7)}_{digest}"
