"""What does a day of a very busy server cost to roll up?"""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.history import History
from ooda_dagster_tests.loop.days import NOW, ago, ask, compact, know, midnight, ooda_of

STATEMENTS, MINUTES = 5000, 1440


def dense(ledger: Ledger, days_ago: int) -> None:
    """Every statement in every minute: more than any server does, and than the sampler keeps."""
    ask(
        ledger,
        """
        with a as (
            select array_agg(statement_id order by statement_id) as ids,
                   array_agg(1 + statement_id % 7::bigint order by statement_id) as calls,
                   array_agg(statement_id / 100.0::float8 order by statement_id) as ms,
                   array_agg(0::bigint order by statement_id) as zero
            from ooda.statement where target = 't'
        )
        insert into ooda.rollup (target, grain, bucket_start, span_s, statement_ids, calls, total_ms, total_ms_sq, rows,
            blocks_hit, blocks_read, temp_blocks, wal_bytes)
        select 't', 'minute', cast(:since as timestamptz) + m * interval '1 minute', 60, ids, calls, ms, ms,
               zero, zero, zero, zero, zero
        from a, generate_series(0, :minutes - 1) m
        """,
        since=midnight(ago(days_ago)),
        minutes=MINUTES,
    )


@pytest.mark.slow
def test_a_day_of_5000_statements_in_each_of_1440_minutes(ledger: Ledger) -> None:
    know(ledger, count=STATEMENTS)
    for back in (2, 1):
        dense(ledger, back)
    past = History(ooda_of(ledger), clock=lambda: NOW)
    started = time.monotonic()
    past.fill(ago(2))
    fresh_s = time.monotonic() - started
    started = time.monotonic()
    (day,) = past.fill(ago(1)).days
    again_s = time.monotonic() - started
    compact(ledger, now=NOW + timedelta(days=20))
    started = time.monotonic()
    (hours,) = History(ooda_of(ledger), clock=lambda: NOW).fill(ago(1)).days
    hours_s = time.monotonic() - started
    print(f"minutes: {fresh_s:.1f} s, {again_s:.1f} s after another day; hours: {hours_s:.1f} s")
    assert (day.statements, day.calls, day.total_ms) == (hours.statements, hours.calls, pytest.approx(hours.total_ms))
    assert (day.grain, hours.grain) == ("minute", "hour")
    assert fresh_s < 60
