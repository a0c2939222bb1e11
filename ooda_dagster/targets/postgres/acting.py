"""A session that may change a PostgreSQL database. Only `actions.executor` and `actions.recovery` open one."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from ooda_dagster.core.catalogue import Index
from ooda_dagster.core.concept_settings import Concepts
from ooda_dagster.core.errors import server_words, silenced
from ooda_dagster.core.identifiers import quote_identifier
from ooda_dagster.core.planner_statistics import PlannerStatistics
from ooda_dagster.core.statistics import TableStatistics
from ooda_dagster.targets.base import Activity, MissingRightError, RefusedError
from ooda_dagster.targets.embeddings import ConceptTable
from ooda_dagster.targets.postgres.concept_table import read_concept_table
from ooda_dagster.targets.postgres.connection import ACTING_SETTINGS, give_path, pin_path
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.embeddings import PostgresEmbeddingTable, find_embedding_table
from ooda_dagster.targets.postgres.observing import find_index, find_name, read_activity
from ooda_dagster.targets.postgres.planner_statistics import read_planner_statistics
from ooda_dagster.targets.postgres.queries import MARKER, marked, query, trusted
from ooda_dagster.targets.postgres.statistics import read_table_statistics
from ooda_dagster.targets.postgres.surroundings import read_attached, read_partitions, read_tablespaces
from ooda_dagster.targets.surroundings import Attached, Partition, Tablespace

#: First key of the advisory lock that says "the loop acts on this database"; the second is of the database's name.
_LOCK_SPACE = 0x6F6F6461
#: First key of the lock that says "here we build". Advisory locks are of one database, but all of them are seen.
_BUILD_SPACE = _LOCK_SPACE + 1
#: Two that claim a server in the same moment see each other, step back, and try again after unequal pauses.
_CLAIMS, _CLAIM_PAUSE_S = 5, 0.2
_OPENING, _CLAIMING, _RIGHTS = "opening an acting session", "claiming the server", "reading rights"
#: From this version on, a membership says whether the member may SET ROLE.
_HAS_SET = 160_000


class PostgresActing:
    """Implements `targets.base.Acting`."""

    def __init__(self, connection: psycopg.Connection[Any], application_name: str) -> None:
        """Raises RefusedError on a standby, TargetError where the server does not answer."""
        self.connection = connection
        self.application_name = application_name
        # What the journal calls done must outlive a crash of the server and reach a standby, whatever the database has.
        self._rows(
            _OPENING,
            marked(
                "select pg_catalog.set_config('synchronous_commit', 'local', false) "
                "where pg_catalog.current_setting('synchronous_commit') = 'off'"
            ),
        )
        row = self._row(
            _OPENING,
            marked(
                "select a.pid, a.backend_start, pg_catalog.pg_is_in_recovery() as in_recovery, a.datname "
                "from pg_catalog.pg_stat_activity a where a.pid = pg_catalog.pg_backend_pid()"
            ),
        )
        assert row is not None
        self.backend_pid: int = row.pid
        self.backend_start: datetime = row.backend_start
        self._database: str = row.datname
        if row.in_recovery:
            raise RefusedError("the server is a standby in recovery: it cannot be changed; act on its primary")

    def try_lock(self) -> bool:
        """Take this database's lock for the session, without waiting.

        Never the waiting form: a session that waits for an advisory lock holds a snapshot, and CREATE INDEX
        CONCURRENTLY, waiting for that snapshot, ends in a deadlock.
        """
        key = int.from_bytes(hashlib.blake2b(self._database.encode(), digest_size=4).digest(), signed=True)
        asked = marked("select pg_catalog.pg_try_advisory_lock(%s, %s) as got")
        row = self._row("taking the database's lock", asked, _LOCK_SPACE, key)
        return bool(row and row.got)

    def release(self) -> None:
        """Give up the locks now: of a closed session they are held until its backend notices, a while later."""
        with suppress(psycopg.Error):  # a session that is gone has none
            self.connection.execute(marked("select pg_catalog.pg_advisory_unlock_all()"))

    def claim_server(self) -> None:
        """Be the only one of us that builds on this server, whichever database, while the session lasts.

        Raises RefusedError with the database that is being changed. An undo needs no claim.
        """
        for attempt in range(1, _CLAIMS + 1):
            self._build_lock("pg_try_advisory_lock")
            others = self._rows(_CLAIMING, query("read_builders"), {"space": _BUILD_SPACE})
            if not others:
                return
            other = others[0]
            self._build_lock("pg_advisory_unlock")
            if attempt == _CLAIMS:
                raise RefusedError(
                    f"database {other.database} of the same server is being changed (pid {other.pid}, {other.name}): "
                    "a server has one build at a time"
                )
            time.sleep(random.uniform(0.1, 1) * _CLAIM_PAUSE_S)

    def _build_lock(self, function: LiteralString) -> None:
        self._row(_CLAIMING, marked(f"select pg_catalog.{function}(%s, 0)"), _BUILD_SPACE)

    def _rows(self, doing: str, asked: sql.SQL, values: Any = None) -> list[Any]:
        """The rows of an answer, none where it has none. Raises TargetError."""
        try:
            return self.connection.execute(asked, values).fetchall()
        except psycopg.Error as error:
            raise translate(error, doing) from error

    def _row(self, doing: str, asked: sql.SQL, *values: Any) -> Any:
        """The first row of an answer, or None."""
        return next(iter(self._rows(doing, asked, values or None)), None)

    def execute(
        self,
        statement: str,
        *,
        role: str | None,
        lock_timeout_s: float,
        timeout_s: float,
        values: Sequence[str] = (),
        pinned: bool = False,
    ) -> int:
        """Run one journalled statement outside a transaction, as `role` where the session may become it.

        How many rows it wrote, -1 where it writes none.
        values: of its parameters $1, $2 ..., which the journal does not hold. pinned: it names nothing of the user's;
        names and operators in it are the server's own.
        """
        limits = {"lock_timeout": lock_timeout_s, "statement_timeout": timeout_s}
        try:
            for name, seconds in limits.items():
                self.connection.execute(trusted(f"set {name} = '{int(seconds * 1000)}ms' {MARKER}"))
            became = role is not None and self._become(role)
            try:
                if not pinned:  # a person's operator class or function is found as they would find it
                    give_path(self.connection)
                written = self._send(statement, values)
            except psycopg.Error:
                self._come_back(became)
                raise
            except BaseException:  # interrupted: the statement may still run, and ends with its session
                self.connection.close()
                raise
            self._come_back(became)
            return written
        except psycopg.errors.InsufficientPrivilege as error:
            words = server_words(error)
            silenced(error)
            raise MissingRightError(f"{words}. {self.grant_for(role)}" if role else words) from error
        except psycopg.Error as error:
            raise translate(error, "acting") from error

    def _send(self, statement: str, values: Sequence[str]) -> int:
        with psycopg.RawCursor(self.connection) as cursor:
            return cursor.execute(trusted(statement), values or None).rowcount

    def _come_back(self, became: bool) -> None:
        """The session as it was before the statement."""
        if self.connection.closed:
            return
        pin_path(self.connection)
        if became:
            self.connection.execute(marked("reset role"))

    def grant_for(self, role: str) -> str:
        """The statement that gives the right which was missing: to become the owner, or the owner's own to create."""
        owner, user = quote_identifier(role), quote_identifier(self.role)
        if role != self.role and not self._may_become(role):
            if self.is_superuser(role):
                return (
                    f"Its owner {owner} is a superuser, whom {user} must not become: ALTER TABLE ... OWNER TO another"
                )
            options = " WITH INHERIT FALSE, SET TRUE" if self.connection.info.server_version >= _HAS_SET else ""
            return f"GRANT {owner} TO {user}{options};"
        names = ", ".join(map(quote_identifier, self.closed_schemas(role)))
        return f"GRANT CREATE ON SCHEMA {names} TO {owner};" if names else f"The owner {owner} lacks a right itself"

    def closed_schemas(self, owner: str) -> list[str]:
        """Schemas in which `owner` has tables and may not create, so not build an index either."""
        return [row.name for row in self._rows(_RIGHTS, query("read_closed_schemas"), {"role": owner})]

    def is_superuser(self, role: str) -> bool:
        """Whoever may become a superuser is one."""
        asked = marked("select rolsuper as yes from pg_catalog.pg_roles where rolname = %s")
        row = self._row(_RIGHTS, asked, role)
        return bool(row and row.yes)

    def sees_load(self) -> bool:
        """Whether other roles' transactions are seen, which a build must not wait for."""
        asked = marked("select pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'usage') as may")
        row = self._row(_RIGHTS, asked)
        return bool(row and row.may)

    def _may_become(self, role: str) -> bool:
        # Before 16 every member may; since then, who was granted it with SET.
        how = "SET" if self.connection.info.server_version >= _HAS_SET else "MEMBER"
        asked = marked("select pg_catalog.pg_has_role(current_user, %s, %s) as may")
        row = self._row(_RIGHTS, asked, role, how)
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
        rows = self._rows(
            _RIGHTS,
            marked(
                "select distinct r.rolname as owner "
                "from pg_catalog.pg_class c join pg_catalog.pg_roles r on r.oid = c.relowner "
                "join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'm') "
                "and n.nspname not in ('pg_catalog', 'information_schema', 'ooda') and n.nspname !~ '^pg_' order by 1"
            ),
        )
        return {row.owner: self._may_become(row.owner) for row in rows}

    def backend_alive(self, pid: int, started: datetime) -> bool:
        """Whether the backend that a dead worker used still works."""
        asked = marked("select 1 from pg_catalog.pg_stat_activity where pid = %s and backend_start = %s")
        return self._row("looking for a backend", asked, pid, started) is not None

    def cancel(self, pid: int) -> bool:
        """Ask a backend to end its statement and its session; False where the role may not."""
        try:
            row = self.connection.execute(
                marked("select pg_catalog.pg_terminate_backend(%s) as done"), (pid,)
            ).fetchone()
        except psycopg.errors.InsufficientPrivilege:
            return False
        except psycopg.Error as error:
            raise translate(error, "ending a backend") from error
        return bool(row and row.done)

    def index(self, schema: str, name: str) -> Index | None:
        return find_index(self.connection, schema, name)

    def statistics(self, tables: Collection[tuple[str, str]]) -> dict[tuple[str, str], TableStatistics]:
        return read_table_statistics(self.connection, tables)

    def planner_statistics(self, schema: str, table: str, *, role: str | None, values: bool) -> PlannerStatistics:
        """As `role` sees them where the session may become it. From PostgreSQL 18 on."""
        become = role if role is not None and role != self.role and self._may_become(role) else None
        return read_planner_statistics(self.connection, schema, table, become=become, values=values)

    def relation_name(self, oid: int) -> str | None:
        return find_name(self.connection, oid)

    def partitions(self, schema: str, table: str) -> tuple[Partition, ...]:
        return read_partitions(self.connection, schema, table)

    def attached(self, schema: str, name: str) -> tuple[Attached, ...]:
        return read_attached(self.connection, schema, name)

    @contextmanager
    def embeddings(self, mapped: Concepts, *, role: str | None) -> Iterator[PostgresEmbeddingTable | None]:
        """The table of embeddings as `role` reads it where the session may become it; each read is read-only."""
        became = False
        try:
            for name in ("lock_timeout", "statement_timeout"):  # not what the last statement left
                self.connection.execute(trusted(f"set {name} = '{ACTING_SETTINGS[name]}' {MARKER}"))
            became = role is not None and self._become(role)
            yield find_embedding_table(self.connection, mapped)
        except psycopg.Error as error:
            raise translate(error, "reading embeddings") from error
        finally:
            if became and not self.connection.closed:
                self._leave()

    def _leave(self) -> None:
        """The session's own role again; a session that cannot come back to it must not go on as another."""
        try:
            if self.connection.info.transaction_status != TransactionStatus.IDLE:
                raise psycopg.OperationalError("a transaction is open")
            self.connection.execute(marked("reset role"))
        except psycopg.Error:
            self.connection.close()

    def concept_table(
        self, schema: str, name: str, *, kept: Collection[str], concept_id: str, action_id: str
    ) -> ConceptTable:
        return read_concept_table(self.connection, schema, name, kept=kept, concept_id=concept_id, action_id=action_id)

    def tablespaces(self) -> tuple[Tablespace, ...]:
        return read_tablespaces(self.connection)

    def activity(self) -> Activity:
        return read_activity(self.connection)
