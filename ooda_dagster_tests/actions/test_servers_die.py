"""Does everything agree again after the target's server, or the ledger's, died in the middle of a build?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ooda_dagster.config.servers import make_roles
from ooda_dagster.core.journal import State
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger, LedgerUnreachableError
from ooda_dagster.targets.base import TargetError
from ooda_dagster_tests.actions.stage import ON_CUSTOMER, await_build, in_thread, make_stage, write_to_orders
from ooda_dagster_tests.support import Database


@pytest.fixture
def mortal(home: Path) -> Iterator[Cluster]:
    """A server of the test's own."""
    settings = {"shared_buffers": "16MB", "synchronous_commit": "on"}  # what was committed outlives a kill
    cluster = Cluster(home / "clusters", "mortal", durable=False, settings=settings)
    cluster.start()
    yield cluster
    cluster.destroy()


def test_a_server_that_is_killed_during_a_build_is_put_in_order_by_recovery(
    home: Path, shared: tuple[Database, Ledger], mortal: Cluster
) -> None:
    make_roles(mortal)
    database = Database(mortal, "dying")
    database.create()
    stage = make_stage(database, shared[1], home)
    before, action = stage.definitions(), stage.approved()
    with in_thread(lambda: stage.apply(action)) as found, write_to_orders(database):
        await_build(database)
        mortal.kill()
    (outcome,) = found
    assert outcome.action.state == State.APPLYING
    assert "connection was lost" in outcome.note
    with pytest.raises(TargetError, match="does not answer"):
        stage.recover()
    mortal.start()
    assert database.indexes()[ON_CUSTOMER.name] is False
    assert len(stage.recover()) == 1
    assert stage.now(action).state == State.FAILED
    assert stage.definitions() == before
    assert (stage.recover(), stage.disagreements()) == ([], [])


def test_a_ledger_that_dies_during_a_build_is_caught_up_by_recovery(
    home: Path, shared: tuple[Database, Ledger], mortal: Cluster
) -> None:
    mortal.create_database("ooda")
    ledger = Ledger(mortal.dsn("ooda"))
    ledger.migrate()
    stage = make_stage(shared[0], ledger, home)
    action = stage.approved()
    with in_thread(lambda: stage.apply(action)) as found, write_to_orders(stage.database):
        await_build(stage.database)
        mortal.stop("immediate")
    assert isinstance(found[0], LedgerUnreachableError)
    assert stage.database.indexes()[ON_CUSTOMER.name] is True
    mortal.start()
    assert stage.now(action).state == State.APPLYING
    assert stage.recover() == [f"{ON_CUSTOMER.name}: adopted, the server had finished it"]
    assert stage.moves(action)[2:] == ["applying", "applied", "verifying"]
    assert (stage.recover(), stage.disagreements()) == ([], [])
    ledger.close()


def test_without_a_ledger_nothing_is_done(home: Path, shared: tuple[Database, Ledger], mortal: Cluster) -> None:
    mortal.create_database("ooda")
    ledger = Ledger(mortal.dsn("ooda"))
    ledger.migrate()
    stage = make_stage(shared[0], ledger, home)
    before, action = stage.definitions(), stage.approved()
    mortal.stop()
    with pytest.raises(LedgerUnreachableError):
        stage.apply(action)
    assert stage.definitions() == before
    ledger.close()
