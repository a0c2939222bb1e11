"""How many requests did Parquet files hold on a past day, and how long did they take? Read through DuckDB."""

from __future__ import annotations

import glob
from datetime import datetime
from importlib import import_module
from typing import Any

from ooda_dagster.core.request_days import DAY_EXPRESSIONS, RequestDay
from ooda_dagster.core.request_settings import Requests

#: A day is an aggregate: it needs little, and the machine has other work.
_SETTINGS = {"threads": 2, "memory_limit": "1GB", "autoinstall_known_extensions": False}
_FILES = "read_parquet($path, union_by_name = true)"
_EPOCH = "timestamptz 'epoch'"


class LakeError(RuntimeError):
    """Files that cannot be read as they are configured; says what to mend."""


def read_parquet_day(path: str, since: datetime, until: datetime, *, mapped: Requests) -> RequestDay | None:
    """The requests in [since, until) of the files at `path` (* and **); None where no file is there.

    The expressions of `mapped` run as DuckDB's SQL. Times without a zone are taken as UTC. Raises LakeError.
    """
    duckdb = _duckdb()
    if "://" not in path and not glob.glob(path, recursive=True):
        return None
    values = {"path": path, "since": since, "until": until, "failed": list(mapped.failed)}
    with duckdb.connect(config=_SETTINGS) as connection:
        try:
            connection.execute("set timezone = 'UTC'")
            columns = connection.read_parquet(path, union_by_name=True).columns
        except duckdb.Error as error:
            raise LakeError(f"{path} cannot be read: {_words(error)}") from None
        _check(duckdb, connection, path, columns, mapped)
        try:
            row = connection.execute(_day(mapped), values).fetchone()
        except (duckdb.DataError, duckdb.InvalidInputException) as error:
            # DuckDB's words hold the value.
            kind = type(error).__name__
            raise LakeError(f"{path}: a mapped expression fails on a row ({kind}); make it yield null there") from None
        except duckdb.Error as error:
            raise LakeError(f"{path} cannot be read: {_words(error)}") from None
    return None if row is None else RequestDay(f"Parquet files {path}", *row)


def _duckdb() -> Any:
    try:
        return import_module("duckdb")
    except ModuleNotFoundError:
        raise LakeError("history.parquet needs DuckDB: pip install ooda-dagster[lake]") from None


def _check(duckdb: Any, connection: Any, path: str, columns: list[str], mapped: Requests) -> None:
    """Name the expressions that are wrong, before any row is read."""
    at, ms, status = map(mapped.expression, DAY_EXPRESSIONS)
    used = {"requested_at": f"{at} >= {_EPOCH}", "duration_ms": f"{ms}::double", "status": f"{status}::varchar"}
    wrong = []
    for name, expression in used.items():
        text = f"select {expression} from {_FILES} limit 0"  # noqa: S608
        try:
            if len(connection.extract_statements(text)) != 1:
                wrong.append(f"requests.{name}: more than an expression")
            else:
                connection.execute(text, {"path": path})
        except duckdb.Error as error:
            wrong.append(f"requests.{name}: {_words(error)}")
    if wrong:
        raise LakeError(f"{path} cannot be read as it is mapped: {'; '.join(wrong)}; it has {', '.join(columns)}")


def _day(mapped: Requests) -> str:
    at, ms, status = map(mapped.expression, DAY_EXPRESSIONS)
    failed = f"count(*) filter (list_contains($failed, lower({status}::varchar)))"
    return (
        f"select count(*), case when count(*) = 0 or count({status}) > 0 then {failed} end, avg({ms}::double), "  # noqa: S608
        f"quantile_cont({ms}::double, 0.5), quantile_cont({ms}::double, 0.95) "
        f"from {_FILES} where {at} >= $since::timestamptz and {at} < $until::timestamptz"
    )


def _words(error: Exception) -> str:
    return str(error).splitlines()[0]
