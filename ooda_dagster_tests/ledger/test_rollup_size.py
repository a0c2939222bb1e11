"""How large do the rollups of a busy server become?"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from ooda_dagster.core.settings import Sampling
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.rollups import COUNTERS
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, ask, samples, statements

pytestmark = pytest.mark.slow
STATEMENTS, SHARE, HOURS = 5000, 0.2, 2


def _bucket(ids: np.ndarray, source: np.random.Generator) -> pd.DataFrame:
    """A fifth of the statements: few are called often, most of those once or twice."""
    chosen = np.sort(source.choice(ids, int(len(ids) * SHARE), replace=False))
    n = np.minimum(source.zipf(1.7, len(chosen)), 100_000)
    mean = source.lognormal(0, 1.5, len(chosen))
    frame = pd.DataFrame({"statement_id": chosen, "n": n, "sum_ms": n * mean, "sum_ms_sq": n * mean**2 * 1.3})
    frame["rows"] = n * source.integers(0, 20, len(chosen))
    frame["blocks_hit"] = n * source.integers(1, 200, len(chosen))
    frame["blocks_read"] = (source.random(len(chosen)) < 0.1) * n
    frame["temp_blocks"] = 0
    frame["wal_bytes"] = (source.random(len(chosen)) < 0.2) * n * 180.0
    return frame[["statement_id", *COUNTERS]]


def _bytes(ledger: Ledger) -> dict[str, tuple[int, float]]:
    """grain → buckets, and bytes as they are stored; the row's header counted in."""
    columns = ["statement_ids", *COUNTERS.values()]
    size = " + ".join(f"pg_column_size({c})" for c in columns)
    rows = ask(ledger, f"select grain, count(*), sum({size} + 80)::float8 from ooda.rollup group by 1")
    return {grain: (buckets, total) for grain, buckets, total in rows}


def test_rollups_of_5000_statements_stay_under_10_gb(known: Ledger) -> None:
    """5,000 statements of which 20 % run in a minute, all at random: the worst that is plausible."""
    source = np.random.default_rng(1)
    ids = np.array(list(statements(known, STATEMENTS).values()))
    since = NOW - timedelta(hours=HOURS)
    samples(known, [_bucket(ids, source) for _ in range(HOURS * 60)], since=since)
    per_day = {}
    for grain, per in (("minute", 1440), ("block", 288), ("hour", 24)):
        if grain != "minute":
            later = {"block": timedelta(days=1, hours=1), "hour": timedelta(days=9)}[grain]
            known.rollups.compact("t", now=NOW + later, policy=Sampling())
        buckets, total = _bytes(known)[grain]
        assert _bytes(known).keys() == {grain}
        per_day[grain] = total / buckets * per
    kept = per_day["minute"] + 8 * per_day["block"] + 400 * per_day["hour"]
    table = ask(known, "select pg_total_relation_size('ooda.rollup')")[0][0]
    print({grain: f"{size / 1e6:.1f} MB/day" for grain, size in per_day.items()}, f"kept: {kept / 1e9:.2f} GB", table)
    assert per_day["minute"] < 100e6
    assert kept < 10e9


def test_a_day_of_a_small_database_is_small(known: Ledger) -> None:
    source = np.random.default_rng(1)
    ids = np.array(list(statements(known, 200).values()))
    samples(known, [_bucket(ids, source) for _ in range(60)], since=NOW, every=MINUTE)
    buckets, total = _bytes(known)["minute"]
    print(f"{total / buckets * 1440 / 1e6:.1f} MB/day in minutes")
    assert total / buckets * 1440 < 6e6
