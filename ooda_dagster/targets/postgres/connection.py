"""Opens sessions on a PostgreSQL target, with timeouts on everything and errors that say what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.adapt import Buffer, Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import namedtuple_row
from psycopg.types.json import set_json_loads

from ooda_dagster.core.errors import server_words, silenced
from ooda_dagster.targets.base import MissingRightError, TargetError, TargetUnreachableError
from ooda_dagster.targets.postgres.queries import MARKER, marked, trusted

CONNECT_TIMEOUT_S = 10
#: A host that vanished tells nobody, and no timeout of the server's helps: its session is given up within a minute.
#: Where something between drops silent connections, the probes also keep that of a long CREATE INDEX.
_ALIVE: dict[str, Any] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}

#: Of a session that only looks. The server itself refuses writes in it.
OBSERVING_SETTINGS: Mapping[str, str] = {
    "default_transaction_read_only": "on",
    "statement_timeout": "30s",
    "lock_timeout": "1s",
    "idle_in_transaction_session_timeout": "60s",
}
#: Of a session that acts; each statement sets its own limits. A worker that dies takes its statement with it.
ACTING_SETTINGS: Mapping[str, str] = {
    "statement_timeout": "30s",
    "lock_timeout": "1s",
    "idle_in_transaction_session_timeout": "60s",
    "client_connection_check_interval": "500ms",
}
#: Names in our own statements mean the server's own objects, whatever search_path a role or a database is given and
#: whatever stands in public: a function or an operator of somebody's would run with our rights. The path that the
#: session would have had is kept in a setting beside it.
_PINNED_PATH = "pg_catalog, pg_temp"
_GIVEN_PATH = "pg_catalog.set_config('search_path', pg_catalog.current_setting('ooda.search_path', true), {local})"

#: Where a password's @ or / was taken for the end of a part of the URL; what follows it may be the password's rest.
_TORN = "a torn URL"
_FORM = (
    "it has the form postgresql://user:password@host:port/database, where @ / : # ? % and spaces in user or password "
    "are percent-encoded"
)
_FULL = re.compile("too many (clients|connections)|connection slots are reserved")


def connect(
    dsn: str, application_name: str, settings: Mapping[str, str], *, connect_timeout_s: int | None = None
) -> psycopg.Connection[Any]:
    """An autocommit session. Raises TargetUnreachableError with the server's own words, never with the password."""
    try:
        connection = psycopg.connect(
            dsn,
            autocommit=True,
            application_name=application_name,
            connect_timeout=connect_timeout_s or CONNECT_TIMEOUT_S,
            row_factory=namedtuple_row,
            prepare_threshold=None,  # a pooler may hand each statement to another backend
            client_encoding="UTF8",
            **_ALIVE,
        )
    except psycopg.ProgrammingError:
        # libpq's words quote the URL, with its password
        raise TargetUnreachableError(f"the connection URL cannot be read; {_FORM}") from None
    except psycopg.OperationalError as error:
        raise TargetUnreachableError(_explain(error, dsn)) from None
    try:
        # Bytes of a SQL_ASCII database are of no encoding: asked for as UTF-8, one that is none fails the statement.
        raw = connection.info.parameter_status("server_encoding") == "SQL_ASCII"
        connection.execute(_opening({**settings, "client_encoding": "SQL_ASCII"} if raw else settings))
    except psycopg.Error as error:
        connection.close()
        words = server_words(error)
        silenced(error)
        raise TargetError(f"the session's limits cannot be set: {words}") from error
    for name in ("text", "varchar", "bpchar", "name"):
        connection.adapters.register_loader(name, _Lenient)
    set_json_loads(_loads, connection)
    return connection


class _Lenient(Loader):
    """Text of a SQL_ASCII database may be in any encoding: what is no UTF-8 is read as a replacement character."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode(errors="replace")


def _loads(data: str | bytes) -> Any:
    return json.loads(data if isinstance(data, str) else data.decode(errors="replace"))


def _opening(settings: Mapping[str, str]) -> sql.SQL:
    """A session's first statement, with nothing in it that a search_path could lead astray.

    No SET: the server counts that as the same statement as the user's own, and only ours is marked.
    """
    # A time in another style cannot be read; the order of day and month, which texts of theirs go by, stays.
    wanted = {**settings, "datestyle": "ISO", "intervalstyle": "postgres", "standard_conforming_strings": "on"}
    calls = ["pg_catalog.set_config('ooda.search_path', pg_catalog.current_setting('search_path'), false)"]
    for name, value in {**wanted, "search_path": _PINNED_PATH}.items():
        calls.append(f"pg_catalog.set_config('{name}', {sql.Literal(value).as_string(None)}, false)")
    columns = ", ".join(f"{call} as c{n}" for n, call in enumerate(calls))
    return trusted(f"select {columns} {MARKER}")


@contextmanager
def foreign_code(connection: psycopg.Connection[Any], *, given_path: bool = False) -> Iterator[None]:
    """Around a statement that may call functions of the user's: views, policies, mapped expressions, and what the
    planner computes beforehand.

    In a read-only transaction that is rolled back none of them writes, and none leaves the session with other settings
    than it had. given_path: names mean what they mean to a session of this role.
    """
    connection.execute(marked("begin read only"))
    try:
        if given_path:
            connection.execute(trusted(f"select {_GIVEN_PATH.format(local='true')} {MARKER}"))
        yield
    finally:
        if not connection.closed:
            connection.execute(marked("rollback"))


def give_path(connection: psycopg.Connection[Any]) -> None:
    """Have names mean what they mean to a session of this role, until `pin_path`."""
    connection.execute(trusted(f"select {_GIVEN_PATH.format(local='false')} {MARKER}"))


def pin_path(connection: psycopg.Connection[Any]) -> None:
    connection.execute(marked("select pg_catalog.set_config('search_path', %s, false)"), (_PINNED_PATH,))


def _explain(error: psycopg.OperationalError, dsn: str) -> str:
    text = " ".join(str(error).split())
    state = getattr(error, "sqlstate", None)
    where = location(dsn)
    if where == _TORN:
        return f"the connection URL leads nowhere; {_FORM}"
    if state == "28P01" or "password authentication failed" in text:
        return f"{where}: wrong password or no such role; check the connection that the target's reference leads to"
    if state == "28000" or "pg_hba.conf" in text:
        return f"{where}: the server does not let this role in from here (pg_hba.conf): {text}"
    if state == "3D000" or ("database" in text and "does not exist" in text):
        return f"{where}: no such database"
    if state == "53300" or _FULL.search(text):
        return (
            f"{where}: the server has no free connection, and we need two at most; raise max_connections or the limit "
            f"of the role or the database: {text}"
        )
    return f"{where} does not answer: {text}"


def location(dsn: str) -> str:
    """host:port/database of a DSN, without any secret."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "the target"
    if any("@" in str(value) for name, value in parts.items() if name in ("host", "port", "dbname")):
        return _TORN
    if "service" in parts:
        return f"service {parts['service']}"
    return f"{parts.get('host', 'local socket')}:{parts.get('port', 5432)}/{parts.get('dbname', parts.get('user', ''))}"


def translate(error: psycopg.Error, doing: str, remedy: str = "") -> TargetError:
    """A driver's error as one of ours. The message holds no statement text and no literal."""
    words = server_words(error)
    silenced(error)
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return MissingRightError(f"{doing}: {words}" + (f". {remedy}" if remedy else ""))
    if error.sqlstate is None or error.sqlstate.startswith(("08", "57P")):
        return TargetUnreachableError(f"{doing}: the connection was lost ({words})")
    if isinstance(error, psycopg.errors.LockNotAvailable):
        words += "; another session holds a table exclusively (ALTER TABLE, VACUUM FULL), try again when it has ended"
    return TargetError(f"{doing}: {words} ({error.sqlstate})")
