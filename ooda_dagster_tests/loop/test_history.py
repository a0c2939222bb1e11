"""Do past days come out of the ledger as they were, with the target out of reach?"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from ooda_dagster.config import ConfigError, Reference, TargetConfig
from ooda_dagster.core.hindsight import THERE
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.workload_day import WorkloadDay
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.history import History, first_day
from ooda_dagster_tests.loop.days import (
    MINUTE,
    NOW,
    acted,
    ago,
    ask,
    buckets,
    compact,
    found,
    full_day,
    know,
    midnight,
    observed,
    ooda_of,
    record,
)

HOUR_MS = 3_600_000.0
IDENTITY = "index on public.orders (customer)"


def history(ledger: Ledger, *names: str, **settings: Any) -> History:
    return History(ooda_of(ledger, *names, **settings), clock=lambda: NOW)


def rolled(ledger: Ledger, days_ago: int, **settings: Any) -> WorkloadDay:
    (day,) = history(ledger, **settings).fill(ago(days_ago)).days
    return day


@pytest.mark.slow
def test_every_day_of_a_month_equals_the_sum_of_its_buckets_whatever_their_grain(ledger: Ledger) -> None:
    """Minutes today, blocks for eight days, hours before: each day's work is what was put in."""
    ids = list(know(ledger).values())
    source = np.random.default_rng(3)
    expected: dict[int, dict[int, list[float]]] = {}
    rows = []
    for back in range(35, 0, -1):
        day = expected[back] = {}
        for n in range(96):
            chosen = {s: (int(source.integers(1, 50)), float(source.integers(1, 999)) / 4) for s in ids[: n % 4 + 1]}
            rows.append((midnight(ago(back)) + 15 * n * MINUTE, 60.0, chosen))
            for statement, (calls, ms) in chosen.items():
                total = day.setdefault(statement, [0, 0.0])
                total[0] += calls
                total[1] += ms
    buckets(ledger, rows)
    compact(ledger)
    past = history(ledger)
    grains = set()
    for back, day in expected.items():
        (row,) = past.fill(ago(back)).days
        assert row.calls == sum(calls for calls, _ in day.values())
        assert row.total_ms == pytest.approx(sum(ms for _, ms in day.values()), rel=4e-3)
        assert row.statements == len(ids)
        assert row.hours == pytest.approx(96 / 60, abs=1e-3)
        top = {s["fingerprint"]: s["calls"] for s in row.top_statements}
        assert top == {f"s{ids.index(s) + 1}": calls for s, (calls, _) in day.items()}
        grains.add(row.grain)
    assert grains == {"minute+block", "block", "block+hour", "hour"}


def test_a_day_on_the_border_of_grains_says_how_much_of_each_it_has(ledger: Ledger) -> None:
    (one,) = know(ledger, count=1).values()
    buckets(ledger, full_day(ago(1), {one: (288, 288.0)}, every=5 * MINUTE))
    compact(ledger)  # at noon: what is older than 24 h became blocks
    day = rolled(ledger, 1)
    assert day.source == "ledger rollups (minute 12.0 h, block 12.0 h)"
    assert (day.grain, day.hours, day.calls, day.total_ms) == ("minute+block", 24.0, 288, pytest.approx(288.0))


def test_a_bucket_that_runs_into_the_next_day_is_told_and_counted_once(ledger: Ledger) -> None:
    """A sampler that was down over midnight leaves one long bucket."""
    (one,) = know(ledger, count=1).values()
    buckets(ledger, [(midnight(ago(2)) - timedelta(hours=1), 4 * 3600.0, {one: (100, 200.0)})])
    before, after = rolled(ledger, 3), rolled(ledger, 2)
    assert (before.calls, before.hours) == (100, 1.0)
    assert before.notes == ["a bucket runs 180 minutes into the next day and is counted here"]
    assert not after.has_data


def test_a_day_without_data_says_so_and_a_quiet_one_is_not_without(ledger: Ledger) -> None:
    know(ledger)
    buckets(ledger, [(midnight(ago(3)), 3600.0, {})])
    quiet, nothing = rolled(ledger, 3), rolled(ledger, 4)
    assert (quiet.source, quiet.calls, quiet.p50_ms) == ("ledger rollups (minute 1.0 h)", 0, None)
    assert "no candidate is known" in quiet.decided["reason"]
    assert (nothing.source, nothing.calls) == ("no data", None)
    assert nothing.notes == ["the ledger has no rollups of that day"]


def test_a_target_that_the_ledger_never_saw_has_no_data(ledger: Ledger) -> None:
    (day,) = history(ledger, "stranger").fill(ago(1)).days
    assert (day.target, day.source) == ("stranger", "no data")


def test_rolling_a_day_up_again_replaces_it(ledger: Ledger) -> None:
    (one,) = know(ledger, count=1).values()
    buckets(ledger, full_day(ago(1), {one: (960, 96.0)}))
    first = rolled(ledger, 1)
    buckets(ledger, [(midnight(ago(1)) + MINUTE, 60.0, {one: (40, 4.0)})])
    second = rolled(ledger, 1)
    assert (first.calls, second.calls) == (960, 1000)
    assert ask(ledger, "select count(*), min(calls) from ooda.workload_day") == [(1, 1000)]


def test_a_day_whose_rollups_are_gone_is_kept(ledger: Ledger) -> None:
    (one,) = know(ledger, count=1).values()
    buckets(ledger, full_day(ago(1), {one: (960, 96.0)}))
    first = rolled(ledger, 1)
    ask(ledger, "delete from ooda.rollup_chunk")
    again = rolled(ledger, 1)
    assert (again.calls, again.computed_at) == (960, first.computed_at)
    assert again.notes == [
        "less is left of this day now: kept as it was computed before",
        "the ledger has no rollups of that day",
    ]


def test_a_day_that_is_not_over_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="not over yet"):
        history(ledger).fill(NOW.date())


def test_only_the_named_targets_are_rolled_up(ledger: Ledger) -> None:
    past = history(ledger, "shop", "crm")
    assert [d.target for d in past.fill(ago(1), ["crm"]).days] == ["crm"]
    assert ask(ledger, "select target from ooda.workload_day") == [("crm",)]
    with pytest.raises(ConfigError, match="did you mean 'shop'"):
        past.fill(ago(1), ["shopp"])


def test_a_candidate_pays_on_some_days_and_not_on_others(ledger: Ledger) -> None:
    """Found yesterday; the statement that it serves was heavy from five days ago on."""
    ids = know(ledger)
    record(ledger, found(write_ms_per_hour=500.0, touches=["s1", "s3"]), NOW - timedelta(days=1))
    for back in range(9, 0, -1):
        heavy = HOUR_MS if back <= 5 else 9600.0
        day = {ids["s1"]: (9600, heavy), ids["s2"]: (9600, HOUR_MS), ids["s3"]: (9600, 960.0)}
        buckets(ledger, full_day(ago(back), day))
    compact(ledger)
    past = history(ledger, advice={"min_statement_total_ms": 20_000})
    days = {back: past.fill(ago(back)).days[0] for back in range(9, 0, -1)}
    assert {back: len(day.proposed) for back, day in days.items()} == {n: int(n <= 5) for n in range(1, 10)}
    (proposal,) = days[5].proposed
    # The writer ran as often on that day as when the candidate was found: its cost is the same.
    assert proposal["saved_ms"] == pytest.approx(0.9 * HOUR_MS, rel=1e-3)
    assert proposal["write_ms"] == pytest.approx(24 * 500, rel=0.01)
    assert proposal["writes"] == "scaled by that day's writes"
    assert (proposal["state"], proposal["rule"]) == ("proposed", "mode propose: nothing is changed")
    assert "advice.min_statement_total_ms" in days[6].decided["reason"]
    assert days[6].decided["candidates"] == 1
    # Five days ago its mean time rose from 1 to 375 ms.
    assert [s["fingerprint"] for s in days[5].slower] == ["s1"]
    assert days[5].slower[0]["against"] == "the day before"
    assert [s["against"] for s in days[2].slower] == ["a week before"]
    assert days[6].slower == []


def test_the_newest_hypothesis_of_an_identity_counts(ledger: Ledger) -> None:
    ids = know(ledger)
    buckets(ledger, full_day(ago(2), {ids["s1"]: (960, HOUR_MS)}))
    record(ledger, found(serves={"s1": (100.0, 10.0)}), NOW - timedelta(days=9))
    record(ledger, found(serves={"s1": (100.0, 50.0)}), NOW - timedelta(days=1))
    (proposal,) = rolled(ledger, 2).proposed
    assert proposal["saved_ms"] == pytest.approx(0.5 * HOUR_MS)
    assert proposal["found_at"].startswith(f"{ago(1)}")


def at(back: int, hour: int) -> datetime:
    return midnight(ago(back)) + timedelta(hours=hour)


def test_an_index_is_there_from_the_day_it_was_built_to_the_day_it_was_undone(ledger: Ledger) -> None:
    ids = know(ledger)
    record(ledger, found(), at(1, 0))
    for back in range(6, 0, -1):
        buckets(ledger, full_day(ago(back), {ids["s1"]: (960, HOUR_MS)}))
    steps = [
        (State.APPROVED, at(5, 9)),
        (State.APPLYING, at(5, 10)),
        (State.APPLIED, at(5, 11)),
        (State.VERIFYING, at(5, 11)),
        (State.KEPT, at(4, 1)),
        (State.REVERTING, at(2, 5)),
        (State.REVERTED, at(2, 6)),
    ]
    acted(ledger, IDENTITY, steps)
    states = {back: [p["state"] for p in rolled(ledger, back).proposals] for back in range(6, 0, -1)}
    assert states == {6: ["proposed"], 5: [THERE], 4: [THERE], 3: [THERE], 2: ["denied"], 1: ["denied"]}
    assert f"undone or rejected at {ago(2)}T06:00" in rolled(ledger, 1).proposals[0]["rule"]
    facts = rolled(ledger, 5).decided
    assert (facts["begun_that_day"], facts["open_changes"], facts["live_actions"]) == (1, 1, 1)
    assert rolled(ledger, 4).decided["open_changes"] == 0


def test_the_situation_is_that_of_the_day(ledger: Ledger) -> None:
    """Warm-up by the rollups then, the pause then, the tables' size as it was seen then."""
    ids = know(ledger)
    record(ledger, found(bytes=3 << 20), at(1, 0))
    for back in (5, 4, 3, 2):
        buckets(ledger, full_day(ago(back), {ids["s1"]: (960, HOUR_MS)}))
    observed(ledger, at(4, 5), 100.0)
    observed(ledger, at(2, 5), 8.0)
    ledger.audit("paused", target="t", actor="p")
    ask(ledger, "update ooda.audit_event set at = :at where event = 'paused'", at=at(3, 20))
    ledger.audit("resumed", target="t", actor="p")
    ask(ledger, "update ooda.audit_event set at = :at where event = 'resumed'", at=at(2, 20))
    auto = {"mode": "auto", "acting": {"warm_up_h": 30}}
    days = {back: rolled(ledger, back, **auto) for back in (5, 4, 3, 2)}
    rules = {back: [(p["state"], p["rule"][:10]) for p in day.proposed] for back, day in days.items()}
    assert rules == {
        5: [("proposed", "warming up")],
        4: [("approved", "mode auto,")],
        3: [("proposed", "paused: no")],
        2: [],
    }
    assert days[2].decided["declined"][0]["why"] == "does not fit into the index budget (advice.index_budget)"
    assert [day.decided["tables_mb"] for day in days.values()] == [100.0, 100.0, 100.0, 8.0]
    assert days[5].decided["warm_h"] == 24.0
    assert "today's" in days[5].decided["reconstructed"]


def test_an_open_change_holds_what_touches_the_same(ledger: Ledger) -> None:
    ids = know(ledger)
    record(ledger, found("index on public.orders (status)"), at(1, 0))
    buckets(ledger, full_day(ago(2), {ids["s1"]: (960, HOUR_MS)}))
    acted(ledger, IDENTITY, [(State.APPROVED, at(2, 1)), (State.APPLYING, at(2, 23))])
    (proposal,) = rolled(ledger, 2, mode="auto").proposed
    assert "being judged for action" in proposal["rule"]


def test_missing_days_are_those_that_nobody_rolled_up(ledger: Ledger) -> None:
    know(ledger)
    past = history(ledger, "t", "u")
    past.fill(ago(2), ["t"])
    past.fill(ago(1))
    assert past.missing(ago(3), ago(1), ["t", "u"]) == {ago(3): ["t", "u"], ago(2): ["u"]}


@pytest.mark.parametrize(
    ("starts", "first"),
    [
        ([], "2025-02-01"),
        ([None], "2025-02-01"),
        (["2026-01-15", "2026-02-01"], "2026-01-15"),
        (["2026-01-15", None], "2025-02-01"),
        (["2024-01-01", None], "2024-01-01"),
    ],
)
def test_history_begins_with_the_earliest_of_the_targets(starts: list[str | None], first: str) -> None:
    """One that begins late takes no day from another that says nothing."""
    nowhere = Reference.literal("postgresql://nobody@127.0.0.1:1/none")
    settings = [Settings.model_validate({"history": {"start_day": start}}) for start in starts]
    targets = [TargetConfig(str(n), nowhere, settings=s) for n, s in enumerate(settings)]
    assert first_day(targets, date(2026, 3, 8)) == date.fromisoformat(first)
