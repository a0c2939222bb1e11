"""When does the loop look again, and which hypothesis comes first?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from ooda_dagster.core.cadence import Closed, Delay, due_at, next_delay
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
