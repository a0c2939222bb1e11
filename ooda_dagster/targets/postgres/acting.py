"""A session that may change a PostgreSQL database. Only `actions.executor` and `actions.recovery` open one."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import psycopg

from ooda_dagster.core.catalogue import Index
from ooda_dagster.core.errors import server_words, silenced
from ooda_dagster.core.identifiers import quote_identifier
from ooda_dagster.targets.base import Activity, MissingRightError, RefusedError
from ooda_dagster.targets.postgres.connection import give_path, pin_path, translate
from ooda_dagster.targets.postgres.observing import find_index, read_activity
from ooda_dagster.targets.postgres.queries import MARKER, marked, query, trusted

#: First key of the advisory lock that says "the loop acts on this database"; the second is of the database's name.
_LOCK_SPACE = 0x6F6F6461
#: From this version on, a membership says whether the member may SET ROLE.
_HAS_SET = 160_000


class PostgresActing:
    """Implements `targets.base.Acting`."""

    def __init__(self, connection: psycopg.Connection[Any], application_name: str) -> None:
        self.connection = connection
        self.application_name = application_name
        row = connection.execute(
            marked(
                "select a.pid, a.backend_start, pg_catalog.pg_is_in_recovery() as in_recovery, a.datname "
                "from pg_catalog.pg_stat_activity a where a.pid = pg_catalog.pg_backend_pid()"
            )
        ).fetchone()
        assert row is not None
        self.backend_pid: int = row.pid
        self.backend_start: datetime = row.backend_start
        self._database: str = row.datname
        if connection.info.backend_pid != row.pid:
            raise RefusedError(
                "a connection pooler stands between us and the server: a session's lock and limits would be lost; "
                "give the acting connection the server's own port"
            )
        if row.in_recovery:
            raise RefusedError("the server is a standby in recovery: it cannot be changed; act on its primary")

    def try_lock(self) -> bool:
        """Take this database's lock for the session, without waiting.

        Never the waiting form: a session that waits for an advisory lock holds a snapshot, and CREATE INDEX
        CONCURRENTLY, waiting for that snapshot, ends in a deadlock.
        """
        key = int.from_bytes(hashlib.blake2b(self._database.encode(), digest_size=4).digest(), signed=True)
        row = self.connection.execute(
            marked("select pg_catalog.pg_try_advisory_lock(%s, %s) as got"), (_LOCK_SPACE, key)
        ).fetchone()
        return bool(row and row.got)

    def execute(self, statement: str, *, role: str | None, lock_timeout_s: float, timeout_s: float) -> None:
        """Run one journalled statement outside a transaction, as `role` where the session may become it."""
        limits = {"lock_timeout": lock_timeout_s, "statement_timeout": timeout_s}
        try:
            for name, seconds in limits.items():
                self.connection.execute(trusted(f"set {name} = '{int(seconds * 1000)}ms' {MARKER}"))
            became = role is not None and self._become(role)
            try:
                give_path(self.connection)  # a person's operator class or function is found as they would find it
                self.connection.execute(trusted(statement))
            except psycopg.Error:
                self._come_back(became)
                raise
            except BaseException:  # interrupted: the statement may still run, and ends with its session
                self.connection.close()
                raise
            self._come_back(became)
        except psycopg.errors.InsufficientPrivilege as error:
            words = server_words(error)
            silenced(error)
            raise MissingRightError(f"{words}. {self._grant(role)}" if role else words) from error
        except psycopg.Error as error:
            raise translate(error, "acting") from error

    def _come_back(self, became: bool) -> None:
        """The session as it was before the statement."""
        if self.connection.closed:
            return
        pin_path(self.connection)
        if became:
            self.connection.execute(marked("reset role"))

    def _grant(self, role: str) -> str:
        """The statement that gives the right which was missing: to become the owner, or the owner's own to create."""
        owner, user = quote_identifier(role), quote_identifier(self.role)
        if role != self.role and not self._may_become(role):
            options = " WITH INHERIT FALSE, SET TRUE" if self.connection.info.server_version >= _HAS_SET else ""
            return f"GRANT {owner} TO {user}{options};"
        schemas = self.connection.execute(query("read_closed_schemas"), {"role": role}).fetchall()
        names = ", ".join(quote_identifier(row.name) for row in schemas)
        return f"GRANT CREATE ON SCHEMA {names} TO {owner};" if names else f"The owner {owner} lacks a right itself"

    def _may_become(self, role: str) -> bool:
        # Before 16 every member may; since then, who was granted it with SET.
        how = "SET" if self.connection.info.server_version >= _HAS_SET else "MEMBER"
        asked = marked("select pg_catalog.pg_has_role(current_user, %s, %s) as may")
        row = self.connection.execute(asked, (role, how)).fetchone()
        return bool(row and row.may)

    def _become(self, role: str) -> bool:
        if role == self.role or not self._may_become(role):
            return False
        self.connection.execute(trusted(f"set role {quote_identifier(role)} {MARKER}"))
        return True

    @property
    def role(self) -> str:
        return self.connection.info.user

    def owners(self) -> dict[str, bool]:
        """Owners of user tables, and whether this role may become each of them."""
        rows = self.connection.execute(
            marked(
                "select distinct r.rolname as owner "
                "from pg_catalog.pg_class c join pg_catalog.pg_roles r on r.oid = c.relowner "
                "join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'm') "
                "and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_' order by 1"
            )
        ).fetchall()
        return {row.owner: self._may_become(row.owner) for row in rows}

    def backend_alive(self, pid: int, started: datetime) -> bool:
        """Whether the backend that a dead worker used still works."""
        row = self.connection.execute(
            marked("select 1 from pg_catalog.pg_stat_activity where pid = %s and backend_start = %s"), (pid, started)
        ).fetchone()
        return row is not None

    def cancel(self, pid: int) -> bool:
        """Ask a backend to end its statement and its session; False where the role may not."""
        try:
            row = self.connection.execute(
                marked("select pg_catalog.pg_terminate_backend(%s) as done"), (pid,)
            ).fetchone()
        except psycopg.errors.InsufficientPrivilege:
            return False
        return bool(row and row.done)

    def index(self, schema: str, name: str) -> Index | None:
        return find_index(self.connection, schema, name)

    def activity(self) -> Activity:
        return read_activity(self.connection)
