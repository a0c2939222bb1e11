"""One source and one scratch server for all tests of clones; a clone of the whole source for those that only ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ooda_dagster.embedded import Cluster
from ooda_dagster.embedded.clone import StatisticsClone, clone_cluster
from ooda_dagster_tests.embedded.clone import shop
from ooda_dagster_tests.support import Database, room


@pytest.fixture(scope="session")
def source(target_server: Cluster) -> Iterator[Database]:
    made = Database(target_server, "clone_source")
    made.drop()
    made.create()
    shop.fill(made)
    yield made
    made.drop()


@pytest.fixture(scope="session")
def scratch(home: Path) -> Iterator[Cluster]:
    del home
    with room("room") as directory:
        cluster = clone_cluster(directory)
        cluster.start()
        yield cluster
        cluster.destroy()


@pytest.fixture(scope="session")
def clone(source: Database, scratch: Cluster) -> Iterator[StatisticsClone]:
    """Of the whole source, built by the role with few rights."""
    with psycopg.connect(shop.watcher(source), autocommit=True) as session:
        made = StatisticsClone.build(session, scratch, database="whole")
    yield made
    made.drop()
