"""The service's database, small enough to be made for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ooda_dagster.demo.load import prepare
from ooda_dagster.demo.planted import plan
from ooda_dagster.embedded import Cluster
from ooda_dagster_tests.support import Database

SCALE = 0.02


@pytest.fixture
def service(target_server: Cluster) -> Iterator[Database]:
    made = Database(target_server, "service_of_a_test")
    prepare(target_server, made.name, plan(1), scale=SCALE)
    yield made
    made.drop()
