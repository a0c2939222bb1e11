"""Which table holds inference requests, and are the owner's expressions over it any good?"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from ooda_dagster.core.errors import silenced
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.postgres.connection import foreign_code
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.queries import query, trusted

_ZONED, _UNZONED, _DATE = 1184, 1114, 1082
_NAME = re.compile(r"(?:(?P<schema>[^.]+)\.)?(?P<name>[^.]+)\Z")


@dataclass(frozen=True)
class MappedTable:
    """A table with the expressions that were checked. `label`: its quoted name; `types`: oids by expression.

    `parts` fills the placeholders of a statement: table, the expressions, and since and until as the time needs them.
    """

    label: str
    storage: str
    parts: dict[str, sql.Composable]
    types: dict[str, int]

    def compose(self, text: str) -> sql.Composed:
        return trusted(text).format(**self.parts)


def find_mapped_table(
    connection: psycopg.Connection[Any], mapped: Requests, expressions: Collection[str], *, switch: str
) -> MappedTable | None:
    """`requests.table`; None where it is not there or not ours to read.

    expressions: names of those that are needed, `requested_at` among them. Raises TargetError for one that is wrong,
    before any row is read. switch: the setting that ends the reading where it is false.
    """
    if not (names := _NAME.match(mapped.table)):
        return None
    try:
        found = connection.execute(query("find_request_table"), names.groupdict()).fetchone()
    except psycopg.Error as error:
        raise translate(error, "looking for inference requests") from error
    if found is None:
        return None
    parts: dict[str, sql.Composable] = {"table": sql.Identifier(found.schema, found.name)}
    parts |= {name: trusted(mapped.expression(name).replace("%", "%%")) for name in expressions}
    remedy = f"map its columns in [target.NAME.requests] of ooda.toml, or set {switch} = false ({found.label})"
    types = _types(connection, parts, f"reading {found.label}", remedy)
    if types["requested_at"] not in (_ZONED, _UNZONED, _DATE):
        raise TargetError(f"{found.label}: requests.requested_at is no time; map it to a timestamptz expression")
    for bound in ("since", "until"):
        moment = f"%({bound})s::timestamptz"
        parts[bound] = trusted(moment if types["requested_at"] == _ZONED else f"({moment} at time zone 'UTC')")
    return MappedTable(found.label, found.storage, parts, types)


def _types(
    connection: psycopg.Connection[Any], parts: dict[str, sql.Composable], doing: str, remedy: str
) -> dict[str, int]:
    """Types of the expressions; a wrong one is named here."""
    listed = ", ".join(f"{{{name}}} as {name}" for name in parts if name != "table")
    text = trusted(f"select {listed} from {{table}} limit %s /* ooda */").format(**parts)  # noqa: S608
    try:
        # With a parameter: the server then takes one statement alone, whatever an expression holds.
        with foreign_code(connection):
            described = connection.execute(text, (0,)).description or ()
    except psycopg.Error as error:
        raise told(error, doing, remedy) from error
    return {column.name: column.type_code for column in described}


def told(error: psycopg.Error, doing: str, remedy: str = "") -> TargetError:
    """A driver's error over mapped expressions as one of ours."""
    if isinstance(error, psycopg.errors.QueryCanceled):
        return TargetError(
            f"{doing}: it took longer than the session's statement_timeout; is there an index on the id?"
        )
    if isinstance(error, psycopg.errors.DataError):
        # the server's words hold the value
        silenced(error)
        return TargetError(f"{doing}: a mapped expression fails on a row ({error.sqlstate}); make it yield null there")
    found = translate(error, doing)
    return type(found)(f"{found}; {remedy}") if remedy else found
