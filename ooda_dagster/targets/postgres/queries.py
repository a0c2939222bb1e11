"""The SQL files beside this module, by name; every statement that we send ends with our mark."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import LiteralString, cast

from psycopg import sql

#: So that the sampler, a log reader and a DBA know whose a statement is. At the end: from PostgreSQL 18 on,
#: pg_stat_statements leaves out what stands before a statement.
MARKER = "/* ooda */"


@cache
def query(name: str) -> sql.SQL:
    """`sql/<name>.sql`. Where it has {placeholders}, `.format()` fills them with identifiers."""
    text = (files("ooda_dagster.targets.postgres") / "sql" / f"{name}.sql").read_text()
    return trusted(f"{text.rstrip()} {MARKER}")


def marked(text: LiteralString) -> sql.SQL:
    """A short statement of ours."""
    return trusted(f"{text} {MARKER}")


def trusted(text: str) -> sql.SQL:
    """Text that was put together from our own constants, quoted names or an action type's statements."""
    return sql.SQL(cast(LiteralString, text))
