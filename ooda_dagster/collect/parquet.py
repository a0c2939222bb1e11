"""How many requests did Parquet files hold on a past day, and how long did they take? Read through DuckDB."""

from __future__ import annotations

import glob
from datetime import datetime
from typing import Any

from ooda_dagster.core.request_days import DAY_EXPRESSIONS, RequestDay
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.targets.duck import LakeError, check_expressions, connect_duckdb, told, words

_FILES = "read_parquet($path, union_by_name = true)"


def read_parquet_day(path: str, since: datetime, until: datetime, *, mapped: Requests) -> RequestDay | None:
    """The requests in [since, until) of the files at `path` (* and **); None where no file is there.

    The expressions of `mapped` run as DuckDB's SQL. Times without a zone are taken as UTC. Raises LakeError.
    """
    duckdb, connection = connect_duckdb("history.parquet")
    with connection:
        if "://" not in path and not glob.glob(path, recursive=True):
            return None
        try:
            connection.read_parquet(path, union_by_name=True)
        except duckdb.Error as error:
            raise LakeError(f"{path} cannot be read: {words(error)}") from None
        check_expressions(duckdb, connection, _FILES, {"path": path}, mapped, DAY_EXPRESSIONS)
        values: dict[str, Any] = {"path": path, "since": since, "until": until, "failed": list(mapped.failed)}
        try:
            row = connection.execute(_day(mapped), values).fetchone()
        except duckdb.Error as error:
            raise told(duckdb, error, path) from None
    return None if row is None else RequestDay(f"Parquet files {path}", *row)


def _day(mapped: Requests) -> str:
    at, ms, status = map(mapped.expression, DAY_EXPRESSIONS)
    failed = f"count(*) filter (list_contains($failed, lower({status}::varchar)))"
    return (
        f"select count(*), case when count(*) = 0 or count({status}) > 0 then {failed} end, avg({ms}::double), "  # noqa: S608
        f"quantile_cont({ms}::double, 0.5), quantile_cont({ms}::double, 0.95) "
        f"from {_FILES} where {at} >= $since::timestamptz and {at} < $until::timestamptz"
    )
