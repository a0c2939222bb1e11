"""Is a candidate valued on the day's own work, and ruled on as a cycle would have?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ooda_dagster.core.hindsight import THERE, Candidate, Hindsight, hindsight
from ooda_dagster.core.messages import Hypothesis, Served
from ooda_dagster.core.policy import Situation
from ooda_dagster.core.settings import Mode, Settings
from ooda_dagster.core.workload_day import Work

NOW = datetime(2026, 3, 2, tzinfo=UTC)
HOUR_MS = 3_600_000.0
DAY = {"s1": Work(1000, HOUR_MS), "s2": Work(1000, HOUR_MS), "w": Work(4800, 1000.0)}


def candidate(identity: str = "a", *, writes_per_hour: float | None = None, **fields: Any) -> Candidate:
    serves = fields.pop("serves", {"s1": 0.1})
    values: dict[str, Any] = {
        "hypothesis_id": identity,
        "hypothesis_type": "IndexOptimization",
        "priority": 1,
        "description": f"Build {identity}: serves 1 statement",
        "identity": identity,
        "relation": f"public.{identity}",
        "serves": [
            Served(fingerprint=f, text=f, cost_before=200.0, cost_after=200.0 * left, saved_ms_per_hour=1)
            for f, left in serves.items()
        ],
        "touches": [*serves, "w"],
        "bytes": 1 << 20,
    }
    return Candidate(Hypothesis(**(values | fields)), NOW, writes_per_hour)


def seen(*candidates: Candidate, work: Any = DAY, hours: float = 24.0, **options: Any) -> Hindsight:
    settings = options.pop("settings", Settings())
    there = options.pop("there", ())
    situation = options.pop("situation", Situation(NOW, warm_h=100, heap_bytes=1 << 40))
    return hindsight(candidates, work, hours=hours, there=there, situation=situation, settings=settings, **options)


def test_the_saving_is_the_served_time_of_the_day_less_the_writes() -> None:
    (proposal,) = seen(candidate(write_ms_per_hour=1000.0)).proposals
    assert proposal["saved_ms"] == pytest.approx(0.9 * HOUR_MS)
    assert proposal["write_ms"] == pytest.approx(24_000)
    assert proposal["saves_s_per_hour"] == pytest.approx((0.9 * HOUR_MS - 24_000) / 24 / 1000, rel=1e-3)
    assert proposal["writes"] == "as when it was found"
    assert proposal["what"] == "Build a"


def test_the_cost_of_writes_follows_the_writes_of_the_day() -> None:
    """4,800 writes in 24 h are 200 an hour; it was found at 50 an hour."""
    (proposal,) = seen(candidate(write_ms_per_hour=1000.0, writes_per_hour=50)).proposals
    assert proposal["write_ms"] == pytest.approx(4 * 24_000)
    assert proposal["writes"] == "scaled by that day's writes"


def test_writes_can_make_a_candidate_not_pay_on_a_day() -> None:
    busy = {**DAY, "w": Work(4_800_000, 1000.0)}
    paid, not_paid = (seen(candidate(write_ms_per_hour=1000.0, writes_per_hour=200), work=w) for w in (DAY, busy))
    assert len(paid.proposals) == 1
    assert not_paid.proposals == []
    assert "net of writes" in not_paid.declined[0]["why"]
    assert not_paid.reason.startswith("the known candidate would not have paid: saves")


def test_a_statement_is_served_by_its_best_candidate_and_counted_once() -> None:
    better, worse = candidate("better", serves={"s1": 0.1}), candidate("worse", serves={"s1": 0.3})
    found = seen(worse, better)
    assert [p["identity"] for p in found.proposals] == ["better"]
    assert found.declined[0]["identity"] == "worse"
    assert "serves its statements" in found.declined[0]["why"]


def test_a_second_candidate_is_worth_what_it_adds() -> None:
    wide, narrow = candidate("wide", serves={"s1": 0.5, "s2": 0.5}), candidate("narrow", serves={"s1": 0.1})
    found = {p["identity"]: p["saved_ms"] for p in seen(wide, narrow).proposals}
    assert found == {"wide": pytest.approx(HOUR_MS), "narrow": pytest.approx(0.4 * HOUR_MS)}


def test_an_index_that_was_there_is_said_to_be_there_and_takes_its_statements_along() -> None:
    found = seen(candidate("old"), candidate("new"), there={"old"})
    (there,) = found.proposals
    assert (there["identity"], there["state"], there["saved_ms"], there["priority"]) == ("old", THERE, 0.0, 0)
    assert found.reason.endswith("1 index was there already")


@pytest.mark.parametrize(
    ("made", "advice", "why"),
    [
        ({"serves": {"gone": 0.1}}, {}, "none of the statements that it serves ran"),
        ({}, {"min_statement_total_ms": 2 * HOUR_MS}, "advice.min_statement_total_ms"),
        ({"serves": {"s1": 0.9}}, {}, "advice.min_statement_gain"),
        ({}, {"min_saving_share": 0.6}, "advice.min_saving_share"),
    ],
)
def test_the_advice_settings_hold_on_a_past_day(made: dict[str, Any], advice: dict[str, Any], why: str) -> None:
    found = seen(candidate(**made), settings=Settings.model_validate({"advice": advice}))
    assert found.proposals == []
    assert why in found.declined[0]["why"]
    assert why in found.reason


def test_the_floor_is_of_the_lookback_not_of_the_day() -> None:
    """24 s over a day are 1 s in an hour."""
    work = {"s1": Work(10, 24_000.0)}
    for floor_ms, count in ((900, 1), (1100, 0)):
        advice = {"lookback_hours": 1, "min_statement_total_ms": floor_ms}
        settings = Settings.model_validate({"advice": advice})
        assert len(seen(candidate(), work=work, settings=settings).proposals) == count


def test_the_budget_keeps_the_best() -> None:
    one, two = candidate("one", bytes=6), candidate("two", serves={"s2": 0.5}, bytes=6)
    found = seen(two, one, budget_bytes=10)
    assert [p["identity"] for p in found.proposals] == ["one"]
    assert "advice.index_budget" in found.declined[0]["why"]
    assert len(seen(two, one).proposals) == 2


@pytest.mark.parametrize(
    ("mode", "situation", "state", "rule"),
    [
        (Mode.PROPOSE, {}, "proposed", "mode propose"),
        (Mode.APPROVE, {}, "pending_approval", "mode approve"),
        (Mode.AUTO, {}, "approved", "mode auto, priority 5"),
        (Mode.AUTO, {"warm_h": 3.0}, "proposed", "warming up: 3.0 of 24 h"),
        (Mode.AUTO, {"paused": True}, "proposed", "paused"),
        (Mode.AUTO, {"acted_today": 20}, "proposed", "20 actions in 24 h"),
        (Mode.AUTO, {"undone_at": {"a": NOW - timedelta(hours=1)}}, "denied", "undone"),
    ],
)
def test_policy_speaks_as_in_a_cycle(mode: Mode, situation: dict[str, Any], state: str, rule: str) -> None:
    then = Situation(**({"now": NOW, "warm_h": 100.0, "heap_bytes": 1 << 40} | situation))
    (proposal,) = seen(candidate(), settings=Settings(mode=mode), situation=then).proposals
    assert (proposal["state"], proposal["priority"]) == (state, 5)
    assert rule in proposal["rule"]


def test_what_one_cycle_would_have_approved_counts_for_the_next_candidate() -> None:
    settings = Settings.model_validate({"mode": "auto", "acting": {"max_actions_per_cycle": 1}})
    found = seen(candidate("one"), candidate("two", serves={"s2": 0.2}, touches=["s2"]), settings=settings)
    assert [p["state"] for p in found.proposals] == ["approved", "proposed"]
    assert "1 actions in this cycle already" in found.proposals[1]["rule"]


def test_nothing_is_known_or_was_executed() -> None:
    assert "no candidate is known" in seen().reason
    assert "nothing was executed" in seen(candidate(), work={}).reason
