"""Does a verdict find what is there, stay silent where nothing is, and say what it lacks?"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ooda_dagster.core.settings import Verifying
from ooda_dagster.core.verdict import Outcome, OutcomeClass, Verdict, classify, judge, to_undo
from ooda_dagster_tests.core.simulated import ACTED_AT, CONTROL, TREATED, at, rollup

NOW = at(2)
#: Short windows for cheap simulations: blocks of one minute, three hours of baseline.
CHEAP = Verifying(block_s=60, baseline_h=3, min_baseline_h=1)


def _judge(frame: pd.DataFrame, *, now: datetime = NOW, **options: Any) -> Verdict:
    return judge(frame, acted_at=ACTED_AT, treated=TREATED, now=now, **options)


def _interval(verdict: Verdict) -> tuple[float, float]:
    assert verdict.interval is not None
    return verdict.interval


@pytest.mark.parametrize("slowdown", [0.3, 1.0, 3.0])
def test_an_action_without_effect_is_inconclusive_whatever_the_server_does(slowdown: float) -> None:
    verdict = _judge(rollup(1, slowdown=slowdown))
    low, high = _interval(verdict)
    assert verdict.outcome == Outcome.INCONCLUSIVE
    assert low <= 1 <= high
    assert "the interval holds 1" in verdict.reason


@pytest.mark.parametrize("slowdown", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(("effect", "outcome"), [(0.7, Outcome.BETTER), (0.05, Outcome.BETTER), (2.0, Outcome.WORSE)])
def test_an_effect_is_found_with_its_sign_and_its_size(effect: float, outcome: Outcome, slowdown: float) -> None:
    verdict = _judge(rollup(2, effect=effect, slowdown=slowdown))
    low, high = _interval(verdict)
    assert verdict.outcome == outcome
    assert low < effect < high
    assert verdict.ratio == pytest.approx(effect, rel=0.15)
    assert verdict.effect_pct == pytest.approx((effect - 1) * 100, abs=15 * effect)


def test_the_ratio_lies_within_its_interval_and_the_evidence_tells_what_it_came_from() -> None:
    verdict = _judge(rollup(3, effect=0.7))
    low, high = _interval(verdict)
    assert verdict.ratio is not None
    assert low < verdict.ratio < high
    assert verdict.evidence["method"] == "difference-in-differences"
    assert (verdict.evidence["treated_statements"], verdict.evidence["control_statements"]) == (2, 4)
    assert verdict.evidence["blocks_after"] == 24
    assert verdict.n["calls_after"] == pytest.approx(2 * 20 * 120, rel=0.1)


@pytest.mark.parametrize(("effect", "outcome"), [(0.3, Outcome.UNATTRIBUTED), (1.0, Outcome.INCONCLUSIVE)])
@pytest.mark.parametrize("how", ["nothing else ran", "all others are excluded"])
def test_without_a_control_group_nothing_is_attributed(effect: float, outcome: Outcome, how: str) -> None:
    alone = how == "nothing else ran"
    frame = rollup(4, effect=effect, drift=0.0, control=() if alone else CONTROL)
    verdict = _judge(frame, control=None if alone else [])
    assert verdict.outcome == outcome
    assert verdict.evidence["method"] == "before-after without control"


def test_a_control_group_that_is_named_is_the_only_one() -> None:
    frame = rollup(5)
    frame.loc[(frame["fingerprint"] == "c1") & (frame["minute"] >= ACTED_AT), "sum_ms"] *= 10
    spoiled, named = _judge(frame, control=["c1"]), _judge(frame, control=["c2", "c3"])
    assert spoiled.outcome == Outcome.BETTER
    assert named.outcome == Outcome.INCONCLUSIVE
    assert named.evidence["control_statements"] == 2


def test_a_gain_from_a_short_baseline_is_not_claimed_but_a_loss_is() -> None:
    better = _judge(rollup(6, effect=0.5, before_h=5))
    worse = _judge(rollup(6, effect=2.0, before_h=5))
    assert better.outcome == Outcome.INCONCLUSIVE
    assert "baseline of 5.0 h; 24 h are needed" in better.reason
    assert worse.outcome == Outcome.WORSE


@pytest.mark.parametrize(
    ("simulated", "now", "reason"),
    [
        ({"calls_per_minute": 0}, NOW, "only 0 calls before the action; 25 are needed"),
        ({"before_h": 0.1}, NOW, "only 2 blocks before the action; 6 are needed"),
        ({"calls_per_minute": 0.02}, at(0.4), "calls since the action; 25 are needed"),
        ({}, at(0.15), "only 1 block since the action; 3 are needed"),
        ({}, ACTED_AT, "only 0 calls since the action; 25 are needed"),
    ],
)
def test_too_little_data_says_what_is_missing(simulated: dict[str, Any], now: datetime, reason: str) -> None:
    verdict = _judge(rollup(7, **simulated), now=now)
    assert verdict.outcome == Outcome.INCONCLUSIVE
    assert reason in verdict.reason
    assert (verdict.ratio, verdict.interval, verdict.effect_pct) == (None, None, None)


def test_an_empty_rollup_is_no_error() -> None:
    assert "only 0 calls" in _judge(rollup(8).iloc[:0]).reason


def test_excluded_times_are_as_if_they_were_not_there() -> None:
    spans = [(at(-10), at(-8)), (at(0.5), at(0.75))]
    frame = rollup(9, effect=0.7)
    inside = np.zeros(len(frame), dtype=bool)
    for since, until in spans:
        inside |= ((frame["minute"] >= since) & (frame["minute"] < until)).to_numpy()
    spoiled = frame.copy()
    spoiled.loc[inside & spoiled["fingerprint"].isin(TREATED), "sum_ms"] *= 1000
    assert _judge(spoiled, excluded=spans) == _judge(frame[~inside])
    assert _judge(spoiled) != _judge(frame)


def test_buckets_that_overlap_the_deed_or_lie_ahead_are_left_out() -> None:
    """The build itself slows everything down; it is no part of what it did."""
    frame = rollup(10, effect=0.7)
    began, ended = ACTED_AT - timedelta(seconds=30), ACTED_AT + timedelta(minutes=10, seconds=30)
    overlaps = (frame["minute"] > began - timedelta(minutes=1)) & (frame["minute"] < ended)
    ahead = frame["minute"] > at(1.5) - timedelta(minutes=1)
    spoiled = frame.copy()
    spoiled.loc[(overlaps | ahead) & spoiled["fingerprint"].isin(TREATED), "sum_ms"] *= 1000
    options: dict[str, Any] = {"acted_at": began, "acted_until": ended, "treated": TREATED, "now": at(1.5)}
    assert judge(spoiled, **options) == judge(frame, **options)
    assert judge(spoiled, **options).outcome == Outcome.BETTER


def test_a_change_in_the_mix_of_calls_is_no_effect() -> None:
    """Calls move from the cheap to the dear statement: the mean rises, the work per call of each does not."""
    frame = rollup(11).astype({"n": float})
    after = frame["minute"] >= ACTED_AT
    for fingerprint, factor in (("t1", 0.2), ("t2", 5), ("c1", 3)):
        frame.loc[after & (frame["fingerprint"] == fingerprint), ["n", "sum_ms"]] *= factor
    verdict = _judge(frame)
    assert verdict.outcome == Outcome.INCONCLUSIVE
    assert verdict.ratio == pytest.approx(1, abs=0.1)


def test_statements_without_a_past_are_left_out() -> None:
    frame = rollup(12)
    new = frame[(frame["fingerprint"] == "t1") & (frame["minute"] >= ACTED_AT)].assign(fingerprint="t3")
    new["sum_ms"] *= 1000
    with_new = judge(pd.concat([frame, new]), acted_at=ACTED_AT, treated=(*TREATED, "t3"), now=NOW)
    assert with_new == _judge(frame)


def test_a_stall_of_a_block_decides_nothing() -> None:
    frame = rollup(13)
    stalled = (frame["minute"] >= at(0.5)) & (frame["minute"] < at(0.5) + timedelta(minutes=5))
    frame.loc[stalled & frame["fingerprint"].isin(TREATED), "sum_ms"] *= 50
    assert _judge(frame).outcome == Outcome.INCONCLUSIVE


def test_what_probably_hurts_is_told_before_it_is_proven() -> None:
    """The looser bar is enough for an undo, and is no verdict."""
    looks = [_judge(rollup(17, effect=1.12), now=at(minutes / 60)) for minutes in range(15, 125, 5)]
    first = next(look for look in looks if look.revert)
    assert first.outcome == Outcome.INCONCLUSIVE
    assert "probably worse: e = " in first.reason
    assert to_undo(first).outcome == Outcome.WORSE
    assert looks[-1].outcome == Outcome.WORSE
    assert not _judge(rollup(17, effect=0.8)).revert


def test_where_statements_differ_the_net_work_decides() -> None:
    """Most of the work is in t2, which gets dearer; t1 gains more in per cent, and matters little."""
    frame = rollup(18)
    after = frame["minute"] >= ACTED_AT
    frame.loc[frame["fingerprint"] == "t1", "sum_ms"] /= 50
    frame.loc[after & (frame["fingerprint"] == "t1"), "sum_ms"] *= 0.2
    frame.loc[after & (frame["fingerprint"] == "t2"), "sum_ms"] *= 1.5
    verdict = _judge(frame)
    assert verdict.outcome == Outcome.WORSE
    assert verdict.ratio == pytest.approx(1.5, rel=0.1)
    assert verdict.evidence["weights"].startswith("work")


def _singly(frame: pd.DataFrame) -> pd.DataFrame:
    """Log sums beside, as if each call of a minute had taken about its mean, and one of each hundredth minute a lot."""
    per_call = np.log(frame["sum_ms"].clip(lower=1e-9) / frame["n"].clip(lower=1))
    logs = frame.assign(sum_log_ms=frame["n"] * per_call, sum_log_ms_sq=frame["n"] * (per_call**2 + 0.25))
    stray = np.random.default_rng(1).random(len(frame)) < 0.01
    return logs.assign(sum_ms=np.where(stray, frame["sum_ms"] * 40, frame["sum_ms"]))


def test_where_requests_are_seen_singly_stray_ones_do_not_hide_an_effect() -> None:
    frame = _singly(rollup(19, effect=0.85))
    singly, counted = _judge(frame), _judge(frame.drop(columns=["sum_log_ms", "sum_log_ms_sq"]))
    assert singly.outcome == Outcome.BETTER
    assert (singly.evidence["measure"], counted.evidence["measure"]) == ("mean of logs", "log of means")
    assert counted.outcome != Outcome.WORSE
    nulls = _judge(frame.assign(sum_log_ms=None, sum_log_ms_sq=np.nan))
    assert nulls == counted


def test_a_gain_that_others_share_in_part_is_told_smaller_and_never_as_a_loss() -> None:
    frame = rollup(20, effect=0.7)
    shared = (frame["minute"] >= ACTED_AT) & frame["fingerprint"].isin(CONTROL)
    frame.loc[shared, "sum_ms"] *= 0.7**0.3
    verdict = _judge(frame)
    assert verdict.outcome == Outcome.BETTER
    assert verdict.ratio == pytest.approx(0.7**0.7, rel=0.1)


def test_an_effect_that_goes_away_is_no_verdict() -> None:
    frame = rollup(21)
    while_it_lasted = (frame["minute"] >= ACTED_AT) & (frame["minute"] < at(1))
    frame.loc[while_it_lasted & frame["fingerprint"].isin(TREATED), "sum_ms"] *= 0.4
    assert _judge(frame, now=at(1)).outcome == Outcome.BETTER
    later = _judge(frame)
    assert later.outcome == Outcome.INCONCLUSIVE
    assert "changed" in later.reason or "interval holds 1" in later.reason


def test_the_order_of_rows_and_columns_beside_do_not_matter() -> None:
    frame = rollup(14, effect=0.7)
    shuffled = frame.sample(frac=1, random_state=1).assign(rows=5, span_s=60)[
        ["span_s", "rows", *reversed(frame.columns)]
    ]
    one, other = _judge(frame), _judge(shuffled)
    assert one.interval == pytest.approx(other.interval)
    assert (one.outcome, one.n) == (other.outcome, other.n)


def test_buckets_of_other_lengths_give_the_same_verdict() -> None:
    """Older minutes are kept as blocks of five."""
    frame = rollup(15, effect=0.7)
    old = frame["minute"] < at(-12)
    blocks = frame[old].groupby([pd.Grouper(key="minute", freq="5min"), "fingerprint"], as_index=False).sum()
    mixed = pd.concat([blocks.assign(span_s=300), frame[~old].assign(span_s=60)])
    one, other = _judge(frame), _judge(mixed)
    assert one.interval == pytest.approx(other.interval)


def _false_alarms(seeds: range, looks_min: tuple[int, ...]) -> int:
    """How many quiet actions under drifting load get a verdict at any of the looks."""

    def alarm(seed: int) -> bool:
        frame = rollup(seed, before_h=3, after_h=0.5, control=("c1", "c2"))
        looks = (_judge(frame, now=at(minutes / 60), policy=CHEAP) for minutes in looks_min)
        return any(look.outcome in (Outcome.BETTER, Outcome.WORSE) for look in looks)

    return sum(alarm(seed) for seed in seeds)


def test_no_effect_is_rarely_called_one() -> None:
    assert _false_alarms(range(1000, 1040), (30,)) <= 1


@pytest.mark.slow
def test_no_effect_is_rarely_called_one_even_at_many_looks() -> None:
    """The e-process pays for every look: at most 1 % of the actions, if the model fits."""
    assert _false_alarms(range(1000, 1400), (5, 10, 15, 20, 25, 30)) <= 3


def test_a_real_effect_is_mostly_found_within_half_an_hour() -> None:
    """The other side of the bound: silence must not be bought by blindness."""
    found = sum(
        _judge(
            rollup(2000 + s, effect=0.7, before_h=3, after_h=0.5, control=("c1", "c2")), now=at(0.5), policy=CHEAP
        ).outcome
        == Outcome.BETTER
        for s in range(12)
    )
    assert found >= 11


@pytest.mark.parametrize(
    ("outcome", "ratio", "expected"),
    [
        (Outcome.BETTER, 0.89, OutcomeClass.HIGH_SUCCESS),
        (Outcome.BETTER, 0.9, OutcomeClass.SUCCESS),  # the document says: more than 10 %
        (Outcome.WORSE, 1.01, OutcomeClass.REGRESSED),
        (Outcome.INCONCLUSIVE, 0.5, OutcomeClass.NEUTRAL),
        (Outcome.UNATTRIBUTED, 0.5, OutcomeClass.NEUTRAL),
    ],
)
def test_the_document_s_class_derives_from_the_verdict(outcome: Outcome, ratio: float, expected: OutcomeClass) -> None:
    assert classify(Verdict(outcome, ratio, None, ""), Verifying()) == expected


def test_an_action_that_failed_has_no_verdict_and_is_of_the_class_failed() -> None:
    assert classify(None, Verifying()) == OutcomeClass.FAILED
