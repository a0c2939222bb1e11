"""What was asked of the models? Reads a target's table of inference requests by the owner's expressions.

A row counts once it has a duration. Rows are found by key: the id where it is a whole number, else a 64-bit hash of it.
The scan is bounded by the id's index or, where ids tell no order, by the index on the time of the request.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql

from ooda_dagster.core.request_settings import Requests
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.postgres.connection import foreign_code
from ooda_dagster.targets.postgres.queries import query, trusted
from ooda_dagster.targets.postgres.request_mapping import MappedTable, find_mapped_table, told

_UUID = 2950
_WHOLE = frozenset((20, 21, 23))  # bigint, smallint, integer
_MAPPED = ("id", "requested_at", "duration_ms", "status", "model", "operation", "tokens_in", "tokens_out")
_COLUMNS = ["key", "requested_s", "duration_ms", "status", "model", "operation", "tokens"]
_COLUMNS_SQL = (
    "extract(epoch from {requested_at})::float8 as requested_s, {duration_ms}::float8 as duration_ms, "
    "lower({status}::text) as status, left({model}::text, 200) as model, left({operation}::text, 200) as operation, "
    "coalesce({tokens_in}::float8, 0) + coalesce({tokens_out}::float8, 0) as tokens"
)
_SCORED_SQL = (
    ", {tokens_in}::float8 as tokens_in, {tokens_out}::float8 as tokens_out, coalesce({shown_id}, '(none)') as shown_id"
)
_SHOWN = "{id}::text"
#: An id that is a text may be anything; a UUID in it is none of somebody's.
_HASHED = (
    "case when {id}::text ~* '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$' then lower({id}::text) "
    "else 'hash ' || to_hex(hashtextextended({id}::text, 0)) end"
)
#: A plan that reads a table of more than about this many pages from end to end is refused.
_MAX_SCAN_COST = 20_000.0
_NO_INDEX = "no index leads with requests.{}; build one, map it to an indexed column, or set requests.enabled = false"


class PostgresRequestTable:
    """Implements `targets.base.RequestTable`."""

    def __init__(self, connection: psycopg.Connection[Any], table: MappedTable) -> None:
        self._connection, self._table = connection, table
        self.label = table.label
        self.storage = table.storage
        self.numeric = table.types["id"] in _WHOLE
        self._parts = {**table.parts, "columns": table.compose(_COLUMNS_SQL)}
        shown = table.compose(_SHOWN if table.types["id"] in (*_WHOLE, _UUID) else _HASHED)
        self._scored = trusted(_SCORED_SQL).format(**table.parts, shown_id=shown)

    def highest(self) -> int | None:
        """The highest id, of rows without a duration too."""
        return self._end("desc")

    def before(self, since: datetime) -> int | None:
        """The last id that was requested before; found by bisection, as the time may have no index.

        Ids are taken to grow with time, about. None where all were requested since.
        """
        low, high = self._end("asc"), self.highest()
        if low is None or high is None:
            return None
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

    def newest(self, since: datetime, until: datetime, *, limit: int) -> pd.DataFrame:
        """Completed rows that were requested in [since, until), at most the `limit` newest; the oldest first.

        Columns: those of the other reads, tokens_in and tokens_out (null where unknown), and shown_id: the id as text
        where it is a whole number or a UUID, else its hash. Raises TargetError where no index bounds the scan.
        """
        name, bound = ("by_id", "id") if self.numeric else ("by_time", "requested_at")
        text = query(f"read_newest_requests_{name}").format(**self._parts, scored=self._scored)
        values = {"since": since, "until": until, "limit": limit}
        found = self._bounded(text, values, _NO_INDEX.format(bound))
        frame = pd.DataFrame(found, columns=pd.Index([*_COLUMNS, "tokens_in", "tokens_out", "shown_id"]))
        return frame.sort_values(["requested_s", "key"], ignore_index=True)

    def totals(self, since: datetime) -> tuple[int, float | None]:
        """Completed rows that were requested since, and the mean of their durations above zero (ms).

        Raises TargetError where that would scan a large table.
        """
        text = query("read_request_totals").format(**self._parts)
        cause = "few rows are older, or no index leads with requests.requested_at"
        row = self._bounded(text, {"since": since}, cause)[0]
        return row.requests, row.avg_ms

    def _rows(self, name: str, values: dict[str, Any], planned: dict[str, Any], bound: str) -> pd.DataFrame:
        text = query(name).format(**self._parts)
        return pd.DataFrame(self._bounded(text, values, _NO_INDEX.format(bound), planned), columns=pd.Index(_COLUMNS))

    def _bounded(
        self, text: sql.Composed, values: dict[str, Any], cause: str, planned: dict[str, Any] | None = None
    ) -> list[Any]:
        """The answer to a statement that scans no large table by its plan; one that does is refused for this cause."""
        explain = sql.SQL("explain (format json) ") + text
        try:
            with foreign_code(self._connection):
                plan = self._connection.execute(explain, values if planned is None else planned).fetchone()
                if plan is not None and (cost := _scan_cost(plan[0][0]["Plan"])) > _MAX_SCAN_COST:
                    raise TargetError(f"reading {self.label} would scan the whole table (cost {cost:,.0f}): {cause}")
                return self._connection.execute(text, values).fetchall()
        except psycopg.Error as error:
            raise told(error, f"reading {self.label}") from error

    def _end(self, order: str) -> int | None:
        """The first id in this order. A scan is refused here already: what follows goes by the same index."""
        text = "select {id}::bigint as id from {table} where {id} is not null order by {id}"
        rows = self._bounded(self._table.compose(f"{text} {order} limit 1 /* ooda */"), {}, _NO_INDEX.format("id"))
        return int(rows[0].id) if rows else None

    def _ask(self, text: str, values: dict[str, Any]) -> list[Any]:
        try:
            with foreign_code(self._connection):
                return self._connection.execute(self._table.compose(text + " /* ooda */"), values).fetchall()
        except psycopg.Error as error:
            raise told(error, f"reading {self.label}") from error


def _scan_cost(plan: dict[str, Any]) -> float:
    """Cost of the dearest sequential scan in a plan."""
    own = float(plan["Total Cost"]) if "Seq Scan" in plan["Node Type"] else 0.0
    return max([own, *(_scan_cost(child) for child in plan.get("Plans", ()))])


def find_request_table(connection: psycopg.Connection[Any], mapped: Requests) -> PostgresRequestTable | None:
    """The configured table; None where it is not there, not ours to read, or not wanted."""
    if not mapped.enabled:
        return None
    table = find_mapped_table(connection, mapped, _MAPPED, switch="requests.enabled")
    return PostgresRequestTable(connection, table) if table else None
