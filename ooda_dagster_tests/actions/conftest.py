"""The stage of these tests: one database and one ledger for all, a fresh table and a fresh target for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.actions.stage import Stage, make_stage
from ooda_dagster_tests.support import Database, fresh_ledger


@pytest.fixture(scope="package")
def shared(target_server: Cluster, ledger_server: Cluster) -> Iterator[tuple[Database, Ledger]]:
    """What is slow to make. Targets in one ledger know nothing of each other."""
    database = Database(target_server, "test_actions")
    database.create()
    with fresh_ledger(ledger_server) as ledger:
        yield database, ledger
    database.drop()


@pytest.fixture
def stage(home: Path, shared: tuple[Database, Ledger]) -> Stage:
    """`orders` with 3,000 rows, in mode auto."""
    return make_stage(*shared, home)


@pytest.fixture
def quiet(stage: Stage) -> None:
    """`orders` that autovacuum never comes to."""
    stage.database.execute(
        "create table quiet with (autovacuum_enabled = off) as table orders; drop table orders; "
        "alter table quiet rename to orders; alter table orders add primary key (id)",
        dsn=stage.database.app,
    )
    stage.database.execute("analyze orders", dsn=stage.database.app)
