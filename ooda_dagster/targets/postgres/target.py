"""A PostgreSQL database as a target."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ooda_dagster.targets.base import LoginRefusedError, RefusedError, TargetUnreachableError
from ooda_dagster.targets.postgres.acting import PostgresActing
from ooda_dagster.targets.postgres.arrow import ArrowLogin
from ooda_dagster.targets.postgres.connection import ACTING_SETTINGS, OBSERVING_SETTINGS, connect
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.observing import PostgresObserving
from ooda_dagster.targets.postgres.place import Place, read_place, refuse_another
from ooda_dagster.targets.postgres.queries import marked

_REPLAY_POLL_S = 0.1


class PostgresTarget:
    """Implements `targets.base.Target`. Holds connection strings; connects when a session is asked for.

    At most two sessions are open at once: one that acts, and one that watches it. Observing may lead to a standby while
    acting leads to its primary.
    """

    kind = "postgres"

    def __init__(self, name: str, observe_dsn: str, act_dsn: str | None = None) -> None:
        self.name = name
        self._observe_dsn = observe_dsn
        self._act_dsn = act_dsn
        self._observed: Place | None = None

    def __repr__(self) -> str:
        return f"PostgresTarget({self.name!r})"

    @property
    def can_act(self) -> bool:
        return self._act_dsn is not None

    @property
    def acting_role(self) -> str | None:
        """Who acts; None where nobody does, or where the connection string does not name a role."""
        return conninfo_to_dict(self._act_dsn).get("user") if self._act_dsn else None  # type: ignore[return-value]

    @contextmanager
    def observing(self, phase: str, *, connect_timeout_s: int | None = None) -> Iterator[PostgresObserving]:
        """A read-only session named ooda/<target>/<phase>."""
        name = f"ooda/{self.name}/{phase}"[:63]
        try:
            connection = connect(self._observe_dsn, name, OBSERVING_SETTINGS, connect_timeout_s=connect_timeout_s)
        except LoginRefusedError as error:  # as such only of the acting role: that is a switch of a DBA's
            raise TargetUnreachableError(str(error)) from None
        with closing(connection):
            yield PostgresObserving(connection, ArrowLogin(self._observe_dsn, name, OBSERVING_SETTINGS))

    @contextmanager
    def primary(self, phase: str) -> Iterator[PostgresObserving]:
        """A read-only session on the server that is changed: beside a standby that is observed, its primary.

        A standby shows what was built or dropped only later, and nothing of the primary's load.
        """
        if self._act_dsn is None or not self._place().in_recovery:
            with self.observing(phase) as session:
                yield session
            return
        connection = connect(self._act_dsn, f"ooda/{self.name}/{phase}"[:63], OBSERVING_SETTINGS)
        with closing(connection):
            refuse_another(self.name, self._place(), read_place(connection))
            yield PostgresObserving(connection)

    @contextmanager
    def acting(self, phase: str) -> Iterator[PostgresActing]:
        """A session that may act. Raises RefusedError where there is no acting connection, or it leads elsewhere."""
        if self._act_dsn is None:
            raise RefusedError(f"target {self.name} has no acting connection; set `act` in ooda.toml")
        observed = self._place()
        application_name = f"ooda/{self.name}/{phase}"[:63]
        connection = connect(self._act_dsn, application_name, ACTING_SETTINGS)
        with closing(connection):  # whatever ended the block: a session that stays would go on with its statement
            session = PostgresActing(connection, application_name)
            refuse_another(self.name, observed, read_place(connection))
            yield session
            session.release()

    def _place(self) -> Place:
        """Where observing leads to; looked at once, and again while it is a standby, which may have been promoted."""
        if self._act_dsn == self._observe_dsn:
            return Place.SAME
        if self._observed is None or self._observed.in_recovery:
            with self.observing("place") as session:
                self._observed = read_place(session.connection)
        return self._observed

    def catch_up(self, timeout_s: float) -> float | None:
        """Wait until an observed standby shows what the primary has now; the seconds that took.

        None where no standby is observed. Raises RefusedError where it lags more than `timeout_s`.
        """
        if self._act_dsn is None or not self._place().in_recovery:
            return None
        began = time.monotonic()
        with self.primary("catch_up") as session:
            position = _row(session, marked("select pg_catalog.pg_current_wal_lsn() as lsn"))
        shown = marked(
            "select not pg_catalog.pg_is_in_recovery() or pg_catalog.pg_last_wal_replay_lsn() >= %s::pg_lsn as shown"
        )
        with self.observing("catch_up") as session:
            while True:
                caught_up = _row(session, shown, position.lsn).shown
                waited_s = time.monotonic() - began
                if caught_up:
                    return waited_s
                if waited_s > timeout_s:
                    raise RefusedError(f"the observed standby lags behind its primary by more than {timeout_s:.0f} s")
                time.sleep(_REPLAY_POLL_S)


def _row(session: PostgresObserving, asked: sql.SQL, *values: Any) -> Any:
    """The one row that answers how far the write-ahead log is. Raises TargetError."""
    try:
        return session.connection.execute(asked, values).fetchone()
    except psycopg.Error as error:
        raise translate(error, "comparing a standby with its primary") from error
