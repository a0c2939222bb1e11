"""What was asked of the models? Reads a target's table of inference requests by the owner's expressions.

A row counts once it has a duration. Rows are found by key: the id where it is a whole number, else a 64-bit hash of it.
The scan is bounded by the id's index or, where ids tell no order, by the index on the time of the request.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql

from ooda_dagster.core.request_page import Page, merged, page_of
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.targets.base import Say, TargetError, silent
from ooda_dagster.targets.postgres.arrow import ArrowLogin, why_not
from ooda_dagster.targets.postgres.connection import foreign_code
from ooda_dagster.targets.postgres.newest_requests import COLUMNS, ID_SHOWN, NewestRequests
from ooda_dagster.targets.postgres.queries import MARKER, query, trusted
from ooda_dagster.targets.postgres.request_mapping import MappedTable, find_mapped_table, told
from ooda_dagster.targets.request_rollup import HOLE, Judging, page_statement

_UUID = 2950
_WHOLE = frozenset((20, 21, 23))  # bigint, smallint, integer
_MAPPED = ("id", "requested_at", "duration_ms", "status", "model", "operation", "tokens_in", "tokens_out")
_COLUMNS_SQL = (
    "extract(epoch from {requested_at})::float8 as requested_s, {duration_ms}::float8 as duration_ms, "
    "lower({status}::text) as status, left({model}::text, 200) as model, left({operation}::text, 200) as operation, "
    "coalesce({tokens_in}::float8, 0) + coalesce({tokens_out}::float8, 0) as tokens"
)
#: A plan that reads a table of more than about this many pages from end to end is refused.
_MAX_SCAN_COST = 20_000.0
_NO_INDEX = "no index leads with requests.{}; build one, map it to an indexed column, or set requests.enabled = false"
_LOWEST = -(2**63)
#: A lookback is summed in parts: so many rows where ids bound them, else so many parts of the time.
_PART_ROWS = 500_000
_PARTS = 24
#: Of a time that is sampled.
_STRETCHES = 100


class PostgresRequestTable:
    """Implements `targets.base.RequestTable`."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        table: MappedTable,
        *,
        tenant: str | None = None,
        login: ArrowLogin | None = None,
    ) -> None:
        self._connection, self._table = connection, table
        self.label = table.label
        self.storage = table.storage
        self.numeric = table.types["id"] in _WHOLE
        self._tenant = tenant
        of_tenant = sql.SQL("")
        if tenant is not None:
            of_tenant = trusted(" and {tenant}::text = %(tenant)s").format(tenant=table.parts["tenant"])
        self._parts = {**table.parts, "columns": table.compose(_COLUMNS_SQL), "of_tenant": of_tenant}
        self._login, self._why_not = login, why_not(connection, login)

    @property
    def reader(self) -> str:
        """By what single requests are read, and where it is not ADBC, why."""
        return "ADBC to Arrow" if self._why_not is None else f"psycopg row by row: {self._why_not}"

    @property
    def _bound(self) -> str:
        return "id" if self.numeric else "requested_at"

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

    def page_by_id(self, open_ids: str, *, limit: int, judging: Judging) -> Page:
        """Completed rows whose id is in `open_ids` (int8multirange), summed: the lowest `limit` of them.

        Raises TargetError where no index bounds the scan.
        """
        values = {"open": open_ids, "limit": limit}
        # Planned with one range: a plan shows them, and they may be many.
        return self._page("page_requests_by_id", "page_keys_by_id", values, {**values, "open": "{[1,)}"}, judging)

    def page_by_time(self, since: datetime, until: datetime, *, seen: str, limit: int, judging: Judging) -> Page:
        """The same for rows that were requested in [since, until), without the keys in `seen`; the oldest of them."""
        values = {"since": since, "until": until, "seen": seen, "limit": limit}
        return self._page("page_requests_by_time", "page_keys_by_time", values, {**values, "seen": "{}"}, judging)

    def pending_by_id(self, open_ids: str, *, limit: int) -> int:
        """Rows in `open_ids` that have no duration yet; `limit` where there are more."""
        text = query("count_pending_by_id").format(**self._parts)
        values = {"open": open_ids, "limit": limit}
        return self._bounded(text, values, _NO_INDEX.format("id"), {**values, "open": "{[1,)}"})[0].pending

    def pending_by_time(self, since: datetime, until: datetime, *, limit: int) -> int:
        """The same for rows that were requested in [since, until)."""
        text = query("count_pending_by_time").format(**self._parts)
        values = {"since": since, "until": until, "limit": limit}
        return self._bounded(text, values, _NO_INDEX.format("requested_at"))[0].pending

    def newest(self, since: datetime, until: datetime, *, limit: int, say: Say = silent) -> pd.DataFrame:
        """Completed rows that were requested in [since, until), at most the `limit` newest; the oldest first.

        Columns: key, requested_s (Unix time), duration_ms, status (lower case), model, operation, tokens, tokens_in and
        tokens_out (null where unknown), and shown_id: the id where it is a whole number, as text where it is a UUID,
        else its hash. Raises TargetError where no index bounds the scan.
        """
        frames = [*self.batches(since, until, limit=limit, say=say)]
        frame = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
        return frame.sort_values(["requested_s", "key"], ignore_index=True)

    def batches(self, since: datetime, until: datetime, *, limit: int, say: Say = silent) -> NewestRequests:
        """The same, bit by bit and the newest first: for who keeps less than all of them. Iterate over it once."""
        above = _LOWEST
        if self._tenant is not None and self.numeric:
            found = self.before(since)  # others' rows are passed over, so the limit does not bound the scan
            above = _LOWEST if found is None else found
        return NewestRequests(
            numeric=self.numeric,
            since=since,
            until=until,
            values={"tenant": self._tenant, "above": above},
            limit=limit,
            say=say,
            connection=self._connection,
            login=self._login,
            why_not=self._why_not,
            text=self._newest_text(),
            check=self._check,
            label=self.label,
        )

    def sample(self, since: datetime, until: datetime, *, rows: int) -> pd.DataFrame:
        """Completed rows that were requested in [since, until), about `rows` at most, the oldest first: some successive
        ones from each of many parts of that time, or of its ids where these are whole numbers. Columns as of newest().

        Empty where a tenant is asked for: others' rows would be passed over without bound. Raises TargetError where no
        index bounds the scan.
        """
        of_part = max(rows // _STRETCHES, 1)
        frames = []
        for bounds in [] if self._tenant is not None else self._stretches(since, until):
            values = {"tenant": None, "limit": of_part, "below_s": float("inf"), "below": 2**63 - 1, **bounds}
            text = self._newest_text()
            if not frames:
                self._check(text, values)
            frames.append(pd.DataFrame(self._ask(text, values), columns=pd.Index(COLUMNS)))
        frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=pd.Index(COLUMNS))
        return frame.sort_values(["requested_s", "key"], ignore_index=True)

    def _stretches(self, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Bounds of as many parts, of equal length."""
        if self.numeric:
            low, high = self.before(since), self.before(until)
            if high is None:
                return []
            low = (self._end("asc") or 0) - 1 if low is None else low
            edges = [low + (high - low) * n // _STRETCHES for n in range(_STRETCHES + 1)]
            inside = {"since": since, "until": until}
            return [{"above": a, "upto": b, **inside} for a, b in pairwise(edges) if b > a]
        text = (
            "select {requested_at} as at from {table} where {requested_at} >= {since} and {requested_at} < {until} "
            "order by {requested_at} limit 1"
        )
        asked = self._table.compose(f"{text} {MARKER}")
        oldest = self._bounded(asked, {"since": since, "until": until}, _NO_INDEX.format("requested_at"))
        if not oldest:
            return []
        since = max(since, oldest[0].at)
        step = (until - since) / _STRETCHES
        starts = [since + step * n for n in range(_STRETCHES)]
        return [{"since": start, "until": start + step} for start in starts]

    def totals(self, since: datetime) -> tuple[int, float | None]:
        """Completed rows that were requested since, and the mean of their durations above zero (ms).

        Raises TargetError where that would scan a large table.
        """
        text = query("read_request_totals").format(**self._parts)
        cause = "few rows are older, or no index leads with requests.requested_at"
        row = self._bounded(text, {"since": since, "tenant": self._tenant}, cause)[0]
        return row.requests, row.avg_ms

    def rolled_up(self, since: datetime, judging: Judging, *, say: Say = silent) -> Page:
        """Completed rows that were requested since, summed in parts. Raises TargetError where no index bounds them."""
        pages: list[Page] = []
        for page in self._parts_by_id(since, judging) if self.numeric else self._parts_by_time(since, judging):
            if pages:
                say(f"{sum(p.rows for p in pages):,} requests are summed")
            pages.append(page)
        return merged(pages, judging.max_groups)

    def _parts_by_id(self, since: datetime, judging: Judging) -> Iterator[Page]:
        above = self.before(since)
        values: dict[str, Any] = {"since": since, "tenant": self._tenant, "limit": _PART_ROWS}
        values["above"] = _LOWEST if above is None else above
        while True:
            page = self._page("read_requests_by_id", "page_keys_by_id", values, values, judging)
            yield page
            if page.last_key is None or page.rows < _PART_ROWS:
                return
            values["above"] = page.last_key

    def _parts_by_time(self, since: datetime, judging: Judging) -> Iterator[Page]:
        """A statement has a timeout: one for each part of the time, and one for what is beyond."""
        latest = datetime.fromtimestamp(judging.latest_s, UTC)
        step = (latest - since) / _PARTS
        starts = [since + step * n for n in range(_PARTS)] + [latest]
        for start, end in zip(starts, [*starts[1:], datetime.max.replace(tzinfo=UTC)], strict=True):
            values = {"since": start, "until": end, "tenant": self._tenant}
            yield self._page("read_requests_by_time", "", values, values, judging)

    def _page(
        self, rows_name: str, keys_name: str, values: dict[str, Any], planned: dict[str, Any], judging: Judging
    ) -> Page:
        keys = query(keys_name).as_string(None) if keys_name else ""
        rows = query(rows_name).format(**self._parts)
        text = _around(rows, page_statement(HOLE, judging, materialized="materialized", keys=keys))
        return page_of(self._bounded(text, values, _NO_INDEX.format(self._bound), planned), judging.max_groups)

    def _newest_text(self) -> sql.Composed:
        name = "by_id" if self.numeric else "by_time"
        shown = self._table.compose("{id}::bigint" if self.numeric else ID_SHOWN[self._table.types["id"] == _UUID])
        scored = trusted(
            ", {tokens_in}::float8 as tokens_in, {tokens_out}::float8 as tokens_out, {shown} as shown_id"
        ).format(**self._table.parts, shown=shown)
        return query(f"read_newest_requests_{name}").format(**self._parts, scored=scored)

    def _check(self, text: sql.Composed, values: dict[str, Any]) -> None:
        """Refuse a statement whose plan scans a large table."""
        self._planned(text, values, _NO_INDEX.format(self._bound))

    def _bounded(
        self, text: sql.Composed, values: dict[str, Any], cause: str, planned: dict[str, Any] | None = None
    ) -> list[Any]:
        """The answer to a statement that scans no large table by its plan; one that does is refused for this cause."""
        self._planned(text, values if planned is None else planned, cause)
        return self._ask(text, values)

    def _planned(self, text: sql.Composed, values: dict[str, Any], cause: str) -> None:
        try:
            with foreign_code(self._connection):
                plan = self._connection.execute(sql.SQL("explain (format json) ") + text, values).fetchone()
        except psycopg.Error as error:
            raise told(error, f"reading {self.label}") from error
        if plan is not None and (cost := _scan_cost(plan[0][0]["Plan"])) > _MAX_SCAN_COST:
            raise TargetError(f"reading {self.label} would scan the whole table (cost {cost:,.0f}): {cause}")

    def _end(self, order: str) -> int | None:
        """The first id in this order. A scan is refused here already: what follows goes by the same index."""
        text = "select {id}::bigint as id from {table} where {id} is not null order by {id}"
        rows = self._bounded(self._table.compose(f"{text} {order} limit 1 {MARKER}"), {}, _NO_INDEX.format("id"))
        return int(rows[0].id) if rows else None

    def _ask(self, text: str | sql.Composed, values: dict[str, Any]) -> list[Any]:
        asked = self._table.compose(f"{text} {MARKER}") if isinstance(text, str) else text
        try:
            with foreign_code(self._connection):
                return self._connection.execute(asked, values).fetchall()
        except psycopg.Error as error:
            raise told(error, f"reading {self.label}") from error


def _around(rows: sql.Composed, statement: str) -> sql.Composed:
    """A statement with these rows in its hole, and our mark at its end."""
    before, after = (part.replace("%", "%%") for part in statement.split(HOLE))
    return sql.Composed([trusted(before), rows, trusted(f"{after.rstrip()} {MARKER}")])


def _scan_cost(plan: dict[str, Any]) -> float:
    """Cost of the dearest sequential scan in a plan."""
    own = float(plan["Total Cost"]) if "Seq Scan" in plan["Node Type"] else 0.0
    return max([own, *(_scan_cost(child) for child in plan.get("Plans", ()))])


def find_request_table(
    connection: psycopg.Connection[Any],
    mapped: Requests,
    *,
    tenant: str | None = None,
    login: ArrowLogin | None = None,
) -> PostgresRequestTable | None:
    """The configured table; None where it is not there, not ours to read, or not wanted. tenant: only its rows."""
    if not mapped.enabled:
        return None
    wanted = _MAPPED if tenant is None else (*_MAPPED, "tenant")
    table = find_mapped_table(connection, mapped, wanted, switch="requests.enabled")
    return PostgresRequestTable(connection, table, tenant=tenant, login=login) if table else None
