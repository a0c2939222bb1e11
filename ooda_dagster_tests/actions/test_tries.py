"""Is a deed that lost a lock tried again within its budget, every try told, and nothing broken left between two?"""

from __future__ import annotations

from typing import Any

import pytest

from ooda_dagster.actions.base import Applied
from ooda_dagster.actions.tries import Tries
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Acting as Policy
from ooda_dagster.targets.base import LostLockError
from ooda_dagster_tests.actions.stage import (
    ON_CUSTOMER,
    ON_STATUS,
    Stage,
    await_build,
    in_thread,
    read_elsewhere,
    write_to_orders,
)
from ooda_dagster_tests.support import open_transaction, wait_until


def told(stage: Stage, action: Any) -> list[dict[str, Any]]:
    """The tries that the journal tells of an action's last move but the one to `verifying`."""
    rows = [r for r in stage.ledger.actions.history(action.action_id) if r["to_state"] != "verifying"]
    return rows[-1]["detail"].get("tries", [])


def impatient(stage: Stage, **values: Any) -> Stage:
    return stage.with_acting(**{"lock_timeout_s": 0.5, "lock_retry_pause_s": 0.3, "lock_tries": 5} | values)


def test_a_build_that_lost_its_wait_is_built_by_a_later_try(stage: Stage) -> None:
    again = impatient(stage)
    action = again.approved()
    with in_thread(lambda: again.apply(action)) as found, read_elsewhere(stage.database):
        await_build(stage.database)
        wait_until(lambda: ON_CUSTOMER.name not in stage.database.indexes(), what="removal between two tries")
    (outcome,) = found
    assert outcome.action.state == State.VERIFYING, outcome.note
    tries = told(stage, action)
    assert len(tries) >= 2
    assert all("lock timeout" in row["lost"] and row["took_s"] >= 0.4 for row in tries[:-1])
    assert "lost" not in tries[-1]
    assert stage.moves(action) == ["proposed", "approved", "applying", "applied", "verifying"]
    assert stage.disagreements() == []


def test_tries_end_with_their_number_and_leave_nothing(stage: Stage) -> None:
    before, again = stage.definitions(), impatient(stage, lock_tries=3)
    with read_elsewhere(stage.database):
        failed = again.apply(again.approved()).action
        assert stage.definitions() == before
    assert failed.state == State.FAILED
    assert len(told(stage, failed)) == 3


def test_debris_that_cannot_go_yet_is_removed_before_the_next_try(stage: Stage) -> None:
    """A writer on the table holds up the removal too."""
    again = impatient(stage, lock_tries=20)
    action = again.approved()
    said: list[str] = []
    with write_to_orders(stage.database) as held:

        def end_it(line: str) -> None:
            said.append(line)
            if "tried again" in line:
                assert stage.database.indexes()[ON_CUSTOMER.name] is False
                held.rollback()

        (outcome,) = again.executor(say=end_it).apply([action])
    assert outcome.action.state == State.VERIFYING, outcome.note
    assert any("tried again in 0.3 s" in line for line in said)
    assert len(told(stage, action)) == 2


def test_an_index_that_somebody_makes_during_a_pause_is_theirs(stage: Stage) -> None:
    again = impatient(stage)
    action = again.approved()
    theirs = f"create index {ON_CUSTOMER.name} on orders (customer)"
    with read_elsewhere(stage.database) as held:

        def make_it(line: str) -> None:
            if "tried again" in line:
                held.rollback()
                stage.database.execute(theirs, dsn=stage.database.app)

        (outcome,) = again.executor(say=make_it).apply([action])
    assert outcome.action.state == State.FAILED
    assert "it is theirs" in outcome.note
    assert len(told(stage, action)) == 2
    stage.recover()
    assert stage.database.indexes()[ON_CUSTOMER.name] is True


def test_an_undo_that_lost_its_lock_is_tried_again_and_is_no_alarm(stage: Stage) -> None:
    before, action, again = stage.definitions(), stage.built(ON_STATUS), impatient(stage)
    with write_to_orders(stage.database) as held:

        def end_it(line: str) -> None:
            if "tried again" in line:
                held.rollback()

        outcome = again.executor(say=end_it).undo(action, reason="by hand")
    assert outcome.action.state == State.REVERTED, outcome.note
    assert len(told(stage, action)) == 2
    assert stage.definitions() == before


def test_an_undo_that_never_gets_its_lock_is_an_alarm_with_its_tries(stage: Stage) -> None:
    action, again = stage.built(), impatient(stage, lock_tries=2)
    with open_transaction(stage.database.app, "lock table orders in share update exclusive mode"):
        outcome = again.rollback(action)
    assert outcome.action.state == State.REVERT_FAILED
    assert len(told(stage, action)) == 2
    assert again.rollback(action).action.state == State.REVERTED


class Clock:
    """Time that passes only while somebody sleeps or works."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("policy", "tries"),
    [
        (Policy(lock_tries=4, lock_retry_pause_s=60, lock_budget_s=10_000), 4),
        (Policy(lock_tries=100, lock_retry_pause_s=60, lock_budget_s=400), 4),  # begun after 0, 120, 240 and 360 s
        (Policy(lock_tries=100, lock_retry_pause_s=60, lock_budget_s=100), 1),
    ],
)
def test_no_try_begins_past_the_number_or_the_budget(policy: Policy, tries: int) -> None:
    clock = Clock()
    tried = Tries(policy, lambda _: None, clock=clock)

    def lose() -> Applied:
        clock.sleep(60)
        raise LostLockError("lost")

    with pytest.raises(LostLockError):
        tried.run(lose)
    assert [row["after_s"] for row in tried.rows] == [120.0 * n for n in range(tries)]
    assert all(row["after_s"] <= policy.lock_budget_s for row in tried.rows)
