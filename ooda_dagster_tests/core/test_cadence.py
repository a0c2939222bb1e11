"""When does the loop look again, and which hypothesis comes first?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from typing import Any

import pytest

from ooda_dagster.core.cadence import Closed, Delay, Pace, Woken, due_at, jitter_of, next_delay
from ooda_dagster.core.cadence_settings import Cadence
from ooda_dagster.core.prioritise import PastOutcomes, priority
from ooda_dagster.core.verdict import Outcome

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BETTER, WORSE = Outcome.BETTER, Outcome.WORSE
NEUTRAL, UNATTRIBUTED = Outcome.INCONCLUSIVE, Outcome.UNATTRIBUTED


@pytest.mark.parametrize(
    ("closed", "failed", "open_verifications", "minutes", "word"),
    [
        ([(BETTER, 0.79)], 0, 0, 5, "21% faster"),
        ([(BETTER, 0.8)], 0, 0, 15, "20% faster"),  # the document says: more than 20 %
        ([(BETTER, 0.99)], 0, 0, 15, "1% faster"),
        ([(BETTER, 0.9), (BETTER, 0.5), (NEUTRAL, 1.0)], 0, 2, 5, "50% faster"),
        ([(NEUTRAL, 0.5)], 0, 0, 30, "without a difference"),
        ([(UNATTRIBUTED, 0.5)], 0, 1, 30, "without a difference"),
        ([(NEUTRAL, None)], 0, 0, 30, "without a difference"),
        ([(WORSE, 1.1)], 0, 0, 60, "worse"),
        ([(BETTER, 0.1), (WORSE, 1.1)], 0, 0, 60, "worse"),
        ([(BETTER, 0.1)], 1, 0, 60, "1 action failed"),
        ([], 2, 1, 60, "2 actions failed"),
        ([], 0, 1, 30, "verification open"),
        ([], 0, 0, 30, "nothing changed"),
    ],
)
def test_the_delay_follows_from_what_closed(
    closed: list[tuple[Outcome, float | None]], failed: int, open_verifications: int, minutes: int, word: str
) -> None:
    delay = next_delay([Closed(*c) for c in closed], failed=failed, open_verifications=open_verifications)
    assert delay.minutes == minutes
    assert word in delay.reason


#: What closes in a cycle, by the word of a course.
COURSE: dict[str, dict[str, Any]] = {
    "high": {"closed": [Closed(BETTER, 0.5)]},
    "gain": {"closed": [Closed(BETTER, 0.9)]},
    "neutral": {"closed": [Closed(NEUTRAL, None)]},
    "nothing": {"closed": []},
    "open": {"closed": [], "open_verifications": 1},
    "worse": {"closed": [Closed(WORSE, 1.5)]},
    "failed": {"closed": [], "failed": 1},
    "alarm": {"closed": [], "woken": Woken.ALARM},
    "hand": {"closed": [], "woken": Woken.HAND},
}


def course(words: str, policy: Cadence | None = None) -> list[int]:
    """Delays after cycles of which each is told by a word."""
    pace, delays = Pace(), []
    for word in words.split():
        delay = next_delay(**COURSE[word], before=pace, policy=policy or Cadence())
        # The pace is what survives in the ledger.
        pace = Pace.model_validate_json(delay.pace.model_dump_json(by_alias=True))
        delays.append(delay.minutes)
    return delays


@pytest.mark.parametrize(
    ("words", "minutes"),
    [
        ("nothing " * 8, [30, 30, 60, 120, 240, 240, 240, 240]),
        ("neutral nothing neutral nothing", [30, 30, 60, 120]),
        ("worse " * 8, [60, 120, 240, 480, 960, 1440, 1440, 1440]),
        ("worse failed worse", [60, 120, 240]),
        ("worse open open worse", [60, 30, 30, 120]),  # a verdict takes its time: that is no good cycle
        ("nothing nothing open nothing nothing", [30, 30, 30, 30, 30]),
        ("worse neutral worse", [60, 30, 60]),
        ("worse gain worse", [60, 15, 60]),
        ("nothing nothing gain nothing nothing", [30, 30, 15, 30, 30]),
        ("nothing nothing worse nothing nothing", [30, 30, 60, 30, 30]),
        ("hand hand hand hand", [30, 30, 30, 30]),  # asking often makes nothing quiet
        ("nothing nothing nothing nothing hand nothing", [30, 30, 60, 120, 120, 240]),
    ],
)
def test_repeated_cycles_of_a_kind_back_off(words: str, minutes: list[int]) -> None:
    assert course(words) == minutes


def test_a_delay_that_grew_says_why() -> None:
    delay = next_delay([], before=Pace(minutes=60, neutral=3))
    assert delay.reason == "nothing changed, for 4 cycles in a row: 120 min instead of 30"
    eased = next_delay([Closed(BETTER, 0.5)], before=Pace(minutes=240, neutral=6))
    assert eased.reason == (
        "an action made its statements 50% faster; from 240 min it comes down step by step, to 60 instead of 5"
    )


def test_one_good_cycle_does_not_make_a_quiet_loop_hasty_nor_a_hasty_one_quiet() -> None:
    quiet = "nothing " * 5
    assert course(quiet + "high high high")[4:] == [240, 60, 5, 5]
    assert course(quiet + "high nothing nothing nothing")[4:] == [240, 60, 30, 30, 60]
    assert course("high nothing high nothing high nothing") == [5, 30, 5, 30, 5, 30]


def test_no_course_flaps_between_the_longest_and_the_shortest_delay() -> None:
    """Of all courses of six cycles after a quiet time: none falls by more than the factor; up it goes by doubling."""
    for words in product(("high", "nothing", "open", "worse"), repeat=6):
        delays = course("nothing " * 5 + " ".join(words))
        for before, after in pairwise(delays):
            assert after >= before / 4 or before <= 60, words
            assert after <= max(60, 2 * before) or "worse" in words, words


def test_an_alarm_ends_a_back_off_at_once() -> None:
    assert course("nothing " * 6 + "alarm nothing nothing") == [30, 30, 60, 120, 240, 240, 30, 30, 60]


def test_the_table_is_a_setting() -> None:
    policy = Cadence(
        high_gain_minutes=1, gain_minutes=2, neutral_minutes=3, regressed_minutes=4, failed_minutes=7, neutral_cycles=99
    )
    assert course("high gain neutral worse open nothing", policy) == [1, 2, 3, 4, 3, 3]
    assert course("failed", policy) == [7]
    assert course("high", Cadence(high_gain_share=0.5)) == [15]


def test_a_base_beyond_the_bound_of_the_back_off_is_not_shortened_by_it() -> None:
    assert course("nothing " * 4, Cadence(neutral_minutes=300)) == [300] * 4


def test_jitter_is_a_cycles_own_and_spreads_over_its_range() -> None:
    drawn = [jitter_of(f"t/{n}", 0.1) for n in range(2000)]
    assert drawn == [jitter_of(f"t/{n}", 0.1) for n in range(2000)]
    assert -0.1 <= min(drawn) < -0.099
    assert 0.099 < max(drawn) <= 0.1
    assert abs(sum(drawn)) / 2000 < 0.005
    assert jitter_of("t/1", 0.0) == 0


@pytest.mark.parametrize("minutes", [5, 15, 30, 60, 240, 1440])
def test_with_jitter_a_due_time_is_a_full_minute_within_a_tenth(minutes: int) -> None:
    dues = {due_at(NOON, Delay(minutes, ""), jitter_of(str(n), 0.1)) for n in range(500)}
    assert all((due.second, due.microsecond) == (0, 0) for due in dues)
    waits = sorted((due - NOON) / timedelta(minutes=1) for due in dues)
    assert waits[0] >= 0.9 * minutes
    assert waits[-1] < 1.1 * minutes + 1
    assert len(waits) >= min(minutes // 5, 30)


@pytest.mark.parametrize("minutes", [5, 15, 30, 60])
@pytest.mark.parametrize("second", [0, 0.000001, 0.5, 59.999999])
def test_due_times_are_full_minutes_and_never_early(minutes: int, second: float) -> None:
    now = NOON + timedelta(seconds=second)
    due = due_at(now, Delay(minutes, ""))
    assert (due.second, due.microsecond, due.tzinfo) == (0, 0, UTC)
    assert timedelta(0) <= due - now - timedelta(minutes=minutes) < timedelta(minutes=1)


def test_a_delay_that_ends_on_a_full_minute_is_not_stretched() -> None:
    assert due_at(NOON, Delay(5, "")) == NOON + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.2, 5),
        (0.199, 4),
        (0.08, 4),
        (0.0799, 3),
        (0.02, 3),
        (0.0199, 2),
        (0.005, 2),
        (0.0049, 1),
        (0.0, 1),
        (-1.0, 1),
    ],
)
def test_priority_follows_from_the_share_of_time_saved(share: float, expected: int) -> None:
    assert priority(share) == expected


def test_priority_is_always_from_1_to_5() -> None:
    shares = (-1e9, -0.1, 0.0, 0.005, 0.02, 0.08, 0.2, 1.0, 1e9, float("nan"), float("inf"))
    pasts = (None, PastOutcomes(), PastOutcomes(worse=9, failed=9), PastOutcomes(better=99))
    for share, estimate, past in product(shares, (False, True), pasts):
        assert priority(share, evidence_is_estimate=estimate, past=past) in range(1, 6), (share, estimate, past)


def test_an_estimate_and_a_type_that_did_harm_cost_one_step_each() -> None:
    harmed = PastOutcomes(better=1, worse=1, failed=1)
    assert priority(0.5, evidence_is_estimate=True) == 4
    assert priority(0.5, past=harmed) == 4
    assert priority(0.5, evidence_is_estimate=True, past=harmed) == 3


def test_as_many_gains_as_losses_cost_nothing() -> None:
    assert priority(0.5, past=PastOutcomes(better=2, worse=1, failed=1)) == 5
