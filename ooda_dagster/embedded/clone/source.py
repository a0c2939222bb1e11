"""Reads the source by short SELECTs of a role with few rights, in a session that is left as it was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

MARKER = "/* ooda */"
#: So that values come as text which any server reads back the same.
_FORMATS = {
    "search_path": "",
    "statement_timeout": "30s",
    "lock_timeout": "500ms",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "timezone": "UTC",
}


_GIVEN_PATH: LiteralString = (
    "select pg_catalog.set_config('search_path', coalesce(nullif(pg_catalog.current_setting('ooda.search_path', true), "
    "''), pg_catalog.current_setting('search_path')), true)"
)


def trusted(text: str) -> sql.SQL:
    """Text put together from our constants, quoted names, and definitions that the source's catalogue deparsed."""
    return sql.SQL(cast(LiteralString, text))


def marked(text: LiteralString) -> sql.SQL:
    """A short statement of ours."""
    return trusted(f"{text} {MARKER}")


@cache
def query(name: str) -> str:
    """`sql/<name>.sql`, marked as ours."""
    return f"{(files('ooda_dagster.embedded.clone') / 'sql' / f'{name}.sql').read_text().rstrip()} {MARKER}"


class Source:
    """A session on the source."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.major = connection.info.server_version // 10_000

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Set the formats that values are read in, and set the session back afterwards."""
        names = list(_FORMATS)
        with self._cursor() as cursor:
            cursor.execute(
                marked("select name, pg_catalog.current_setting(name) as value from unnest(%s::text[]) s(name)"),
                (names,),
            )
            before = {row.name: row.value for row in cursor}
        self._set(_FORMATS)
        try:
            yield
        finally:
            if not self._connection.closed:
                self._set(before)

    def _set(self, values: Mapping[str, str]) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                marked("select pg_catalog.set_config(n, v, false) from unnest(%s::text[], %s::text[]) s(n, v)"),
                (list(values), list(values.values())),
            )

    def search_path(self) -> list[str]:
        """Schemas in which a session of this role looks names up: the session itself may have pinned its own."""
        with self._cursor() as cursor:
            cursor.execute(marked("begin read only"))
            cursor.execute(marked(_GIVEN_PATH))
            cursor.execute(marked("select pg_catalog.current_schemas(false) as path"))
            row = cursor.fetchone()
            cursor.execute(marked("rollback"))
            return list(row.path) if row else []

    def _cursor(self) -> psycopg.Cursor[Any]:
        return self._connection.cursor(row_factory=namedtuple_row)

    def rows(self, name: str, /, **parameters: Any) -> list[Any]:
        """Rows of `sql/<name>.sql`."""
        return self._fetch(query(name), parameters)

    def sized_rows(self, name: str, /, **parameters: Any) -> list[Any]:
        """The same for a query with a {size}: the file's now, or, where a lock is in the way, the last VACUUM's."""
        text = query(name)
        try:
            return self._fetch(text.replace("{size}", "pg_catalog.pg_relation_size(c.oid)"), parameters)
        except psycopg.errors.LockNotAvailable:
            return self._fetch(text.replace("{size}", "c.relpages::bigint * 8192"), parameters)

    def _fetch(self, text: str, parameters: Mapping[str, Any]) -> list[Any]:
        with self._cursor() as cursor:
            return cursor.execute(trusted(text), parameters or None).fetchall()

    def copy_out(self, text: str) -> Iterator[bytes]:
        """The output of COPY ... TO STDOUT."""
        with self._connection.cursor() as cursor, cursor.copy(trusted(f"{text} {MARKER}")) as copy:
            for block in copy:
                yield bytes(block)
