"""Inference requests in Parquet files, as an inference log in a lake holds them. Read by DuckDB.

A file does not change: a row is told by its file and its position in it. Which of them were counted is the caller's to
know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from ooda_dagster.core.request_page import Page, page_of
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.targets.base import Say, silent
from ooda_dagster.targets.duck import LakeError, check_expressions, connect_duckdb, told, words
from ooda_dagster.targets.request_rollup import HOLE, Judging, page_statement, quoted, rollup_statement

_MAPPED = ("id", "requested_at", "duration_ms", "status", "model", "operation", "tokens_in", "tokens_out")
_FILES = "read_parquet($path, union_by_name = true, file_row_number = true)"
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
_UUID = "'^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'"


@dataclass(frozen=True)
class LakeFile:
    """A file as it lies there now. modified_at: None where its store does not tell."""

    path: str
    bytes: int
    modified_at: datetime | None


@dataclass(frozen=True)
class Slice:
    """Rows [first, end) of a file, by position."""

    path: str
    first: int
    end: int


class ParquetRequests:
    """Implements `targets.base.RequestSource` over the files at `path` (* and **); close it.

    Raises LakeError, which says what to mend.
    """

    reader = "DuckDB"

    def __init__(self, path: str, mapped: Requests, *, tenant: str | None = None, files: Collection[str] = ()) -> None:
        self.label = f"Parquet files {path}"
        self._path, self._mapped, self._tenant = path, mapped, tenant
        self._files = sorted(files)
        self._duckdb, self._connection = connect_duckdb("requests.parquet")

    def close(self) -> None:
        self._connection.close()

    def listing(self) -> list[LakeFile]:
        """What lies there, the oldest first."""
        text = "select filename, size, last_modified from read_blob($path)"
        try:
            found = self._connection.execute(text, {"path": self._path}).fetchall()
        except self._duckdb.IOException as error:
            if "No files found" in str(error):
                return []
            raise LakeError(f"{self._path} cannot be listed: {words(error)}") from None
        except self._duckdb.Error as error:
            raise LakeError(f"{self._path} cannot be listed: {words(error)}") from None
        files = [LakeFile(path, size, at) for path, size, at in found]
        return sorted(files, key=lambda f: (f.modified_at.timestamp() if f.modified_at else 0.0, f.path))

    def rows_in(self, paths: Sequence[str]) -> tuple[dict[str, int], dict[str, str]]:
        """How many rows each file holds by its footer, and what is wrong with those that have none."""
        try:
            return self._footers(list(paths)), {}
        except self._duckdb.Error:
            pass
        rows: dict[str, int] = {}
        torn: dict[str, str] = {}
        for path in paths:
            try:
                rows |= self._footers([path])
            except self._duckdb.Error:
                torn[path] = "it is torn or still being written: it has no Parquet footer"
        return rows, torn

    def _footers(self, paths: list[str]) -> dict[str, int]:
        if not paths:
            return {}
        text = "select file_name, num_rows from parquet_file_metadata($path)"
        return {path: int(rows) for path, rows in self._connection.execute(text, {"path": paths}).fetchall()}

    def check(self, path: str) -> None:
        """Whether the expressions fit a file."""
        names = _MAPPED if self._tenant is None else (*_MAPPED, "tenant")
        check_expressions(self._duckdb, self._connection, _FILES, {"path": [path]}, self._mapped, names)

    def page(self, slices: Sequence[Slice], since: datetime, judging: Judging) -> Page:
        """The rows of these slices that were requested since, or nobody knows when, summed."""
        within = " or ".join(
            f"(filename = {quoted(s.path)} and file_row_number >= {s.first} and file_row_number < {s.end})"
            for s in slices
        )
        at = self._mapped.expression("requested_at")
        rows = self._rows(f"({within}) and ({at} >= $since::timestamptz or {at} is null)", filename=True)
        text = page_statement(HOLE, judging).replace(HOLE, rows)
        values = {"path": [s.path for s in slices], "since": since}
        found = self._ask(text, values, ", ".join(s.path for s in slices[:3]))
        return page_of(found, judging.max_groups)

    def newest(self, since: datetime, until: datetime, *, limit: int, say: Say = silent) -> pd.DataFrame:
        """As of a table; shown_id is the id where it is a whole number or a UUID, else a hash of it."""
        return self._single(since, until, f"order by requested_s desc, key desc limit {limit}")

    def sample(self, since: datetime, until: datetime, *, rows: int) -> pd.DataFrame:
        """As of a table, but drawn evenly from all rows of that time; the same again of the same files."""
        # By a hash: a reservoir is another one where threads read the files in another order.
        drawn = "order by hash(key, requested_s, duration_ms), requested_s, duration_ms"
        return self._single(since, until, f"{drawn} limit {rows}")

    def _single(self, since: datetime, until: datetime, which: str) -> pd.DataFrame:
        columns = ["key", "requested_s", "duration_ms", "status", "model", "operation", "tokens"]
        columns += ["tokens_in", "tokens_out", "shown_id"]
        if not self._files:
            return pd.DataFrame(columns=pd.Index(columns))
        m = self._mapped
        scored = "".join(f", {m.expression(name)}::double as {name}" for name in ("tokens_in", "tokens_out"))
        at = m.expression("requested_at")
        where = (
            f"{at} >= $since::timestamptz and {at} < $until::timestamptz and {m.expression('duration_ms')} is not null"
        )
        rows = self._rows(where, columns=f"{scored}, {self._shown()} as shown_id")
        text = f"select * from ({rows}) {which}"  # noqa: S608
        values = {"path": self._files, "since": since, "until": until}
        frame = pd.DataFrame(self._ask(text, values, self.label, frame=True))[columns]
        return frame.sort_values(["requested_s", "key"], ignore_index=True)

    def totals(self, since: datetime) -> tuple[int, float | None]:
        """Requests with a duration since, and the mean of the durations above zero (ms)."""
        if not self._files:
            return 0, None
        m = self._mapped
        where = f"{m.expression('requested_at')} >= $since::timestamptz and {m.expression('duration_ms')} is not null"
        text = f"select count(*), avg(duration_ms) filter (where duration_ms > 0) from ({self._rows(where)})"  # noqa: S608
        ((n, mean),) = self._ask(text, {"path": self._files, "since": since}, self.label)
        return int(n), mean

    def rolled_up(self, since: datetime, judging: Judging, *, say: Say = silent) -> Page:
        """All requests since, summed."""
        if not self._files:
            return Page()
        rows = self._rows(f"{self._mapped.expression('requested_at')} >= $since::timestamptz")
        text = rollup_statement(HOLE, judging).replace(HOLE, rows)
        found = self._ask(text, {"path": self._files, "since": since}, self.label)
        return page_of([("sums", *row, *[None] * 3) for row in found], judging.max_groups)

    def _rows(self, where: str, *, columns: str = "", filename: bool = False) -> str:
        """The query of requests."""
        e = self._mapped.expression
        files = _FILES if not filename else _FILES.replace("$path", "$path, filename = true")
        mine = "" if self._tenant is None else f" and {e('tenant')}::varchar = {quoted(self._tenant)}"
        return (
            f"select case when {e('id')} is not null then (hash({e('id')}::varchar) >> 1)::bigint end as key, "  # noqa: S608
            f"epoch({e('requested_at')}::timestamptz) as requested_s, {e('duration_ms')}::double as duration_ms, "
            f"lower({e('status')}::varchar) as status, left({e('model')}::varchar, 200) as model, "
            f"left({e('operation')}::varchar, 200) as operation, "
            f"coalesce({e('tokens_in')}::double, 0) + coalesce({e('tokens_out')}::double, 0) as tokens{columns} "
            f"from {files} where ({where}){mine}"
        )

    def _shown(self) -> str:
        """As text: a number that is text may be somebody's."""
        shown = self._mapped.expression("id")
        text = f"select typeof({shown}) from {_FILES} limit 1"  # noqa: S608
        kind = self._ask(text, {"path": self._files}, self.label)
        if kind and kind[0][0] in (*_WHOLE, "UUID"):
            return f"coalesce({shown}::varchar, '(none)')"
        hashed = f"'hash ' || to_hex(hash({shown}::varchar) >> 1)"
        uuid = f"regexp_matches({shown}::varchar, {_UUID}, 'i')"
        return f"coalesce(case when {uuid} then lower({shown}::varchar) else {hashed} end, '(none)')"

    def _ask(self, text: str, values: dict[str, Any], where: str, *, frame: bool = False) -> Any:
        try:
            answer = self._connection.execute(text, values)
            return answer.df() if frame else answer.fetchall()
        except self._duckdb.Error as error:
            raise told(self._duckdb, error, where) from None


def opened(
    path: str, mapped: Requests, *, tenant: str | None = None, files: Iterable[str] = ()
) -> closing[ParquetRequests]:
    """For a `with` statement."""
    return closing(ParquetRequests(path, mapped, tenant=tenant, files=list(files)))
