"""Does what is kept of a question give the same verdict, to the last bit?"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ooda_dagster.core.question import Kept, Question, QuestionError
from ooda_dagster.core.settings import Verifying
from ooda_dagster.core.verdict import Outcome
from ooda_dagster_tests.core.simulated import ACTED_AT, CONTROL, TREATED, at, rollup

KINDS = ("requests", "counters", "sums alone", "mixed")


def seen(kind: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A rollup as requests that are seen singly give it, as counters do, or as neither does; in the order of time."""
    rng = np.random.default_rng(5)
    if kind != "sums alone":
        frame["sum_ms_sq"] = frame["sum_ms"] ** 2 / frame["n"].clip(lower=1) * rng.uniform(1, 2, len(frame))
    if kind in ("requests", "mixed"):
        log = np.log((frame["sum_ms"] / frame["n"].clip(lower=1)).where(frame["n"] > 0, 1.0)) - 0.1
        frame["sum_log_ms"], frame["sum_log_ms_sq"] = log * frame["n"], (log**2 + 0.1) * frame["n"]
    if kind == "mixed":
        frame.loc[frame["fingerprint"] == "c2", "sum_log_ms"] = np.nan
        frame.loc[(frame["fingerprint"] == "t2") & (frame["n"] % 3 == 0), "sum_ms_sq"] = np.nan
    return frame.sort_values(["minute", "fingerprint"]).reset_index(drop=True)


def question(frame: pd.DataFrame, **changes: Any) -> Question:
    """One with a deed of two minutes, gaps on both sides, and a baseline that is no whole number of blocks."""
    asked = Question(
        rollup=frame,
        acted_at=ACTED_AT,
        acted_until=ACTED_AT + timedelta(seconds=130),
        now=at(2.01),
        treated=frozenset({*TREATED, "never called"}),
        control=frozenset(CONTROL),
        excluded=((at(-3.33), at(-3.1)), (at(0.5), at(0.61))),
        policy=Verifying(baseline_h=25.97, settle_s=7),
        control_is="statements on other tables",
        looser=True,
        deadline_at=at(2),
    )
    return replace(asked, **changes)


def again(asked: Question) -> Question:
    """Through JSON and back."""
    return Question.from_json(json.loads(json.dumps(Kept.of(asked).as_json())))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("effect", "outcome"), [(1.0, Outcome.INCONCLUSIVE), (0.5, Outcome.BETTER), (2.0, Outcome.WORSE)]
)
def test_the_verdict_comes_out_again(kind: str, effect: float, outcome: Outcome) -> None:
    asked = question(seen(kind, rollup(7, effect=effect, after_h=2.03)))
    given = asked.answer()
    assert given.outcome == outcome
    assert again(asked).answer() == given
    assert Kept.of(again(asked)).digest == Kept.of(asked).digest


@pytest.mark.parametrize("seed", range(4))
def test_it_does_for_any_lengths_of_rows_and_blocks(seed: int) -> None:
    """Hours and minutes in one rollup, as compaction leaves them, and blocks of odd lengths."""
    rng = np.random.default_rng(seed)
    frame = seen(KINDS[seed], rollup(seed, effect=float(rng.uniform(0.5, 2)), slowdown=2.0, after_h=2.1))
    old = frame["minute"] < pd.Timestamp(at(-6))
    hours = frame[old].assign(minute=frame["minute"].dt.floor("h"))
    packed = hours.groupby(["minute", "fingerprint"], as_index=False).sum(min_count=1).assign(span_s=3600.0)
    mixed = pd.concat([packed, frame[~old].assign(span_s=60.0)], ignore_index=True)
    policy = Verifying(block_s=int(rng.integers(120, 900)), baseline_h=float(rng.uniform(5, 26)), min_baseline_h=1)
    asked = question(mixed, policy=policy, now=at(float(rng.uniform(1.5, 2.1))))
    assert asked.answer().ratio is not None
    assert again(asked).answer() == asked.answer()


def test_it_does_where_more_untouched_statements_run_than_are_compared_with() -> None:
    names = [f"c{n}" for n in range(340)]
    frame = rollup(3, effect=0.6, before_h=2, after_h=1, control=tuple(names))
    frame["n"] = frame["n"] * (1 + frame["fingerprint"].map({name: n for n, name in enumerate(names)}).fillna(0))
    policy = Verifying(min_baseline_h=1)
    asked = question(frame, control=frozenset(names), now=at(1), excluded=(), policy=policy)
    given = asked.answer()
    assert given.evidence["control_statements"] == 300
    assert again(asked).answer() == given


@pytest.mark.parametrize("frame", [rollup(1, before_h=0, after_h=0.5), rollup(1).head(0)], ids=["no past", "nothing"])
def test_it_does_where_there_is_nothing_to_tell(frame: pd.DataFrame) -> None:
    asked = question(frame)
    assert asked.answer().ratio is None
    assert again(asked).answer() == asked.answer()


def test_another_number_is_another_digest() -> None:
    frame = seen("counters", rollup(7))
    digest = Kept.of(question(frame)).digest
    frame["sum_ms"] = frame["sum_ms"].where(frame.index != 1000, frame["sum_ms"] * (1 + 1e-12))
    assert Kept.of(question(frame)).digest != digest


def test_what_is_kept_is_small() -> None:
    """200 statements with three days of blocks of five minutes, half of the blocks called."""
    names = tuple(f"c{n}" for n in range(198))
    frame = seen("counters", rollup(1, before_h=72, after_h=2, calls_per_minute=0.7, control=names))
    frame = frame.assign(minute=frame["minute"].dt.floor("5min"))
    frame = frame.groupby(["minute", "fingerprint"], as_index=False).sum().assign(span_s=300.0)
    asked = question(frame, control=frozenset(names), policy=Verifying(), excluded=())
    assert len(Kept.of(asked).body) < 4 * 2**20


@pytest.mark.parametrize(
    "damage",
    [
        {"statements": [{"fingerprint": "a", "side": "touched", "n": [1]}]},
        {"statements": "none"},
        {"policy": {"block_s": "long"}},
        {"policy": {"no_such_setting": 1}},
        {"judged_at": "yesterday"},
        {"block_start": ["never"]},
        {"excluded": [["2026-01-01"]]},
        {"acted_from": None},
    ],
)
def test_what_cannot_be_asked_says_why(damage: dict[str, Any]) -> None:
    kept = Kept.of(question(rollup(1, before_h=2, after_h=1))).as_json()
    with pytest.raises(QuestionError, match=r"\w"):
        Question.from_json({**kept, **damage})
    for name in damage:
        with pytest.raises(QuestionError, match=name):
            Question.from_json({key: value for key, value in kept.items() if key != name})
