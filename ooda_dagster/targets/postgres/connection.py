"""Opens sessions on a PostgreSQL target, with timeouts on everything and no trust in whose names stand where."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.adapt import Buffer, Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import namedtuple_row
from psycopg.types.json import set_json_loads

from ooda_dagster.core.keep_alive import patience
from ooda_dagster.targets.base import RefusedError, TargetUnreachableError
from ooda_dagster.targets.postgres.connection_errors import FORM, explain, translate
from ooda_dagster.targets.postgres.queries import MARKER, marked, trusted

#: The server's names of what libpq calls otherwise: it must notice, too, that we are gone, or its session would hold
#: the lock for hours.
_ALIVE_THERE = {
    "keepalives_idle": "tcp_keepalives_idle",
    "keepalives_interval": "tcp_keepalives_interval",
    "keepalives_count": "tcp_keepalives_count",
    "tcp_user_timeout": "tcp_user_timeout",
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
PINNED_PATH = "pg_catalog, pg_temp"
_GIVEN_PATH = "pg_catalog.set_config('search_path', pg_catalog.current_setting('ooda.search_path', true), {local})"


class PooledConnection(psycopg.Connection[Any]):
    """A session behind a pooler, which may hand each transaction to another backend.

    A setting would stay in the pool for the next client, such as an application that then cannot write. So each
    statement is a read-only transaction of its own; rolled back, it takes along its settings, and those of any function
    that it called.
    """

    settings: Mapping[str, str]
    _held = False

    def execute(self, query: Any, params: Any = None, **options: Any) -> psycopg.Cursor[Any]:
        if self._held:
            return super().execute(query, params, **options)
        with self.held():
            return super().execute(query, params, **options)

    @contextmanager
    def held(self) -> Iterator[None]:
        """One transaction, and thereby one backend, for the statements of the block."""
        super().execute(marked("begin read only"))
        self._held = True
        try:
            super().execute(opening(self.settings, local=True))
            yield
        finally:
            self._held = False
            if not self.closed:
                super().execute(marked("rollback"))


_C = TypeVar("_C", bound="psycopg.Connection[Any]")


def connect(
    dsn: str, application_name: str, settings: Mapping[str, str], *, connect_timeout_s: int | None = None
) -> psycopg.Connection[Any]:
    """An autocommit session. Raises TargetUnreachableError with the server's own words, never with the password."""
    alive = _patience(dsn)
    if connect_timeout_s:
        alive["connect_timeout"] = connect_timeout_s
    connection = _open(psycopg.Connection, dsn, application_name, alive)
    settings = {**settings, **{there: str(alive[here]) for here, there in _ALIVE_THERE.items()}}
    # Bytes of a SQL_ASCII database are of no encoding: asked for as UTF-8, one that is none fails the statement.
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        settings = {**settings, "client_encoding": "SQL_ASCII"}
    try:
        pooled_by_another = is_pooled(connection)
    except psycopg.Error as error:  # a pooler that is up answers the login itself, and then finds no server
        connection.close()
        raise translate(error, "opening a session") from error
    if pooled_by_another:
        connection.close()
        if settings.get("default_transaction_read_only") != "on":
            raise RefusedError(
                "a connection pooler stands between us and the server: a session's lock and limits would be lost; "
                "give the acting connection the server's own port"
            )
        pooled = _open(PooledConnection, dsn, application_name, alive)
        pooled.settings = settings
        return _checked(pooled, marked("select 1 as answer"))
    return _checked(connection, opening(settings))


def _patience(dsn: str) -> dict[str, Any]:
    try:
        return patience(conninfo_to_dict(dsn))
    except psycopg.ProgrammingError:
        # libpq's words quote the URL, with its password
        raise TargetUnreachableError(f"the connection URL cannot be read; {FORM}") from None


def _open(kind: type[_C], dsn: str, application_name: str, alive: Mapping[str, Any]) -> _C:
    try:
        return kind.connect(
            dsn,
            autocommit=True,
            application_name=application_name,
            row_factory=namedtuple_row,  # type: ignore[arg-type]
            prepare_threshold=None,  # a pooler may hand each statement to another backend
            client_encoding="UTF8",
            **alive,
        )
    except psycopg.OperationalError as error:
        raise explain(error, dsn) from None


def _checked(connection: _C, statement: sql.SQL) -> _C:
    """The connection after its first statement."""
    try:
        connection.execute(statement)
    except psycopg.Error as error:
        connection.close()
        if isinstance(connection, PooledConnection) and "statement pooling" in str(error):
            raise RefusedError(
                "a pooler in statement mode stands before the server: nothing can be held read-only through it; "
                "give the connection the server's own port, or a pool in session or transaction mode"
            ) from error
        raise translate(error, "setting the session's limits") from error
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


def opening(settings: Mapping[str, str], *, local: bool = False) -> sql.SQL:
    """A session's, or a transaction's, first statement, with nothing in it that a search_path could lead astray.

    No SET: the server counts that as the same statement as the user's own, and only ours is marked.
    """
    # A time in another style cannot be read; the order of day and month, which texts of theirs go by, stays.
    wanted = {**settings, "datestyle": "ISO", "intervalstyle": "postgres", "standard_conforming_strings": "on"}
    scope = str(local).lower()
    calls = [f"pg_catalog.set_config('ooda.search_path', pg_catalog.current_setting('search_path'), {scope})"]
    for name, value in {**wanted, "search_path": PINNED_PATH}.items():
        calls.append(f"pg_catalog.set_config('{name}', {sql.Literal(value).as_string(None)}, {scope})")
    columns = ", ".join(f"{call} as c{n}" for n, call in enumerate(calls))
    return trusted(f"select {columns} {MARKER}")


def is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Whether a pooler stands between: the pid in the start packet is then its own."""
    row = connection.execute(marked("select pg_catalog.pg_backend_pid() as pid")).fetchone()
    return row is None or row.pid != connection.info.backend_pid


def is_local(connection: psycopg.Connection[Any]) -> bool:
    """Whether server and we share a machine, by the host that was asked for."""
    return connection.info.host.startswith("/") or connection.info.host in ("127.0.0.1", "::1", "localhost", "")


@contextmanager
def foreign_code(connection: psycopg.Connection[Any], *, given_path: bool = False) -> Iterator[None]:
    """Around a statement that may call functions of the user's: views, policies, mapped expressions, and what the
    planner computes beforehand.

    In a read-only transaction that is rolled back none of them writes, and none leaves the session with other settings
    than it had. given_path: names mean what they mean to a session of this role.
    """
    with connection.held() if isinstance(connection, PooledConnection) else _rolled_back(connection):
        if given_path:
            connection.execute(trusted(f"select {_GIVEN_PATH.format(local='true')} {MARKER}"))
        yield


@contextmanager
def _rolled_back(connection: psycopg.Connection[Any]) -> Iterator[None]:
    connection.execute(marked("begin read only"))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute(marked("rollback"))


def give_path(connection: psycopg.Connection[Any]) -> None:
    """Have names mean what they mean to a session of this role, until `pin_path`."""
    connection.execute(trusted(f"select {_GIVEN_PATH.format(local='false')} {MARKER}"))


def pin_path(connection: psycopg.Connection[Any]) -> None:
    connection.execute(marked("select pg_catalog.set_config('search_path', %s, false)"), (PINNED_PATH,))
