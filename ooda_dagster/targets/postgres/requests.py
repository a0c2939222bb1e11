"""What was asked of the models? Reads a target's table of inference requests by the owner's expressions.

A row counts once it has a duration. Rows are found by key: the id where it is a whole number, else a 64-bit hash of it.
The scan is bounded by the id's index or, where ids tell no order, by the index on the time of the request.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql

from ooda_dagster.core.settings import Requests
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.postgres.connection import translate
from ooda_dagster.targets.postgres.queries import query, trusted

_WHOLE = frozenset((20, 21, 23))  # bigint, smallint, integer
_ZONED, _UNZONED, _DATE = 1184, 1114, 1082
_MAPPED = ("id", "requested_at", "duration_ms", "status", "model", "operation", "tokens_in", "tokens_out")
_COLUMNS = ["key", "requested_s", "duration_ms", "status", "model", "operation", "tokens"]
_COLUMNS_SQL = (
    "extract(epoch from {requested_at})::float8 as requested_s, {duration_ms}::float8 as duration_ms, "
    "lower({status}::text) as status, left({model}::text, 200) as model, left({operation}::text, 200) as operation, "
    "coalesce({tokens_in}::float8, 0) + coalesce({tokens_out}::float8, 0) as tokens"
)
#: A plan that reads a table of more than about this many pages from end to end is refused.
_MAX_SCAN_COST = 20_000.0
_NUMBERED = re.compile(r"(?:(?P<schema>[^.]+)\.)?(?P<name>[^.]+)\Z")


class PostgresRequestTable:
    """Implements `targets.base.RequestTable`."""

    def __init__(
        self, connection: psycopg.Connection[Any], table: sql.Identifier, label: str, storage: str, mapped: Requests
    ) -> None:
        self._connection = connection
        self.label = label
        self.storage = storage
        self._parts: dict[str, sql.Composable] = {"table": table}
        for name in _MAPPED:
            # On a line of its own: an expression may end with a comment.
            self._parts[name] = trusted("(" + getattr(mapped, name).replace("%", "%%") + "\n)")
        types = self._types()
        self.numeric = types["id"] in _WHOLE
        if types["requested_at"] not in (_ZONED, _UNZONED, _DATE):
            raise TargetError(f"{label}: requests.requested_at is no time; map it to a timestamptz expression")
        zoned = types["requested_at"] == _ZONED
        self._parts["since"] = sql.SQL(
            "%(since)s::timestamptz" if zoned else "(%(since)s::timestamptz at time zone 'UTC')"
        )
        self._parts["until"] = sql.SQL(
            "%(until)s::timestamptz" if zoned else "(%(until)s::timestamptz at time zone 'UTC')"
        )
        self._parts["columns"] = self._compose(_COLUMNS_SQL)

    def _compose(self, text: str) -> sql.Composed:
        return trusted(text).format(**self._parts)

    def _types(self) -> dict[str, int]:
        """Types of the mapped expressions; a wrong one is named here, before anything is read."""
        listed = ", ".join(f"{{{name}}} as {name}" for name in _MAPPED)
        text = self._compose(f"select {listed} from {{table}} limit 0 /* ooda */")  # noqa: S608
        try:
            # With parameters, though there are none: without, %% would be sent as it is.
            described = self._connection.execute(text, ()).description or ()
        except psycopg.Error as error:
            remedy = (
                f"map its columns in [target.NAME.requests] of ooda.toml, or set enabled = false there ({self.label})"
            )
            raise _told(error, f"reading {self.label}", remedy) from error
        return {column.name: column.type_code for column in described}

    def highest(self) -> int | None:
        """The highest id, of rows without a duration too."""
        row = self._ask("select {id}::bigint as id from {table} where {id} is not null order by {id} desc limit 1", {})
        return row[0].id if row else None

    def before(self, since: datetime) -> int | None:
        """The last id that was requested before; found by bisection, as the time may have no index.

        Ids are taken to grow with time, about. None where all were requested since.
        """
        first = self._ask("select {id}::bigint as id from {table} where {id} is not null order by {id} limit 1", {})
        high = self.highest()
        if not first or high is None:
            return None
        low = int(first[0].id)
        text = (
            "select {id}::bigint as id, {requested_at} >= {since} as inside from {table} "
            "where {id} >= %(id)s order by {id} limit 1"
        )
        below = None
        while low <= high:
            middle = (low + high) // 2
            found = self._ask(text, {"id": middle, "since": since})
            if not found or found[0].inside:
                high = middle - 1
            else:
                below, low = int(found[0].id), int(found[0].id) + 1
        return below

    def rows_by_id(self, open_ids: str, *, limit: int) -> pd.DataFrame:
        """Completed rows whose id is in `open_ids` (int8multirange); the lowest come first, at most `limit`.

        Columns: key, requested_s (Unix time), duration_ms, status (lower case), model, operation, tokens. Raises
        TargetError where no index bounds the scan.
        """
        values = {"open": open_ids, "limit": limit}
        # Planned with one range: a plan shows them, and they may be many.
        return self._rows("read_request_rows_by_id", values, {**values, "open": "{[1,)}"}, "id")

    def rows_by_time(self, since: datetime, until: datetime, *, seen: str, limit: int) -> pd.DataFrame:
        """The same for rows that were requested in [since, until), without the keys in `seen`; the oldest first."""
        values = {"since": since, "until": until, "seen": seen, "limit": limit}
        return self._rows("read_request_rows_by_time", values, {**values, "seen": "{}"}, "requested_at")

    def _rows(self, name: str, values: dict[str, Any], planned: dict[str, Any], bound: str) -> pd.DataFrame:
        text = query(name).format(**self._parts)
        try:
            plan = self._connection.execute(sql.SQL("explain (format json) ") + text, planned).fetchone()
            if plan is not None and (cost := _scan_cost(plan[0][0]["Plan"])) > _MAX_SCAN_COST:
                raise TargetError(
                    f"reading {self.label} would scan the whole table (cost {cost:,.0f}): no index leads with "
                    f"requests.{bound}; build one, map it to an indexed column, or set requests.enabled = false"
                )
            rows = self._connection.execute(text, values).fetchall()
        except psycopg.Error as error:
            raise _told(error, f"reading {self.label}") from error
        return pd.DataFrame(rows, columns=pd.Index(_COLUMNS))

    def _ask(self, text: str, values: dict[str, Any]) -> list[Any]:
        try:
            return self._connection.execute(self._compose(text + " /* ooda */"), values).fetchall()
        except psycopg.Error as error:
            raise _told(error, f"reading {self.label}") from error


def _told(error: psycopg.Error, doing: str, remedy: str = "") -> TargetError:
    if isinstance(error, psycopg.errors.QueryCanceled):
        return TargetError(
            f"{doing}: it took longer than the session's statement_timeout; is there an index on the id?"
        )
    if isinstance(error, psycopg.errors.DataError):
        # the server's words hold the value
        return TargetError(f"{doing}: a mapped expression fails on a row ({error.sqlstate}); make it yield null there")
    told = translate(error, doing)
    return type(told)(f"{told}; {remedy}") if remedy else told


def _scan_cost(plan: dict[str, Any]) -> float:
    """Cost of the dearest sequential scan in a plan."""
    own = float(plan["Total Cost"]) if "Seq Scan" in plan["Node Type"] else 0.0
    return max([own, *(_scan_cost(child) for child in plan.get("Plans", ()))])


def find_request_table(connection: psycopg.Connection[Any], mapped: Requests) -> PostgresRequestTable | None:
    """The configured table; None where it is not there, not ours to read, or not wanted."""
    if not mapped.enabled or not (parts := _NUMBERED.match(mapped.table)):
        return None
    try:
        found = connection.execute(query("find_request_table"), parts.groupdict()).fetchone()
    except psycopg.Error as error:
        raise translate(error, "looking for inference requests") from error
    if found is None:
        return None
    return PostgresRequestTable(
        connection, sql.Identifier(found.schema, found.name), found.label, found.storage, mapped
    )
