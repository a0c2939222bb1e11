"""A role without rights, and a small server whose limits are easily reached."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ooda_dagster.embedded import Cluster
from ooda_dagster_tests.support import Database
from ooda_dagster_tests.targets.ground import Role, login_role, own_cluster


@pytest.fixture
def role(database: Database) -> Iterator[Role]:
    with login_role(database) as made:
        yield made


@pytest.fixture(scope="package")
def small_server() -> Iterator[Cluster]:
    """Eight connections, two of them the superuser's."""
    limits = {"max_connections": 8, "superuser_reserved_connections": 2, "max_wal_senders": 2}
    with own_cluster("small", settings=limits) as cluster:
        yield cluster


@pytest.fixture
def small(small_server: Cluster) -> Iterator[Database]:
    """An empty database with pg_stat_statements on the small server."""
    made = Database(small_server, "small")
    small_server.create_database(made.name)
    made.execute("create extension pg_stat_statements")
    yield made
    made.drop()
