"""Reads many rows by ADBC: the server's binary copy becomes Arrow columns without a Python object for each value.

A session of its own, with the limits, the pinned names and the marks of the session beside it. The driver itself asks
three things of the catalogue when it connects, unmarked: so limits and names hold from the start packet on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ooda_dagster.core.keep_alive import patience
from ooda_dagster.targets.postgres.connection import (
    PINNED_PATH,
    PooledConnection,
    opening,
)
from ooda_dagster.targets.postgres.queries import MARKER

_INSTALL = "pip install ooda-dagster[arrow] reads many of them several times as fast"


@dataclass(frozen=True)
class ArrowLogin:
    """How a second session on the same server is opened."""

    dsn: str
    application_name: str
    settings: Mapping[str, str]

    def __repr__(self) -> str:
        return f"ArrowLogin({self.application_name!r})"


def why_not(connection: psycopg.Connection[Any], login: ArrowLogin | None) -> str | None:
    """Why rows come one by one through the session that is open; None where ADBC can read."""
    if login is None or isinstance(connection, PooledConnection):
        return "a pooler would keep its settings for the next client"
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        return "the database's encoding is SQL_ASCII: its texts may be none"
    try:
        _driver()
    except ModuleNotFoundError:
        return _INSTALL
    return None


def _driver() -> Any:
    import_module("pyarrow")
    return import_module("adbc_driver_postgresql.dbapi")


class ArrowSession:
    """Read-only, as its caller's: see `reading`."""

    def __init__(self, cursor: Any, connection: psycopg.Connection[Any]) -> None:
        self._cursor = cursor
        self._binder = psycopg.ClientCursor(connection)

    def frame(self, statement: sql.Composed, values: Mapping[str, Any]) -> pd.DataFrame:
        """The rows of a statement. Raises psycopg's error of the server's SQLSTATE, without the server's quotes."""
        try:
            self._cursor.execute(self._binder.mogrify(statement, values))
            return self._cursor.fetch_arrow_table().to_pandas()
        except _driver().Error as error:
            raise _as_psycopg(error) from None


@contextmanager
def reading(connection: psycopg.Connection[Any], login: ArrowLogin) -> Iterator[ArrowSession]:
    """A read-only transaction of an ADBC session, rolled back at the end. Raises psycopg.Error where none opens."""
    adbc = _driver()
    limits: dict[str, Any] = {**patience(conninfo_to_dict(login.dsn)), "client_encoding": "UTF8"}
    dsn = make_conninfo(login.dsn, application_name=login.application_name, options=_options(login), **limits)
    try:
        opened = adbc.connect(dsn, autocommit=True)
    except adbc.Error as error:
        raise _as_psycopg(error) from None
    with closing(opened), closing(opened.cursor()) as cursor:
        try:
            cursor.execute(opening(login.settings).as_string(None))
            cursor.fetchall()
            cursor.execute(f"begin read only {MARKER}")
        except adbc.Error as error:
            raise _as_psycopg(error) from None
        try:
            yield ArrowSession(cursor, connection)
        finally:
            with suppress(adbc.Error):  # a session that is gone took its transaction along
                cursor.execute(f"rollback {MARKER}")


def _options(login: ArrowLogin) -> str:
    """What holds before the first statement, after what the connection string gives."""
    given = conninfo_to_dict(login.dsn).get("options") or ""
    wanted = {**login.settings, "search_path": PINNED_PATH.replace(" ", "")}
    return " ".join([str(given), *(f"-c {name}={value}" for name, value in wanted.items())]).strip()


def _as_psycopg(error: Any) -> psycopg.Error:
    """The driver's words quote the statement, with its values: what is kept is the kind of error."""
    state = getattr(error, "sqlstate", None)
    if not state:
        return psycopg.OperationalError("the Arrow session was lost, or none could be opened")
    return psycopg.errors.lookup(state)("the server refused the Arrow read")
