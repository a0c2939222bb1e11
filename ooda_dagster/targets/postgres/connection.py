"""Opens sessions on a PostgreSQL target, with timeouts on everything and errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import namedtuple_row

from ooda_dagster.targets.base import (
    LoginRefusedError,
    LostLockError,
    MissingRightError,
    RefusedError,
    TargetError,
    TargetUnreachableError,
)
from ooda_dagster.targets.postgres.queries import marked

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


#: Where a password's @ or / was taken for the end of a part of the URL; what follows it may be the password's rest.
_TORN = "a torn URL"
_FORM = (
    "it has the form postgresql://user:password@host:port/database, where @ / : # ? % and spaces in user or password "
    "are percent-encoded"
)
_FULL = re.compile("too many (clients|connections)|connection slots are reserved")
#: Words of libpq and the server, and what mends it.
_REMEDIES = (
    (re.compile("certificate verify failed"), "sslrootcert must be the authority that signed the server's certificate"),
    (
        re.compile("root certificate file .* does not exist"),
        "give sslrootcert=PATH, or sslrootcert=system for the system's",
    ),
    (re.compile("does not match host name"), "connect by a name that the server's certificate holds"),
    (re.compile("server does not support SSL"), "the server has no TLS: set ssl = on there"),
    (re.compile("User does not have CONNECT privilege"), "GRANT CONNECT ON DATABASE to it"),
    (re.compile("no encryption"), "the server wants TLS: give sslmode=verify-full and sslrootcert=PATH"),
)

_SET = marked("select pg_catalog.set_config(s.n, s.v, {local}) from unnest(%s::text[], %s::text[]) s(n, v)")


class PooledConnection(psycopg.Connection[Any]):
    """A session behind a pooler, which may hand each transaction to another backend.

    A setting would stay in the pool for the next client, such as an application that then cannot write. So each
    statement is a read-only transaction of its own, whose settings end with it.
    """

    settings: Mapping[str, str]

    def execute(self, query: Any, params: Any = None, **options: Any) -> psycopg.Cursor[Any]:
        base = super()
        base.execute(marked("begin read only"))
        try:
            base.execute(_SET.format(local=sql.SQL("true")), (list(self.settings), list(self.settings.values())))
            cursor = base.execute(query, params, **options)
        except BaseException:
            if not self.closed:
                base.execute(marked("rollback"))
            raise
        base.execute(marked("commit"))
        return cursor


_C = TypeVar("_C", bound="psycopg.Connection[Any]")


def connect(
    dsn: str, application_name: str, settings: Mapping[str, str], *, connect_timeout_s: int | None = None
) -> psycopg.Connection[Any]:
    """An autocommit session. Raises TargetUnreachableError with the server's own words, never with the password."""
    connection = _open(psycopg.Connection, dsn, application_name, connect_timeout_s)
    if is_pooled(connection):
        connection.close()
        if settings.get("default_transaction_read_only") != "on":
            raise RefusedError(
                "a connection pooler stands between us and the server: a session's lock and limits would be lost; "
                "give the acting connection the server's own port"
            )
        pooled = _open(PooledConnection, dsn, application_name, connect_timeout_s)
        pooled.settings = settings
        return _checked(pooled, marked("select 1 as answer"), ())
    return _checked(connection, _SET.format(local=sql.SQL("false")), (list(settings), list(settings.values())))


def _open(kind: type[_C], dsn: str, application_name: str, connect_timeout_s: int | None) -> _C:
    try:
        return kind.connect(
            dsn,
            autocommit=True,
            application_name=application_name,
            connect_timeout=connect_timeout_s or CONNECT_TIMEOUT_S,
            row_factory=namedtuple_row,  # type: ignore[arg-type]
            prepare_threshold=None,  # a pooler may hand each statement to another backend
            **_ALIVE,
        )
    except psycopg.ProgrammingError:
        # libpq's words quote the URL, with its password
        raise TargetUnreachableError(f"the connection URL cannot be read; {_FORM}") from None
    except psycopg.OperationalError as error:
        raise _explain(error, dsn) from None


def _checked(connection: _C, statement: Any, values: tuple[Any, ...]) -> _C:
    """The connection after its first statement."""
    try:
        connection.execute(statement, values or None)
    except psycopg.Error as error:
        connection.close()
        if isinstance(connection, PooledConnection) and "statement pooling" in str(error):
            raise RefusedError(
                "a pooler in statement mode stands before the server: nothing can be held read-only through it; "
                "give the connection the server's own port, or a pool in session or transaction mode"
            ) from error
        raise TargetError(f"the session's limits cannot be set: {error.diag.message_primary}") from error
    return connection


def is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Whether a pooler stands between: the pid in the start packet is then its own."""
    row = connection.execute(marked("select pg_catalog.pg_backend_pid() as pid")).fetchone()
    return row is None or row.pid != connection.info.backend_pid


def is_local(connection: psycopg.Connection[Any]) -> bool:
    """Whether server and we share a machine, by the host that was asked for."""
    return connection.info.host.startswith("/") or connection.info.host in ("127.0.0.1", "::1", "localhost", "")


def _explain(error: psycopg.OperationalError, dsn: str) -> TargetUnreachableError:
    """A failed connect as one of our errors, in words that say what to do."""
    words, refused = _reason(error, dsn)
    return (LoginRefusedError if refused else TargetUnreachableError)(words)


def _reason(error: psycopg.OperationalError, dsn: str) -> tuple[str, bool]:
    """What is wrong, and whether the server answered and refused the role."""
    text = " ".join(str(error).split())
    state = getattr(error, "sqlstate", None)
    where = location(dsn)
    if where == _TORN:
        return f"the connection URL leads nowhere; {_FORM}", False
    for pattern, remedy in _REMEDIES:
        if pattern.search(text):
            return f"{where}: {text}; {remedy}", False
    if state == "28P01" or "password authentication failed" in text:
        why = f"{where}: wrong password or no such role; check the connection that the target's reference leads to"
        return why, True
    if "is not permitted to log in" in text:
        return f"{where}: this role may not log in (ALTER ROLE ... LOGIN): {text}", True
    if state == "28000" or "pg_hba.conf" in text:
        return f"{where}: the server does not let this role in from here (pg_hba.conf): {text}", True
    if state == "3D000" or ("database" in text and "does not exist" in text):
        return f"{where}: no such database", False
    if state == "53300" or _FULL.search(text):
        return (
            f"{where}: the server has no free connection, and we need two at most; raise max_connections or the limit "
            f"of the role or the database: {text}"
        ), False
    return f"{where} does not answer: {text}", False


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
    words = error.diag.message_primary or type(error).__name__
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return MissingRightError(f"{doing}: {words}" + (f". {remedy}" if remedy else ""))
    if error.sqlstate is None or error.sqlstate.startswith(("08", "57P")):
        return TargetUnreachableError(f"{doing}: the connection was lost ({words})")
    if isinstance(error, psycopg.errors.LockNotAvailable):
        words += "; another session holds a table exclusively (ALTER TABLE, VACUUM FULL), try again when it has ended"
    if isinstance(error, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
        return LostLockError(f"{doing}: {words} ({error.sqlstate})")
    return TargetError(f"{doing}: {words} ({error.sqlstate})")
