"""Is what failed or did harm remembered for its window, by type, and then forgotten?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ooda_dagster.core.prioritise import Ended, PastOutcomes, failures, past_outcomes, priority
from ooda_dagster.core.settings import Acting
from ooda_dagster.core.verdict import Outcome

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ACTING = Acting(max_type_failures=3, type_memory_h=24, failure_memory_h=168)
INDEX = "IndexOptimization"


def failed(hours_ago: float, action_type: str = INDEX) -> Ended:
    return Ended(action_type, NOW - timedelta(hours=hours_ago), None, failed=True)


def better(hours_ago: float) -> Ended:
    return Ended(INDEX, NOW - timedelta(hours=hours_ago), Outcome.BETTER)


def worse(hours_ago: float) -> Ended:
    return Ended(INDEX, NOW - timedelta(hours=hours_ago), Outcome.WORSE)


def of(*ended: Ended, now: datetime = NOW) -> PastOutcomes:
    return past_outcomes(ended, INDEX, now, ACTING)


def test_after_so_many_failures_of_a_type_its_priority_falls_and_after_the_window_it_recovers() -> None:
    gains = [better(30 + n) for n in range(10)]  # outweigh the failures: only that there are many counts
    ended = [*gains, failed(3), worse(2), failed(1)]
    assert priority(0.5, past=of(*ended[:-1])) == 5
    assert priority(0.5, past=of(*ended)) == 4
    for hours, expected in ((20.9, 4), (21.1, 5), (1000, 5)):  # the oldest of them leaves after 24 h
        assert priority(0.5, past=of(*ended, now=NOW + timedelta(hours=hours))) == expected, hours


def test_it_falls_again_with_new_failures_and_is_no_latch() -> None:
    old = [failed(48), failed(47), failed(46)]
    assert not of(*old).repeated
    assert not of(*old, failed(2), failed(1)).repeated
    assert of(*old, failed(3), failed(2), failed(1)).repeated


def test_another_type_s_failures_count_for_nothing() -> None:
    assert of(*(failed(n, "StatisticsUpdate") for n in range(1, 9))) == PastOutcomes()
    assert list(failures([failed(1), failed(2, "StatisticsUpdate"), better(3)])) == [INDEX, "StatisticsUpdate"]


@pytest.mark.parametrize(("hours", "count"), [(167.9, 1), (168, 0)])
def test_an_outcome_is_remembered_for_its_window(hours: float, count: int) -> None:
    past = of(better(hours), worse(hours), failed(hours))
    assert (past.better, past.worse, past.failed) == (count, count, count)
