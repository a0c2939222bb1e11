"""What becomes of a build whose worker is killed, where others are about? Points and servers: the crash matrix."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ooda_dagster.actions import recovery
from ooda_dagster.core.journal import State
from ooda_dagster.targets.postgres import target as postgres_target
from ooda_dagster.targets.postgres.connection import ACTING_SETTINGS
from ooda_dagster_tests.actions.stage import (
    ON_CUSTOMER,
    ON_STATUS,
    Stage,
    await_build,
    dying_at,
    kill,
    read_elsewhere,
    worker,
    write_to_orders,
)
from ooda_dagster_tests.support import wait_until

REMOVED = (
    f"{ON_CUSTOMER.name}: its worker died; removed what was begun (DROP INDEX CONCURRENTLY public.{ON_CUSTOMER.name})"
)


def settled(stage: Stage) -> None:
    """Journal and catalogue agree, and another recovery has nothing to do."""
    definitions, journal = stage.definitions(), stage.ledger.actions.list(stage.loop.name)
    assert stage.disagreements() == []
    assert stage.recover() == []
    assert stage.definitions() == definitions
    assert stage.ledger.actions.list(stage.loop.name) == journal


def killed_while_building(stage: Stage, *, noticed: bool = True) -> str:
    """An action whose worker is killed while its build waits for somebody. noticed: the server then ends the build."""
    action = stage.approved()
    pid = worker(stage, lambda own: own.apply(action))
    backend = await_build(stage.database)
    kill(pid)
    alive = "select 1 from pg_stat_activity where pid = %s"
    if noticed:
        wait_until(lambda: not stage.database.execute(alive, backend), timeout_s=5, what="the end of the backend")
    else:
        assert stage.database.execute(alive, backend)
    return action.action_id


def test_a_build_in_flight_ends_with_its_worker_and_is_removed_once(stage: Stage) -> None:
    before = stage.definitions()
    with write_to_orders(stage.database):
        action_id = killed_while_building(stage)
        assert stage.database.indexes()[ON_CUSTOMER.name] is False
    assert stage.recover() == [REMOVED]
    assert stage.ledger.actions.get(action_id).state == State.FAILED
    assert stage.definitions() == before
    settled(stage)


@pytest.fixture
def unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a platform where the server does not notice that its client is gone."""
    settings: Mapping[str, str] = {k: v for k, v in ACTING_SETTINGS.items() if k != "client_connection_check_interval"}
    monkeypatch.setattr(postgres_target, "ACTING_SETTINGS", settings)


@pytest.mark.usefixtures("unnoticed")
def test_a_build_that_outlives_its_worker_is_adopted(stage: Stage) -> None:
    before = stage.definitions()
    with write_to_orders(stage.database):
        action_id = killed_while_building(stage, noticed=False)
    assert stage.recover() == [f"{ON_CUSTOMER.name}: adopted, the server had finished it"]
    assert stage.ledger.actions.get(action_id).state == State.VERIFYING
    assert stage.definitions().keys() - before.keys() == {ON_CUSTOMER.name}
    settled(stage)


@pytest.mark.usefixtures("unnoticed")
def test_a_build_that_outlives_its_worker_for_too_long_is_ended(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "WAIT_FOR_BACKEND_S", 0.5)
    before = stage.definitions()
    stage.database.execute("grant pg_signal_backend to ooda_act")
    try:
        with read_elsewhere(stage.database):
            action_id = killed_while_building(stage, noticed=False)
            assert stage.recover() == [REMOVED]
    finally:
        stage.database.execute("revoke pg_signal_backend from ooda_act")
    assert stage.ledger.actions.get(action_id).state == State.FAILED
    assert stage.definitions() == before
    settled(stage)


def test_only_the_dead_workers_debris_is_removed(stage: Stage) -> None:
    """Somebody else's broken index stands beside ours."""
    stage.built(ON_STATUS)
    stage.database.execute("create index theirs on orders (placed)")
    stage.database.execute("update pg_index set indisvalid = false where indexrelid = 'theirs'::regclass")
    before = stage.definitions()
    with write_to_orders(stage.database):
        killed_while_building(stage)
    stage.recover()
    assert stage.definitions() == before


@pytest.mark.parametrize(("point", "opened"), [("announced", False), ("built", True), ("applied", True)])
def test_recovery_starts_or_closes_the_judgement_of_the_change_set(stage: Stage, point: str, opened: bool) -> None:
    action = stage.approved()
    now = stage.loop.clock()
    change_set = stage.ledger.verifications.begin(
        stage.loop.name, [action.action_id], treated=["f"], bystanders=[], now=now
    )
    dying_at(point, stage, stage.now(action))
    stage.recover()
    verification = stage.ledger.verifications.get(change_set)
    assert (verification.open, verification.next_look_at is not None) == (opened, opened)
    assert verification.acted_until is not None
