"""Does the audit of verdicts find a false rate that is there, count what is independent, and raise the bar for it?"""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from ooda_dagster.core.placebo import (
    PROMISED,
    Rate,
    TooLittleHistoryError,
    audit,
    effective_number,
    needed_bar,
)
from ooda_dagster.core.settings import Verifying
from ooda_dagster_tests.core.simulated import ACTED_AT, rollup

#: Blocks of a minute, so that a day holds many verdicts.
CHEAP = Verifying(block_s=60, baseline_h=3, min_baseline_h=1, deadline_s=1800)


def _history(seed: int, hours: float = 12) -> pd.DataFrame:
    return rollup(seed, before_h=hours, after_h=0)


def test_where_verdicts_hold_what_they_promise_the_bar_stays() -> None:
    found = audit(_history(1), policy=CHEAP, number=30, seed=1)
    assert found.placebos == 30
    assert found.false.count <= 1
    assert found.false.low <= PROMISED
    assert found.false.high > PROMISED, "no false verdict in so few is no proof"
    assert (found.needed_e, found.needed_revert_e) == (CHEAP.decide_e, CHEAP.revert_e)


def test_placebos_of_the_same_hours_are_worth_less_than_their_number() -> None:
    """Of twenty in each half hour that all see the same, as many count as there are half hours, or about so many."""
    chance = np.random.default_rng(2)
    moments = [ACTED_AT + timedelta(minutes=1.5 * n) for n in range(1000)]
    apart, together = chance.normal(size=1000), np.repeat(chance.normal(size=50), 20)
    assert effective_number(moments, apart, 1800, chance) > 500
    assert 20 <= effective_number(moments, together, 1800, chance) <= 100


@pytest.mark.parametrize(
    ("low", "bar", "expected"),
    [
        (0.009, 100, 100),  # perhaps more than is promised, and not surely
        (0.011, 100, math.exp(9.9)),
        (0.011, 1e5, 1e5),  # a bar is never lowered
    ],
)
def test_where_they_do_not_the_bar_goes_up_to_what_one_in_a_hundred_reaches(
    low: float, bar: float, expected: float
) -> None:
    log_e = list(np.linspace(0, 10, 1001))
    assert needed_bar(Rate(50, 0.05, low, 0.1), log_e, PROMISED, bar) == pytest.approx(expected, rel=1e-6)


def test_the_same_seed_gives_the_same_audit_and_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    one = audit(_history(4), policy=CHEAP, number=5, seed=4, progress=lambda done, of: told.append((done, of)))
    assert one == audit(_history(4), policy=CHEAP, number=5, seed=4)
    assert told == [(n, 5) for n in range(1, 6)]


def test_an_audit_that_is_stopped_has_looked_at_all_of_the_history() -> None:
    asked: list[int] = []

    def enough() -> bool:
        asked.append(1)
        return len(asked) >= 12

    found = audit(_history(4), policy=CHEAP, number=200, seed=4, enough=enough)
    assert found.placebos == 12
    # Twelve moments of six hours: in time order the first twelve of two hundred would lie within half an hour.
    assert found.until - found.since > timedelta(hours=3)


def test_too_little_history_says_how_much_is_needed() -> None:
    with pytest.raises(TooLittleHistoryError, match=r"1\.2 h of history; 1\.5 h and more are needed"):
        audit(_history(5, hours=1.25), policy=CHEAP, number=20)
    few = _history(5)
    with pytest.raises(TooLittleHistoryError, match="2 statements without an action were called; 4 are needed"):
        audit(few[few["fingerprint"].isin(["t1", "c1"])], policy=CHEAP, number=20)
    with pytest.raises(TooLittleHistoryError, match=r"0\.0 min of history"):
        audit(few.iloc[:0], policy=CHEAP, number=20)
