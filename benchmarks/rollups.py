"""What do rollups cost? Bytes of a full retention and after a day of churn, seconds to read, CPU of a verdict.

Starts a ledger of its own. A retention is filled with days of simulated traffic (ooda_dagster_tests/ledger/traffic.py),
packed as compaction packs them; then hours go by as the sampler stores and compacts them, with a vacuum whenever
autovacuum would have come. Sizes are PostgreSQL's, with indexes, TOAST and what is dead.

    .venv/bin/python benchmarks/rollups.py [--worlds zipf random noise] [--statements 5000] [--churn-hours 24]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa

from ooda_dagster.config.servers import ledger_cluster
from ooda_dagster.core.settings import Sampling
from ooda_dagster.core.verdict import judge
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.chunks import Chunk, combined, microseconds, one_bucket, row_of
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.packing import COUNTERS, Cells
from ooda_dagster.ledger.rollups import Snapshot
from ooda_dagster.ledger.tables import rollup_chunk
from ooda_dagster_tests.ledger.traffic import WORLDS, minutes

NOW = datetime(2026, 3, 2, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DAYS = 2  # that are simulated; others are these again, as each chunk is packed by itself
BAR_MB = 300
_STRETCH = {"minute": HOUR, "block": 6 * HOUR, "hour": DAY}


def known(ledger: Ledger, name: str, statements: int) -> np.ndarray:
    """Register a target with so many statements."""
    ledger.cycles.register(name, kind="postgres", mode="propose", now=NOW)
    found = [(n, f"f{n:015x}", "select", f"select {n} from t where a = $1") for n in range(1, statements + 1)]
    ledger.rollups.learn_queries(name, found)
    return np.array(sorted(i for i in ledger.rollups.known_queries(name).values() if i is not None))


def day_of(world: str, ids: np.ndarray, seed: int) -> dict[str, list[Chunk]]:
    """A simulated day that begins with NOW as compaction leaves it: grain → its chunks."""
    buckets = [
        one_bucket(NOW + n * MINUTE, 60.0, frame["statement_id"].to_numpy(), {c: frame[c].to_numpy() for c in COUNTERS})
        for n, frame in enumerate(minutes(world, ids, 1440, seed=seed))
    ]
    found = {"minute": [combined(buckets[n : n + 60]) for n in range(0, 1440, 60)]}
    blocks = [combined(found["minute"][n : n + 6], 5 * MINUTE) for n in range(0, 24, 6)]
    return found | {"block": blocks, "hour": [combined(blocks, HOUR)]}


def shifted(row: dict[str, object], by: timedelta) -> dict[str, object]:
    """The row of a chunk at another time."""
    starts = [at + by for at in row["starts"]]  # type: ignore[attr-defined]
    return row | {"starts": starts, "first_start": starts[0], "last_start": starts[-1]}


def fill(ledger: Ledger, name: str, days: Sequence[dict[str, list[Chunk]]], policy: Sampling) -> None:
    """All three grains, as long as each is kept, up to NOW."""
    minutes_d, blocks_d, hours_d = policy.keep_minutes_h / 24, policy.keep_blocks_d, policy.keep_hours_d
    for grain, first, last in (("minute", minutes_d, 0), ("block", blocks_d, minutes_d), ("hour", hours_d, blocks_d)):
        packed = [[row_of(name, grain, chunk) for chunk in day[grain]] for day in days]
        for back in range(int(first), int(last), -1):
            with connection(ledger.engine) as conn:
                rows = [shifted(row, -back * DAY) for row in packed[back % len(packed)]]
                conn.execute(sa.insert(rollup_chunk), rows)


def churn(ledger: Ledger, name: str, world: str, ids: np.ndarray, hours: int) -> tuple[float, float, int]:
    """Sample and compact; CPU seconds of our own by sample, by compaction, and how often a vacuum came."""
    storing, compacting, vacuums = [], [], 0
    before = Snapshot(NOW, {}, b"")
    assert ledger.rollups.store(name, previous=None, current=before, frame=pd.DataFrame())
    for number, frame in enumerate(minutes(world, ids, hours * 60, seed=99), 1):
        after = Snapshot(NOW + number * MINUTE, {}, b"")
        storing.append(
            cpu(lambda b=before, a=after, f=frame: ledger.rollups.store(name, previous=b, current=a, frame=f))
        )
        before = after
        if number % 60 == 0:
            now = after.taken_at
            compacting.append(cpu(lambda n=now: ledger.rollups.compact(name, now=n, policy=Sampling())))
            vacuums += vacuum_when_due(ledger)
    return statistics.mean(storing), statistics.mean(compacting), vacuums


def vacuum_when_due(ledger: Ledger) -> bool:
    """What autovacuum would do, by the thresholds of the table."""
    with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.exec_driver_sql("select pg_stat_force_next_flush()")
        dead = conn.exec_driver_sql(
            "select pg_stat_get_dead_tuples(reltoastrelid) from pg_class where oid = 'ooda.rollup_chunk'::regclass"
        ).scalar_one()
        if dead < 3000:
            return False
        conn.exec_driver_sql("vacuum ooda.rollup_chunk")
        return True


def size(ledger: Ledger) -> int:
    """Bytes of the rollups on disk."""
    with connection(ledger.engine) as conn:
        return conn.exec_driver_sql("select pg_total_relation_size('ooda.rollup_chunk')").scalar_one()


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def three_days(ledger: Ledger, name: str, statements: int) -> np.ndarray:
    """Every statement in every bucket: a day in minutes, the two days before in blocks."""
    ids = known(ledger, name, statements)
    chance = np.random.default_rng(5)
    usual = chance.lognormal(0, 1.5, statements)
    for grain, since, until, width in (("block", 3 * DAY, DAY, 5), ("minute", DAY, timedelta(0), 1)):
        begin = NOW - since
        while begin < NOW - until:
            count = _STRETCH[grain] // (width * MINUTE)
            row = np.repeat(np.arange(statements), count)
            n = 1 + chance.poisson(20 * width, len(row))
            ms = n * usual[row] * chance.lognormal(0, 0.1, len(row))
            values = dict.fromkeys(COUNTERS, n * 1.0) | {"n": n, "sum_ms": ms, "sum_ms_sq": 1.5 * ms**2 / n}
            starts = microseconds(begin) + np.arange(count) * width * 60_000_000
            cells = Cells(ids, row, np.tile(np.arange(count), statements), values)
            chunk = Chunk(starts, np.full(count, 60.0 * width), cells)
            with connection(ledger.engine) as conn:
                conn.execute(sa.insert(rollup_chunk).values(row_of(name, grain, chunk)))
            begin += _STRETCH[grain]
    return ids


def loading(ledger: Ledger, statements: int, repeats: int = 7) -> dict[str, float]:
    """Medians, in seconds and milliseconds, of reading three days of some statements, and of a verdict on them."""
    name = f"load{statements}"
    three_days(ledger, name, statements)
    wall, own, verdict = [], [], []
    frame = pd.DataFrame()
    for _ in range(repeats):
        began, used = time.perf_counter(), time.process_time()
        frame = ledger.rollups.frame(name, NOW - 3 * DAY, NOW)
        own.append(time.process_time() - used)
        wall.append(time.perf_counter() - began)
        treated = [f"f{n:015x}" for n in range(1, statements // 5)]
        verdict.append(cpu(lambda f=frame, t=treated: judge(f, acted_at=NOW - HOUR, treated=t, now=NOW)))
    return {
        "rows": len(frame),
        "wall_s": statistics.median(wall),
        "cpu_s": statistics.median(own),
        "verdict_ms": 1000 * statistics.median(verdict),
        "verdict_best_ms": 1000 * min(verdict),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS), choices=WORLDS)
    parser.add_argument("--statements", type=int, default=5000)
    parser.add_argument("--churn-hours", type=int, default=24)
    parser.add_argument("--load", type=int, nargs="*", default=[40, 200, 2000])
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="ooda-bench-", dir="/var/tmp"))
    home.chmod(0o755)
    cluster = ledger_cluster(home)
    try:
        cluster.start()
        for world in arguments.worlds:
            with opened(cluster, world) as ledger:
                print(bytes_of(ledger, world, arguments.statements, arguments.churn_hours), flush=True)
        with opened(cluster, "load") as ledger:
            for statements in arguments.load:
                found = loading(ledger, statements)
                print(
                    "{n} statements × 3 days: {rows:,.0f} rows in {wall_s:.2f} s, {cpu_s:.2f} s of CPU; a verdict on "
                    "them {verdict_ms:.0f} ms of CPU ({verdict_best_ms:.0f} at best)".format(n=statements, **found),
                    flush=True,
                )
    finally:
        cluster.destroy()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def opened(cluster: Cluster, name: str) -> Iterator[Ledger]:
    """A ledger in a database of its own."""
    cluster.create_database(name)
    ledger = Ledger(cluster.dsn(name))
    ledger.migrate()
    try:
        yield ledger
    finally:
        ledger.close()
        cluster.drop_database(name)


def bytes_of(ledger: Ledger, world: str, statements: int, churn_hours: int) -> str:
    """One line on a world's size."""
    ids = known(ledger, "t", statements)
    days = [day_of(world, ids, seed) for seed in range(DAYS)]
    cells = {
        grain: sum(len(c.cells.row) for d in days for c in d[grain]) / DAYS for grain in ("minute", "block", "hour")
    }
    fill(ledger, "t", days, Sampling())
    with connection(ledger.engine) as conn:
        query = "select grain, sum(octet_length(data)) from ooda.rollup_chunk group by 1"
        packed = {grain: float(total) / 1e6 for grain, total in conn.exec_driver_sql(query)}
    fresh = size(ledger)
    store_s, compact_s, vacuums = churn(ledger, "t", world, ids, churn_hours)
    after = size(ledger)
    grains = ", ".join(f"{grain}s {cells[grain] / 1000:,.0f}k cells a day, {packed[grain]:.0f} MB" for grain in packed)
    return (
        f"{world}: {fresh / 1e6:.0f} MB full, {after / 1e6:.0f} MB after {churn_hours} h of churn ({vacuums} vacuums; "
        f"bar {BAR_MB}); {grains}; CPU of a sample {1000 * store_s:.0f} ms, of an hour's "
        f"compaction {compact_s:.2f} s"
    )


if __name__ == "__main__":
    main()
