"""How many requests did Parquet files hold on a past day, and how long did they take? Read through DuckDB."""

from __future__ import annotations

import glob
from datetime import datetime
from importlib import import_module
from typing import Any

from ooda_dagster.core.request_days import RequestColumns, RequestDay

#: A day is an aggregate: it needs little, and the machine has other work.
_SETTINGS = {"threads": 2, "memory_limit": "1GB", "autoinstall_known_extensions": False}


class LakeError(RuntimeError):
    """Files that cannot be read as they are configured; says what to mend."""


def read_parquet_day(path: str, since: datetime, until: datetime, *, columns: RequestColumns) -> RequestDay | None:
    """The requests in [since, until) of the files at `path` (* and **); None where no file is there.

    Times without a zone are taken as UTC. Raises LakeError.
    """
    duckdb = _duckdb()
    if "://" not in path and not glob.glob(path, recursive=True):
        return None
    try:
        with duckdb.connect(config=_SETTINGS) as connection:
            connection.execute("set timezone = 'UTC'")
            _check(connection.read_parquet(path, union_by_name=True).columns, columns, path)
            parameters: dict[str, Any] = {"path": path, "since": since, "until": until}
            if columns.status:
                parameters["failed"] = list(columns.failed_statuses)
            row = connection.execute(_aggregate(columns), parameters).fetchone()
    except duckdb.Error as error:
        raise LakeError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    return None if row is None else RequestDay(f"Parquet files {path}", *row)


def _duckdb() -> Any:
    try:
        return import_module("duckdb")
    except ModuleNotFoundError:
        raise LakeError("history.parquet needs DuckDB: pip install ooda-dagster[lake]") from None


def _check(there: list[str], columns: RequestColumns, path: str) -> None:
    wanted = {
        "history.requested_at_column": columns.requested_at,
        "history.duration_ms_column": columns.duration_ms,
        "history.status_column": columns.status,
    }
    missing = [f"{name} ({key})" for key, name in wanted.items() if name and name not in there]
    if missing:
        raise LakeError(f"{path} has no column {', '.join(missing)}; it has {', '.join(there)}")


def _aggregate(columns: RequestColumns) -> str:
    at, duration = _quoted(columns.requested_at), _quoted(columns.duration_ms)
    failed = (
        f"count(*) filter (list_contains($failed, {_quoted(columns.status)}::varchar))" if columns.status else "null"
    )
    return (
        f"select count(*), {failed}, avg({duration}), "  # noqa: S608
        f"quantile_cont({duration}::double, 0.5), quantile_cont({duration}::double, 0.95) "
        f"from read_parquet($path, union_by_name = true) "
        f"where {at} >= $since::timestamptz and {at} < $until::timestamptz"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
