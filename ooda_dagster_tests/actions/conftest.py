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
