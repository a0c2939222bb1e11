"""Grounds of the Dagster tests: one that ran a cycle and is only looked at, and fresh ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from ooda_dagster.core.settings import Mode
from ooda_dagster.defs.names import Names
from ooda_dagster.defs.runner import CycleRun
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.defs.ground import Ground, busy_shop, config_of, instance_in
from ooda_dagster_tests.defs.ticks import MakeTicks, Ticks
from ooda_dagster_tests.loop.requests import DDL
from ooda_dagster_tests.support import Database


@dataclass
class Acted:
    """A ground in mode auto after its first cycle. To be looked at only."""

    ground: Ground
    ran: CycleRun

    @property
    def events(self) -> list[dg.EventLogEntry]:
        return list(self.ground.instance.all_logs(self.ran.run_id))

    def materialization(self, asset: str) -> dg.AssetMaterialization:
        found = [
            e.asset_materialization
            for e in self.events
            if e.asset_materialization and e.asset_materialization.asset_key.path[-1] == asset
        ]
        assert len(found) == 1, f"{asset}: {len(found)} materialisations"
        assert found[0] is not None
        return found[0]


@pytest.fixture(scope="session")
def acted(target_server: Cluster, ledger_server: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acted]:
    """A shop whose missing index the loop built."""
    with busy_shop(target_server, ledger_server, tmp_path_factory.mktemp("acted"), Mode.AUTO) as made:
        yield Acted(made, made.cycle())


@pytest.fixture
def shop(target_server: Cluster, ledger_server: Cluster, tmp_path: Path) -> Iterator[Callable[[Mode], Ground]]:
    """Makes a busy shop that no cycle ran for: `shop(Mode.AUTO)`."""
    with ExitStack() as stack:
        yield lambda mode: stack.enter_context(busy_shop(target_server, ledger_server, tmp_path, mode))


@pytest.fixture(scope="session")
def shared_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path_factory.mktemp("dagster")) as made:
        yield made


@pytest.fixture
def instance(shared_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """An empty Dagster instance. It is one for all tests here, emptied before each: making one takes longer."""
    shared_instance.wipe()
    return shared_instance


@pytest.fixture
def make_ticks(database: Database, ledger: Ledger, instance: dg.DagsterInstance) -> Iterator[MakeTicks]:
    database.execute(DDL.format(id="bigint"), dsn=database.app)
    opened: list[Ooda] = []

    def ticks(names: Names | None = None) -> Ticks:
        opened.append(Ooda(config_of(database, ledger)))
        return Ticks(database, opened[-1], instance, names or Names())

    yield ticks
    for ooda in opened:
        ooda.ledger.close()


@pytest.fixture
def ticks(make_ticks: MakeTicks) -> Ticks:
    return make_ticks()
