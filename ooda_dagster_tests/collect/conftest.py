"""A database and a ledger that the tests of sampling share; each finds both empty, and the target `t` registered."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ooda_dagster.config.servers import APP_ROLE
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.collect.ground import Sampled
from ooda_dagster_tests.ledger.ground import forget_all
from ooda_dagster_tests.support import Database, fresh_ledger


@pytest.fixture(scope="package")
def one_ledger(ledger_server: Cluster) -> Iterator[Ledger]:
    with fresh_ledger(ledger_server) as opened:
        yield opened


@pytest.fixture(scope="package")
def one_database(target_server: Cluster) -> Iterator[Database]:
    made = Database(target_server, f"test_{uuid.uuid4().hex[:12]}")
    made.create()
    yield made
    made.drop()


@pytest.fixture
def known(one_ledger: Ledger) -> Iterator[Ledger]:
    one_ledger.cycles.register("t", kind="postgres", mode="propose", now=datetime.now(UTC))
    yield one_ledger
    forget_all(one_ledger)


@pytest.fixture
def empty(one_database: Database) -> Iterator[Database]:
    """Nothing of the service in it, and no statement counted in it."""
    forget = (
        f"drop owned by {APP_ROLE}; grant create on schema public to {APP_ROLE}; "
        "select pg_stat_statements_reset(0, (select oid from pg_database where datname = current_database()), 0)"
    )
    one_database.execute(forget)
    yield one_database
    one_database.execute(forget)


@pytest.fixture
def sampled(empty: Database, known: Ledger) -> Sampled:
    return Sampled(empty, known)
