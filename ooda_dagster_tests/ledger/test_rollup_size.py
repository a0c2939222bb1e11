"""Do the rollups of a busy server stay small, on disk, with all that PostgreSQL adds and what is dead?

benchmarks/rollups.py has the whole retention under a day of churn, and other worlds; here one day stands for the rest.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from ooda_dagster.core.settings import Sampling
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.ledger.ground import NOW, ask, samples, statements
from ooda_dagster_tests.ledger.traffic import minutes

STATEMENTS, HOURS = 5000, 6
#: Kept of each grain at once, days: minutes, then blocks until they are 8 days old, then hours.
DAYS = {"minute": 1, "block": 7, "hour": 392}


def _packed_bytes(ledger: Ledger) -> dict[str, tuple[int, float]]:
    """grain → buckets, and bytes of their rows and of what they hold, with TOAST's share."""
    size = "octet_length(data) * 1.03 + pg_column_size(starts) + pg_column_size(spans_s) + pg_column_size(called) + 100"
    text = f"select grain, sum(cardinality(starts))::int, sum({size})::float8 from ooda.rollup_chunk group by 1"
    return {grain: (buckets, total) for grain, buckets, total in ask(ledger, text)}


@pytest.mark.slow
@pytest.mark.parametrize(("world", "bar_mb"), [("zipf", 200), ("random", 200), ("noise", 300)])
def test_rollups_of_5000_statements_of_which_a_fifth_runs_in_any_minute_stay_under_300_mb(
    known: Ledger, world: str, bar_mb: float
) -> None:
    """Whole hours as sampled and compacted, each grain by what a day of it takes. No server is like `noise`."""
    ids = np.array(list(statements(known, STATEMENTS).values()))
    samples(known, list(minutes(world, ids, HOURS * 60)), since=NOW)
    per_day = {}
    for grain, per, later in (
        ("minute", 1440, timedelta(hours=HOURS)),
        ("block", 288, timedelta(days=2)),
        ("hour", 24, timedelta(days=10)),
    ):
        known.rollups.compact("t", now=NOW + later, policy=Sampling())
        assert _packed_bytes(known).keys() == {grain}
        buckets, total = _packed_bytes(known)[grain]
        per_day[grain] = total / buckets * per
    kept = sum(per_day[grain] * days for grain, days in DAYS.items())
    print(world, {grain: f"{size / 1e6:.2f} MB a day" for grain, size in per_day.items()}, f"kept: {kept / 1e6:.0f} MB")
    assert kept < bar_mb * 1e6


@pytest.mark.slow
def test_on_disk_an_hour_of_samples_leaves_little_behind(known: Ledger) -> None:
    """Rows of minutes come and go: with the vacuums that autovacuum would do, the table does not grow by them."""
    ask(known, "truncate ooda.rollup_chunk")  # of what other tests left dead
    ids = np.array(list(statements(known, STATEMENTS).values()))
    frames = list(minutes("random", ids, 60))
    sizes = []
    for hour in range(8):
        samples(known, frames, since=NOW)
        known.rollups.compact("t", now=NOW + timedelta(hours=hour + 1), policy=Sampling())
        with known.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            conn.exec_driver_sql("vacuum ooda.rollup_chunk")
        sizes.append(ask(known, "select pg_total_relation_size('ooda.rollup_chunk')")[0][0])
    packed = _packed_bytes(known)["minute"][1]
    print([f"{size / 1e6:.1f}" for size in sizes], f"{packed / 1e6:.1f} MB packed")
    assert sizes[-1] < packed + 1.5 * packed / 8 + 1e6


def test_a_day_of_a_small_database_is_small(known: Ledger) -> None:
    ids = np.array(list(statements(known, 200).values()))
    samples(known, list(minutes("random", ids, 20)), since=NOW)
    known.rollups.compact("t", now=NOW + timedelta(hours=1), policy=Sampling())
    buckets, total = _packed_bytes(known)["minute"]
    print(f"{total / buckets * 1440 / 1e6:.2f} MB/day in minutes")
    assert total / buckets * 1440 < 1e6


def test_the_table_is_vacuumed_before_it_is_full_of_dead_chunks(known: Ledger) -> None:
    text = "select reloptions from pg_class where oid = {}"
    main = ask(known, text.format("'ooda.rollup_chunk'::regclass"))
    toast = ask(
        known,
        text.format("(select reltoastrelid from pg_class where oid = 'ooda.rollup_chunk'::regclass)"),
    )
    for options, threshold in ((main, 200), (toast, 3000)):
        assert set(options[0][0]) == {
            "autovacuum_vacuum_scale_factor=0",
            f"autovacuum_vacuum_threshold={threshold}",
        }


def test_a_frame_is_ordered_by_time_and_names_statements_once(known: Ledger) -> None:
    ids = np.array(list(statements(known, 200).values()))
    samples(known, list(minutes("random", ids, 30, share=1.0)), since=NOW)
    known.rollups.compact("t", now=NOW + timedelta(hours=4), policy=Sampling())
    frame = known.rollups.frame("t", NOW, NOW + timedelta(hours=4))
    assert len(frame) == 200 * 30
    assert isinstance(frame["fingerprint"].dtype, pd.CategoricalDtype)
    assert frame["minute"].is_monotonic_increasing
    assert frame.groupby("fingerprint", observed=True).size().eq(30).all()
