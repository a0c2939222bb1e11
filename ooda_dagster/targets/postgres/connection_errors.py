"""What a failed connect or statement is called: in words that say what to do, and hold no value and no password."""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ooda_dagster.core.errors import server_words, silenced
from ooda_dagster.targets.base import (
    LoginRefusedError,
    LostLockError,
    MissingRightError,
    TargetError,
    TargetUnreachableError,
)

#: Where a password's @ or / was taken for the end of a part of the URL; what follows it may be the password's rest.
_TORN = "a torn URL"
FORM = (
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


def explain(error: psycopg.OperationalError, dsn: str) -> TargetUnreachableError:
    """A failed connect as one of our errors, in words that say what to do."""
    words, refused = _reason(error, dsn)
    return (LoginRefusedError if refused else TargetUnreachableError)(words)


def _reason(error: psycopg.OperationalError, dsn: str) -> tuple[str, bool]:
    """What is wrong, and whether the server answered and refused the role."""
    text = " ".join(str(error).split())
    state = getattr(error, "sqlstate", None)
    where = location(dsn)
    if where == _TORN:
        return f"the connection URL leads nowhere; {FORM}", False
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


def _of_pooler(error: psycopg.Error) -> bool:
    """Whether a pooler says that it has no server: PgBouncer's 58000, without the source file that a server names."""
    return error.sqlstate == "58000" and error.diag.source_file is None


def translate(error: psycopg.Error, doing: str, remedy: str = "") -> TargetError:
    """A driver's error as one of ours. The message holds no statement text and no literal."""
    words = server_words(error)
    silenced(error)
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return MissingRightError(f"{doing}: {words}" + (f". {remedy}" if remedy else ""))
    if error.sqlstate is None or error.sqlstate.startswith(("08", "57P")) or _of_pooler(error):
        return TargetUnreachableError(f"{doing}: the connection was lost ({words})")
    if isinstance(error, psycopg.errors.LockNotAvailable):
        words += "; another session holds a table exclusively (ALTER TABLE, VACUUM FULL), try again when it has ended"
    if isinstance(error, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
        return LostLockError(f"{doing}: {words} ({error.sqlstate})")
    return TargetError(f"{doing}: {words} ({error.sqlstate})")
