"""What does a day of a very busy server cost to roll up?"""

from __future__ import annotations

import time
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.chunks import Chunk, microseconds, row_of
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.packing import COUNTERS, Cells
from ooda_dagster.ledger.tables import rollup_chunk
from ooda_dagster.loop.history import History
from ooda_dagster_tests.loop.days import NOW, ago, compact, know, midnight, ooda_of

STATEMENTS, MINUTES = 5000, 1440


def dense(ledger: Ledger, days_ago: int) -> None:
    """Every statement in every minute: more than any server does, and than the sampler keeps."""
    ids = np.array(sorted(i for i in ledger.rollups.known_queries("t").values() if i is not None))
    row = np.repeat(np.arange(len(ids)), 60)
    values = dict.fromkeys(COUNTERS, np.zeros(len(row))) | {"n": 1 + row % 7, "sum_ms": row / 100.0 + 0.01}
    cells = Cells(ids, row, np.tile(np.arange(60), len(ids)), values)
    hour = microseconds(midnight(ago(days_ago))) + np.arange(60) * 60_000_000
    rows = [
        row_of("t", "minute", Chunk(hour + n * 3_600_000_000, np.full(60, 60.0), cells)) for n in range(MINUTES // 60)
    ]
    with connection(ledger.engine) as conn:
        conn.execute(sa.insert(rollup_chunk), rows)


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
    assert (day.statements, day.calls, day.total_ms) == (
        hours.statements,
        hours.calls,
        pytest.approx(hours.total_ms, rel=1.2e-2),
    )
    assert (day.grain, hours.grain) == ("minute", "hour")
    assert fresh_s < 60
