"""Is what got slower told, and nothing else?"""

from __future__ import annotations

from datetime import UTC, date, datetime

from ooda_dagster.core.workload_day import Work, bounds, slower


def told(now: Work, before: Work | None, week: Work | None = None) -> list[dict[str, object]]:
    earlier = {"the day before": {"s": before} if before else {}, "a week before": {"s": week} if week else {}}
    return slower({"s": now}, earlier, min_calls=25, floor_ms=1000)


def test_a_statement_that_became_twice_as_slow_is_told_with_what_it_costs() -> None:
    (row,) = told(Work(1000, 4000.0), Work(500, 1000.0))
    assert row == {
        "fingerprint": "s",
        "against": "the day before",
        "mean_ms": 4.0,
        "was_ms": 2.0,
        "calls": 1000,
        "lost_ms": 2000.0,
    }


def test_it_is_told_once_against_the_worse_of_both_days() -> None:
    (row,) = told(Work(1000, 4000.0), Work(500, 1000.0), Work(500, 500.0))
    assert (row["against"], row["was_ms"]) == ("a week before", 1.0)


def test_a_little_slower_too_few_calls_or_too_little_time_is_not_told() -> None:
    assert told(Work(1000, 2900.0), Work(500, 1000.0)) == []
    assert told(Work(24, 40_000.0), Work(500, 1000.0)) == []
    assert told(Work(1000, 40_000.0), Work(24, 24.0)) == []
    assert told(Work(100, 900.0), Work(500, 1000.0)) == []
    assert told(Work(1000, 40_000.0), None) == []


def test_a_day_is_one_of_utc() -> None:
    assert bounds(date(2026, 3, 1)) == (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
