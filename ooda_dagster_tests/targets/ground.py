"""Tools of the tests of targets: roles with some rights, a small server of one's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ooda_dagster.core.seen import BlindSpot
from ooda_dagster.embedded import Binaries, Cluster
from ooda_dagster.targets.base import Capabilities
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import Database, room

PASSWORD = "s3cretPassw0rd"


@dataclass(frozen=True)
class Role:
    """A login role of one test."""

    database: Database
    name: str

    @property
    def dsn(self) -> str:
        return self.database.cluster.dsn(self.database.name, user=self.name, password=PASSWORD)

    def grant(self, *rights: str) -> None:
        for right in rights:
            self.database.execute(f"grant {right} to {self.name}")

    def seen(self) -> Capabilities:
        with PostgresTarget("t", self.dsn).observing("test") as session:
            return session.capabilities()

    def blind_to(self, what: str) -> BlindSpot | None:
        return next((b for b in self.seen().blind_spots if what in b.what), None)


@contextmanager
def login_role(database: Database) -> Iterator[Role]:
    """A role without any right; dropped afterwards."""
    role = Role(database, f"role_{uuid.uuid4().hex[:8]}")
    database.execute(f"create role {role.name} login password '{PASSWORD}'")
    try:
        yield role
    finally:
        database.execute(f"drop owned by {role.name}")
        database.execute(f"drop role {role.name}")


@contextmanager
def own_cluster(
    name: str,
    *,
    preload: tuple[str, ...] = ("pg_stat_statements",),
    settings: Mapping[str, str | int] | None = None,
    binaries: Binaries | None = None,
) -> Iterator[Cluster]:
    """A server beside the shared ones, started; nothing is left of it."""
    small = {"shared_buffers": "16MB", **(settings or {})}
    with room("small") as directory:
        cluster = Cluster(directory, name, preload=preload, settings=small, durable=False, binaries=binaries)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.destroy()
