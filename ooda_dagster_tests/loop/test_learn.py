"""Does learning report what ended, once, and set the delay by it?"""

from __future__ import annotations

import uuid
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta

import pandas as pd
import pytest

from ooda_dagster.core.cadence import Delay, due_at, jitter_of
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import LearningDelta
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.ledger.rollups import COUNTERS, Snapshot
from ooda_dagster.loop.learn import delay_after, learn
from ooda_dagster.loop.learned import global_health
from ooda_dagster_tests.actions.stage import ON_CUSTOMER, ON_STATUS, Stage, read_elsewhere
from ooda_dagster_tests.ledger.closed import closed, predicting
from ooda_dagster_tests.loop.ground import no_results
from ooda_dagster_tests.support import dsn_of


def ended(stage: Stage, state: State, outcome: Outcome | None = None, ratio: float | None = None) -> Action:
    """An action that a verdict ended."""
    action, now = stage.built(), stage.loop.clock()
    verdict = {"outcome": outcome, "ratio": ratio, "closed_at": now}
    if state == State.REVERTED:
        stage.ledger.actions.transition(action.action_id, State.REVERTING, actor="policy", **verdict)
        return stage.ledger.actions.transition(action.action_id, state, actor="policy", reverted_at=now)
    return stage.ledger.actions.transition(action.action_id, state, actor="policy", **verdict)


@pytest.mark.parametrize(
    ("state", "outcome", "ratio", "minutes", "words"),
    [
        (State.KEPT, Outcome.BETTER, 0.4, 5, "60% faster"),
        (State.KEPT, Outcome.BETTER, 0.9, 15, "10% faster"),
        (State.INCONCLUSIVE, Outcome.INCONCLUSIVE, None, 30, "without a difference shown"),
        (State.REVERTED, Outcome.WORSE, 1.5, 60, "made things worse and was undone"),
        (State.REVERTED, None, None, 30, "nothing changed"),
    ],
)
def test_the_delay_follows_from_what_ended(
    stage: Stage, state: State, outcome: Outcome | None, ratio: float | None, minutes: int, words: str
) -> None:
    ended(stage, state, outcome, ratio)
    delta = learn(stage.loop, no_results(stage.loop))
    assert delta.delay_minutes == minutes
    assert words in delta.next_due_reason


def test_the_worst_news_wins(stage: Stage) -> None:
    good = ended(stage, State.KEPT, Outcome.BETTER, 0.4)
    stage.database.execute(f"drop index {ON_CUSTOMER.name}")
    bad = ended(stage, State.REVERTED, Outcome.WORSE, 2.0)
    assert delay_after([good, bad], 0).minutes == 60


def test_a_failed_action_is_reported_and_recorded_and_makes_the_loop_wait(stage: Stage) -> None:
    short = stage.with_acting(lock_timeout_s=0.5, lock_tries=1)
    with read_elsewhere(stage.database):
        action = short.apply(short.approved()).action
    delta = learn(stage.loop, no_results(stage.loop))
    assert (delta.delay_minutes, delta.next_due_reason) == (60, "1 action failed")
    assert delta.action_outcomes["failedActions"] == 1
    assert [(row.outcome, row.outcome_class) for row in delta.outcomes] == [("failed", "Failed")]
    (row,) = stage.ledger.actions.improvements(stage.loop.name)
    assert (row["action_id"], row["was_deployed"]) == (action.action_id, False)


def test_what_ended_is_reported_once(stage: Stage) -> None:
    ended(stage, State.KEPT, Outcome.BETTER, 0.4)
    first, second = (learn(stage.loop, no_results(stage.loop)) for _ in range(2))
    assert [len(d.outcomes) for d in (first, second)] == [1, 0]
    assert second.delay_minutes == 30


def test_a_replay_reports_without_using_up(stage: Stage) -> None:
    ended(stage, State.KEPT, Outcome.BETTER, 0.4)
    replay = no_results(stage.loop).model_copy(update={"replayed": True})
    assert len(learn(stage.loop, replay).outcomes) == 1
    assert len(learn(stage.loop, no_results(stage.loop)).outcomes) == 1


def test_an_effect_is_negative_where_it_is_faster(stage: Stage) -> None:
    ended(stage, State.KEPT, Outcome.BETTER, 0.4)
    (row,) = learn(stage.loop, no_results(stage.loop)).outcomes
    assert row.effect_pct == pytest.approx(-60)


def test_what_was_undone_without_a_verdict_is_told_as_undone(stage: Stage) -> None:
    stage.rollback(stage.built(ON_STATUS))
    (row,) = learn(stage.loop, no_results(stage.loop)).outcomes
    assert (row.outcome, row.state, row.reason) == ("undone", State.REVERTED, "rolled back by hand")


def _cycle(stage: Stage, trigger: str = "schedule") -> LearningDelta:
    """A cycle in which nothing happened, as far as the timer is concerned."""
    loop, run = stage.loop, str(uuid.uuid4())
    cycle = loop.ledger.cycles.begin(
        loop.name, due_at=loop.clock(), run_id=run, trigger=trigger, mode="auto", now=loop.clock()
    )
    delta = learn(loop, no_results(loop).model_copy(update={"analysis_id": cycle.analysis_id}))
    return loop.ledger.messages.store(delta, run)


def test_quiet_cycles_back_off_through_the_ledger_and_an_alarm_ends_it(stage: Stage) -> None:
    assert [_cycle(stage).delay_minutes for _ in range(5)] == [30, 30, 60, 120, 240]
    reopened = replace(stage, loop=replace(stage.loop, ledger=Ledger(dsn_of(stage.ledger))))
    last = _cycle(reopened)
    reopened.ledger.close()
    assert (last.delay_minutes, last.next_due_reason) == (
        240,
        "nothing changed, for 6 cycles in a row: 240 min instead of 30",
    )
    assert [_cycle(stage, trigger).delay_minutes for trigger in ("hand", "alarm", "schedule")] == [240, 30, 30]


def test_the_timer_is_set_to_the_jittered_full_minute_with_the_reason(stage: Stage) -> None:
    before = stage.loop.clock()
    deltas = [_cycle(stage) for _ in range(2)]
    due = stage.ledger.cycles.queue([stage.loop.name])[0]
    assert (due.deliver_at, due.reason) == (deltas[-1].next_due_at, "nothing changed")
    assert (due.deliver_at.second, due.deliver_at.microsecond) == (0, 0)
    wait = (due.deliver_at - before) / timedelta(minutes=1)
    assert 27 <= wait < 34.1
    jitter = jitter_of(f"{stage.loop.name}/{deltas[-1].analysis_id}", 0.1)
    assert due.deliver_at == due_at(deltas[-1].timestamp, Delay(30, ""), jitter)


def test_global_health_compares_the_last_five_minutes_with_the_day_before(stage: Stage) -> None:
    """Per call 10 ms at 60 calls a minute, then 5 ms at 120."""
    rollups, name, now = stage.ledger.rollups, stage.loop.name, stage.loop.clock()
    rollups.learn_queries(name, [(1, "f", "select", "select 1")])
    (statement,) = rollups.known_queries(name).values()
    previous = None
    for minutes, calls, ms in ((14, 0, 0), (4, 600, 6000), (3, 120, 600)):
        current = Snapshot(now - timedelta(minutes=minutes), {}, b"")
        values = dict.fromkeys(COUNTERS, 0.0) | {"statement_id": statement, "n": calls, "sum_ms": ms}
        rollups.store(name, previous=previous, current=current, frame=pd.DataFrame([values] if calls else []))
        previous = current
    health, source = global_health(stage.loop, now)
    assert health["baselineLatencyMs"] == pytest.approx(10)
    assert health["currentLatencyMs"] == pytest.approx(5)
    assert health["latencyImprovement"] == pytest.approx(50)
    assert health["throughputChange"] == pytest.approx(100)
    assert source == "statements"


def test_what_closed_is_told_with_its_prediction_and_the_naive_number_stands_beside(stage: Stage) -> None:
    now = stage.loop.clock()
    closed(stage.ledger, stage.loop.name, now, predicting(0.6, trust=0.5), realised=0.24)
    loss = {"realised": -0.5, "outcome": Outcome.WORSE, "state": State.REVERTED}
    closed(stage.ledger, stage.loop.name, now, predicting(0.6), **loss)  # type: ignore[arg-type]
    closed(stage.ledger, stage.loop.name, now, predicting(0.6), outcome=None, state=State.FAILED)
    delta = learn(stage.loop, no_results(stage.loop))
    gain, failed, worse = sorted(delta.outcomes, key=lambda r: r.outcome)
    assert (gain.impact_score, gain.predicted_pct, gain.expected_pct) == (pytest.approx(24), 60, 30)
    assert (gain.rung, gain.action_status, gain.execution_time_ms) == ("hypothetical index", "Executed", 1500)
    assert gain.hypothesis_id is not None
    assert (worse.impact_score, failed.impact_score) == (pytest.approx(-50), None)
    assert (failed.outcome, failed.action_status) == ("failed", "Failed")
    assert delta.proven_improvement == pytest.approx(-50)  # a loss outweighs a gain, as for the delay
    assert delta.restart()["latencyImprovement"] is None
    (row,) = delta.learned
    assert (row.verdicts, row.better, row.worse, row.failed) == (2, 1, 1, 1)
    assert sorted(p.realised_pct for p in delta.predictions) == [-50, 24]
    assert delta.action_outcomes == {
        "successfulActions": 1,
        "regressedActions": 1,
        "failedActions": 1,
        "neutralActions": 0,
        "totalActions": 3,
    }


def test_the_improvement_history_has_every_field_that_has_a_counterpart(stage: Stage) -> None:
    (action,) = closed(stage.ledger, stage.loop.name, stage.loop.clock(), predicting(0.6, trust=0.5), realised=0.24)
    stage.ledger.actions.note(action.action_id, object_oid=4711, outcome_class="HighSuccess")
    learn(stage.loop, no_results(stage.loop))
    (row,) = stage.ledger.actions.improvements(stage.loop.name)
    assert row["git_commit_hash"] == action.statements_hash
    assert (row["tests_passed"], row["tests_failed"], row["success"]) == (1, 0, True)
    assert (row["predicted_improvement"], row["expected_improvement"]) == (60, 30)
    assert float(row["latency_improvement"]) == pytest.approx(24)
    assert (row["target_entity"], row["target_id"]) == (f"public.{action.object_name}", "4711")
    assert row["old_value"].startswith("DROP INDEX")
    assert row["new_value"] == row["generated_code"]
    assert row["executed_at"] == action.applied_at
    empty = {name for name, value in row.items() if value is None}
    assert empty == {
        "analysis_id",  # it was entered by no cycle
        "approved_by",
        "error_message",
        "rolled_back_at",
        "performance_delta",  # of a look that was told without a measurement
        "notes",
    }


def test_global_health_is_of_requests_where_they_are_read_whole(stage: Stage) -> None:
    now = stage.loop.clock()
    reads = {(24 * 60, 5): (2870, 40.0), (5, 0): (20, 30.0)}

    class Book:
        def totals(self, name: str, since: datetime, until: datetime) -> tuple[int, float] | None:
            ago = tuple(round((now - moment).total_seconds() / 60) for moment in (since, until))
            return reads.get(ago)  # type: ignore[arg-type]

    ledger = copy(stage.ledger)
    ledger.requests = Book()  # type: ignore[assignment]
    health, source = global_health(replace(stage.loop, ledger=ledger), now)
    assert source == "inference requests"
    assert health["latencyImprovement"] == pytest.approx(25)
    assert health["throughputChange"] == pytest.approx(100)  # by the minute: 2 and 4


def test_global_health_of_nothing_is_unknown(stage: Stage) -> None:
    health, _ = global_health(stage.loop, stage.loop.clock())
    assert set(health.values()) == {None}
