"""Is what a person approved carried out soon, once, through the journal - and nothing else with it?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.defs.build import build_definitions
from ooda_dagster.defs.sensors.approvals import ooda_approvals
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Action
from ooda_dagster.loop import by_hand
from ooda_dagster_tests.defs.ground import NAME, QUIET, Ground, busy_shop, one, tick_sensor

INDEX = "create index on orders (placed)"


@pytest.fixture(scope="module")
def made(target_server: Cluster, ledger_server: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """One shop for all tests here; each leaves it without waiting actions."""
    with busy_shop(target_server, ledger_server, tmp_path_factory.mktemp("approvals"), Mode.APPROVE) as shop:
        yield shop


@pytest.fixture(autouse=True)
def clean(made: Ground) -> Iterator[None]:
    yield
    for action in made.ledger.actions.list(NAME):
        if action.state in (State.APPROVED, State.PROPOSED, State.PENDING_APPROVAL):
            by_hand.reject_action(made.ledger, action, by="test", now=made.loop.clock())
    made.ledger.cycles.resume(NAME)


def tick(made: Ground) -> list[dg.RunRequest] | str:
    repository = build_definitions(made.config).get_repository_def()
    data = tick_sensor(ooda_approvals, made.runner.ooda, made.instance, repository_def=repository)
    return list(data.run_requests or []) or (data.skip_message or "")


def carry_out(made: Ground, request: dg.RunRequest | None = None) -> dg.ExecuteInProcessResult:
    """The job as the daemon launches it."""
    return made.runner._definitions.resolve_job_def("ooda_act_approved").execute_in_process(
        instance=made.instance,
        partition_key=NAME,
        tags=request.tags if request else {},
        run_config=QUIET,
        raise_on_error=False,
    )


def propose(made: Ground, statement: str = INDEX, *, approve: bool = True) -> Action:
    return by_hand.propose(made.loop, statement, by="ann", approve=approve, why="reports by day")


def test_an_approval_is_carried_out_through_the_journal(made: Ground) -> None:
    assert tick(made) == "nothing is approved that waits"
    action = propose(made)
    timer = made.ledger.cycles.queue([NAME])
    request = one(tick(made))
    assert (request.partition_key, request.tags["ooda/trigger"]) == (NAME, "approval")

    result = carry_out(made, request)
    assert result.success
    done = made.ledger.actions.get(action.action_id)
    assert (done.state, done.decided_by) == (State.VERIFYING, "ann")
    assert made.database.indexes()[str(done.object_name)]
    moves = [row["to_state"] for row in made.ledger.actions.history(action.action_id)]
    assert moves == ["proposed", "approved", "applying", "applied", "verifying"]
    (materialized,) = [e.asset_key.path[-1] for e in result.get_asset_materialization_events() if e.asset_key]
    assert materialized == "action_results"
    assert [e.check_name for e in result.get_asset_check_evaluations()] == ["no_failed_action"]
    cycle = made.cycles[0]
    assert (cycle.trigger, cycle.state) == ("approval", "finished")
    assert made.run_tags(result.run_id)["ooda/analysis_id"] == cycle.analysis_id
    assert made.ledger.cycles.queue([NAME]) == timer  # the loop's own time stays

    assert tick(made) == "nothing is approved that waits"
    again = made.re_execute(result.run_id)
    assert made.ledger.actions.get(action.action_id) == done
    assert again.run_id != result.run_id


def test_the_job_approves_nothing(made: Ground) -> None:
    action = propose(made, "create index on orders (status, placed)", approve=False)
    result = carry_out(made)
    assert result.success
    assert made.ledger.actions.get(action.action_id).state == action.state == State.PROPOSED


def test_policy_s_own_approvals_are_left_to_the_cycles(made: Ground) -> None:
    action = propose(made, "create index on orders (note, placed)", approve=False)
    made.ledger.actions.transition(
        action.action_id,
        State.APPROVED,
        actor="policy",
        decided_by="policy",
        decided_at=made.loop.clock(),
        approved_hash=action.statements_hash,
    )
    assert tick(made) == "nothing is approved that waits"
    carry_out(made)
    assert made.ledger.actions.get(action.action_id).state == State.APPROVED


def test_an_approval_of_other_statements_counts_for_nothing(made: Ground) -> None:
    action = propose(made, "create index on orders (customer, note)")
    made.ledger.actions.note(action.action_id, statements_hash="0" * 64)
    assert tick(made) == "nothing is approved that waits"


def test_one_that_nobody_carried_out_in_time_expires(made: Ground) -> None:
    action = propose(made, "create index on orders (placed, note)")
    made.ledger.actions.note(action.action_id, expires_at=made.loop.clock() - timedelta(minutes=1))
    carry_out(made)
    ended = made.ledger.actions.get(action.action_id)
    assert ended.state == State.EXPIRED
    assert made.ledger.actions.history(action.action_id)[-1]["reason"] == "nobody used it in time"


def test_the_same_approvals_are_asked_for_once(made: Ground) -> None:
    propose(made, "create index on orders (status, note)")
    first, second = one(tick(made)), one(tick(made))
    assert first.run_key == second.run_key
    propose(made, "create index on orders (note)")
    assert one(tick(made)).run_key != first.run_key


def test_a_pause_holds_them(made: Ground) -> None:
    propose(made, "create index on orders (status, note)")
    made.ledger.cycles.pause(NAME, made.loop.clock())
    assert tick(made) == f"{NAME}: 1 approved; paused: no new action (ooda resume)"


def test_a_cycle_that_runs_is_not_crossed(made: Ground) -> None:
    propose(made, "create index on orders (status, note)")
    loop = made.loop
    cycle = made.ledger.cycles.begin(
        NAME, due_at=loop.clock(), run_id="other", trigger="hand", mode="approve", now=loop.clock()
    )
    try:
        assert f"analysis {cycle.analysis_id} runs" in str(tick(made))
        result = carry_out(made)
        assert cycle.analysis_id in made.run_tags(result.run_id)["ooda/skipped"]
    finally:
        made.ledger.cycles.finish(cycle.analysis_id, now=loop.clock(), next_due_at=None, reason="test")


def test_a_mode_that_does_not_act_carries_nothing_out(shop: Callable[[Mode], Ground], tmp_path: Path) -> None:
    proposing = shop(Mode.PROPOSE)
    action = propose(proposing)
    assert tick(proposing) == f"{NAME}: 1 approved; mode propose does not act"
    assert carry_out(proposing).success
    assert proposing.ledger.actions.get(action.action_id).state == State.APPROVED
    assert proposing.database.indexes() == {"orders_pkey": True}
