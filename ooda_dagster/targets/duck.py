"""Opens DuckDB on Parquet files, and checks the owner's expressions over their columns before a row is read."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ooda_dagster.core.request_settings import Requests
from ooda_dagster.targets.base import TargetError

#: What we ask of files is sums and the newest rows: that needs little, and the machine has other work.
_SETTINGS = {"threads": 2, "memory_limit": "1GB", "autoinstall_known_extensions": False}
#: How the expressions of `requests.*` are used.
_TYPES = {
    "id": "{}::varchar",
    "requested_at": "{} >= timestamptz 'epoch'",
    "duration_ms": "{}::double",
    "status": "{}::varchar",
    "model": "{}::varchar",
    "operation": "{}::varchar",
    "tokens_in": "{}::double",
    "tokens_out": "{}::double",
    "tenant": "{}::varchar",
}


class LakeError(TargetError):
    """Files that cannot be read as they are configured; says what to mend."""


def connect_duckdb(setting: str) -> tuple[Any, Any]:
    """The module and a connection; times without a zone are UTC. setting: what needs it."""
    try:
        duckdb = import_module("duckdb")
    except ModuleNotFoundError:
        raise LakeError(f"{setting} needs DuckDB: pip install ooda-dagster[lake]") from None
    connection = duckdb.connect(config=_SETTINGS)
    connection.execute("set timezone = 'UTC'")
    return duckdb, connection


def check_expressions(
    duckdb: Any, connection: Any, source: str, values: Mapping[str, Any], mapped: Requests, names: tuple[str, ...]
) -> None:
    """Raise LakeError, which names the expressions that are wrong and the columns of `source` that there are."""
    label, wrong = values["path"], []
    for name in names:
        text = f"select {_TYPES[name].format(mapped.expression(name))} from {source} limit 0"  # noqa: S608
        try:
            if len(connection.extract_statements(text)) != 1:
                wrong.append(f"requests.{name}: more than an expression")
            else:
                connection.execute(text, values)
        except duckdb.Error as error:
            wrong.append(f"requests.{name}: {words(error)}")
    if wrong:
        columns = connection.execute(f"describe select * from {source}", values).fetchall()  # noqa: S608
        has = ", ".join(c[0] for c in columns)
        raise LakeError(f"{label} cannot be read as it is mapped: {'; '.join(wrong)}; it has {has}")


def told(duckdb: Any, error: Exception, where: str) -> LakeError:
    """A failed read as one of our errors. DuckDB's words on data hold the value, and are left out."""
    if not isinstance(error, duckdb.DataError | duckdb.InvalidInputException):
        return LakeError(f"{where} cannot be read: {words(error)}")
    if "string encoding" in str(error):
        return LakeError(f"{where} cannot be read: it holds text that is no UTF-8")
    kind = type(error).__name__
    return LakeError(f"{where}: a mapped expression fails on a row ({kind}); make it yield null there")


def words(error: Exception) -> str:
    return str(error).splitlines()[0]
