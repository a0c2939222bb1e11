"""What the tests of one start share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.e2e.cycles import cycles, ended
from ooda_dagster_tests.e2e.dev import Dev, ledger_of
from ooda_dagster_tests.support import wait_until


@pytest.fixture(scope="module")
def ledger(dev: Dev) -> Iterator[Ledger]:
    """The ledger of a module's `dev`, after the first cycle of its target."""
    opened = ledger_of(dev.home)
    opened.migrate()  # the webserver may answer before the code location has made the tables
    wait_until(lambda: cycles(opened), timeout_s=200, what="the first cycle")
    ended(opened, cycles(opened)[-1])
    yield opened
    opened.close()
