"""A PostgreSQL database as a target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ooda_dagster.targets.base import RefusedError
from ooda_dagster.targets.postgres.acting import PostgresActing
from ooda_dagster.targets.postgres.connection import ACTING_SETTINGS, OBSERVING_SETTINGS, connect, translate
from ooda_dagster.targets.postgres.observing import PostgresObserving


class PostgresTarget:
    """Implements `targets.base.Target`. Holds connection strings; connects when a session is asked for.

    At most two sessions are open at once: one that acts, and one that watches it.
    """

    kind = "postgres"

    def __init__(self, name: str, observe_dsn: str, act_dsn: str | None = None) -> None:
        self.name = name
        self._observe_dsn = observe_dsn
        self._act_dsn = act_dsn

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
        connection = connect(self._observe_dsn, name, OBSERVING_SETTINGS, connect_timeout_s=connect_timeout_s)
        with closing(connection):
            yield PostgresObserving(connection)

    @contextmanager
    def acting(self, phase: str) -> Iterator[PostgresActing]:
        """A session that may act. Raises RefusedError where the target has no acting connection."""
        if self._act_dsn is None:
            raise RefusedError(f"target {self.name} has no acting connection; set `act` in ooda.toml")
        application_name = f"ooda/{self.name}/{phase}"[:63]
        connection = connect(self._act_dsn, application_name, ACTING_SETTINGS)
        with closing(connection):  # whatever ended the block: a session that stays would go on with its statement
            try:
                session = PostgresActing(connection, application_name)
            except psycopg.Error as error:
                raise translate(error, "opening an acting session") from error
            yield session
