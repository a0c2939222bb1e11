"""Does learning report what ended, once, and set the delay by it?"""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.rollups import COUNTERS, Snapshot
from ooda_dagster.loop.learn import delay_after, learn
from ooda_dagster.loop.learned import global_health
from ooda_dagster_tests.actions.stage import ON_CUSTOMER, ON_STATUS, Stage, read_elsewhere
from ooda_dagster_tests.loop.ground import no_results


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


def test_global_health_of_nothing_is_unknown(stage: Stage) -> None:
    health, _ = global_health(stage.loop, stage.loop.clock())
    assert set(health.values()) == {None}
