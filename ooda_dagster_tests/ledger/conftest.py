"""One ledger for these tests; each begins with one target in it, `t`. What alters the ledger takes a fresh one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.ledger.ground import forget_all, register
from ooda_dagster_tests.support import fresh_ledger


@pytest.fixture(scope="package")
def shared(ledger_server: Cluster) -> Iterator[Ledger]:
    with fresh_ledger(ledger_server) as opened:
        yield opened


@pytest.fixture
def known(shared: Ledger) -> Iterator[Ledger]:
    register(shared)
    yield shared
    forget_all(shared)
