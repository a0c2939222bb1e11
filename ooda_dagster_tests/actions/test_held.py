"""Does a build that meets somebody's lock or transaction end cleanly, and without stopping the shop?"""

from __future__ import annotations

import threading
import time

import pytest

from ooda_dagster.actions.recovery import recover
from ooda_dagster.core.journal import State
from ooda_dagster.targets.base import RefusedError
from ooda_dagster_tests.actions.stage import (
    ON_STATUS,
    Stage,
    await_build,
    dying_at,
    in_thread,
    kill,
    late,
    worker,
    write_to_orders,
    writer,
)
from ooda_dagster_tests.support import open_transaction


def aborted(stage: Stage, *held: str) -> tuple[str, float]:
    """What a failed build says, and the longest stall of a writer (s), while somebody holds something open."""
    before = stage.definitions()
    short = stage.with_acting(lock_timeout_s=1.5, lock_tries=1)
    with writer(stage.database) as stalls, open_transaction(stage.database.app) as somebody:
        outcome = short.apply(short.approved(), say=late(somebody, *held))
        assert stage.definitions() == before
    assert stage.moves(outcome.action) == ["proposed", "approved", "applying", "failed"]
    assert stage.disagreements() == []
    assert len(stalls) > 50
    return outcome.note, max(stalls)


def test_a_lock_on_the_table_fails_the_build_and_stalls_no_writer(stage: Stage) -> None:
    note, stall_s = aborted(stage, "lock table orders in share update exclusive mode")
    assert "lock timeout" in note
    assert stall_s < 1


def test_a_snapshot_on_an_unrelated_table_fails_the_build_and_stalls_no_writer(stage: Stage) -> None:
    stage.database.execute("create table unrelated (a int)", dsn=stage.database.app)
    note, stall_s = aborted(stage, "set transaction isolation level repeatable read", "select * from unrelated")
    assert "lock timeout" in note
    assert stall_s < 1


@pytest.mark.parametrize(
    "held",
    [
        ("set transaction isolation level repeatable read", "select * from orders limit 1"),
        ("update orders set note = note where id = 1",),
    ],
    ids=["reading", "writing"],
)
def test_a_transaction_on_the_table_itself_leaves_the_rest_to_recovery(stage: Stage, held: tuple[str, ...]) -> None:
    """No server drops an index of a table that is in use: it stays announced, and goes when the transaction ends."""
    before = stage.definitions()
    short = stage.with_acting(lock_timeout_s=0.5, lock_tries=1)
    with writer(stage.database) as stalls, open_transaction(stage.database.app, *held):
        outcome = short.apply(short.approved())
        assert outcome.action.state == State.APPLYING
        assert "the journal says applying" in stage.disagreements()[0]
    assert max(stalls) < 1
    assert len(stage.recover()) == 1
    assert stage.now(outcome.action).state == State.FAILED
    assert stage.definitions() == before


def test_nothing_is_built_on_top_of_an_action_that_is_not_settled(stage: Stage) -> None:
    short = stage.with_acting(lock_timeout_s=0.5, lock_tries=1)
    actions = [short.approved(), short.approved(ON_STATUS)]
    reading = ("set transaction isolation level repeatable read", "select * from orders limit 1")
    with open_transaction(stage.database.app, *reading):
        first, second = short.executor().apply(actions)
    assert (first.action.state, second.action.state) == (State.APPLYING, State.APPROVED)
    assert second.note == "an action before it is not settled yet"
    stage.recover()


def test_a_build_that_waits_for_a_writer_is_finished_when_that_ends(stage: Stage) -> None:
    action = stage.approved()
    with in_thread(lambda: stage.apply(action)) as found, write_to_orders(stage.database):
        await_build(stage.database)
        time.sleep(0.7)  # the watch looks five times a second
    (outcome,) = found
    assert outcome.action.state == State.VERIFYING, outcome.note
    assert outcome.action.lock_wait_ms > 0


def test_of_two_executors_at_once_one_is_refused_by_name(stage: Stage) -> None:
    first, second = stage.approved(), stage.approved(ON_STATUS)
    with in_thread(lambda: stage.apply(first)) as found, write_to_orders(stage.database):
        await_build(stage.database)
        refused = stage.apply(second)
    assert refused.action.state == State.APPROVED
    assert refused.note.startswith(f"another process acts on target {stage.loop.name} now")
    assert found[0].action.state == State.VERIFYING


def test_an_undo_beside_a_build_is_refused_by_name_and_changes_nothing(stage: Stage) -> None:
    live, building = stage.built(ON_STATUS), stage.approved()
    with in_thread(lambda: stage.apply(building)), write_to_orders(stage.database):
        await_build(stage.database)
        refused = stage.rollback(live)
    assert (refused.action.state, refused.done) == (State.VERIFYING, False)
    assert "another process acts" in refused.note


def test_recovery_leaves_a_worker_that_lives_to_its_work(stage: Stage) -> None:
    action = stage.approved()
    pid = 0
    try:
        with write_to_orders(stage.database):
            pid = worker(stage, lambda own: own.apply(action))
            backend = await_build(stage.database)
            with pytest.raises(RefusedError, match=f"for process {pid} .* which lives: it is left to its work"):
                recover(stage.loop.target, stage.ledger, stage.loop.settings)
            alive = "select count(*) from pg_stat_activity where pid = %s"
            assert stage.database.execute(alive, backend) == [(1,)]
            assert stage.now(action).state == State.APPLYING
    finally:
        if pid:
            kill(pid)
    stage.recover()


def test_two_recoveries_at_once_do_the_work_once(stage: Stage) -> None:
    action = stage.approved()
    dying_at("built", stage, action)
    barrier = threading.Barrier(2)

    def one() -> list[str]:
        barrier.wait()
        return stage.recover()

    with in_thread(one) as left, in_thread(one) as right:
        pass
    done = [line for found in (*left, *right) for line in ([] if isinstance(found, RefusedError) else found)]
    assert len(done) == 1
    assert stage.moves(action)[2:] == ["applying", "applied", "verifying"]
