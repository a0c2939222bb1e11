"""Record the traffic of a real server for benchmarks/verdicts.py: what its calls took, block by block.

The demonstration's statements on the embedded PostgreSQL, with the indexes that it lacks, at a steady offered rate,
each call timed by its client. A second service on the same database comes and goes at random, and load with it;
checkpoints, vacuum, the caches and whatever else runs on the machine do the rest. A block of a few seconds stands for
one of five minutes: 70 minutes make five days.

    .venv/bin/python benchmarks/record_traffic.py [--minutes 70] [--block-s 3] [--rate 2.5] [--to FILE]
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg
from verdict_replay import RECORDED, store

from ooda_dagster.config.servers import APP_ROLE, make_roles, target_cluster
from ooda_dagster.demo.load import prepare
from ooda_dagster.demo.planted import plan
from ooda_dagster.demo.traffic import Traffic
from ooda_dagster.embedded import stop_started
from ooda_dagster.targets.postgres.queries import trusted

_DATABASE, _SEED = "inference", 1
_WARM_UP_S = 30.0
_TELL_S = 60.0


def rolled_up(calls: np.ndarray, names: list[str], block_s: float) -> pd.DataFrame:
    """Columns block, statement, n, and mean and sd of ms and of log ms; of whole blocks, and calls that succeeded."""
    calls = calls[calls["ok"]]
    block = ((calls["ended"] - calls["ended"].min()) // block_s).astype(int)
    ms = calls["ms"].astype(float)
    frame = pd.DataFrame({"block": block, "statement": calls["statement"], "ms": ms, "log": np.log(ms)})
    found = (
        frame[frame["block"] < block.max()]
        .groupby(["block", "statement"], as_index=False)
        .agg(
            n=("ms", "size"),
            mean_ms=("ms", "mean"),
            sd_ms=("ms", lambda x: float(np.std(x))),
            mean_log=("log", "mean"),
            sd_log=("log", lambda x: float(np.std(x))),
        )
    )
    return found.assign(statement=np.array(names)[found["statement"]])


def record(minutes: float, rate: float, block_s: float) -> pd.DataFrame:
    the_plan = plan(_SEED)
    cluster = target_cluster()
    cluster.start()
    make_roles(cluster)
    prepare(cluster, _DATABASE, the_plan, say=print)
    with psycopg.connect(cluster.dsn(_DATABASE), autocommit=True) as connection:
        for ddl in the_plan.truth:
            connection.execute(trusted(ddl))
    dsn, seconds = cluster.dsn(_DATABASE, user=APP_ROLE), minutes * 60
    offered = sum(s.rate for s in Traffic(dsn, _SEED).statements) * rate
    traffic = Traffic(dsn, _SEED, rate=rate, capacity=round(offered * (seconds + 2 * _WARM_UP_S) * 1.05))
    traffic.start()
    try:
        time.sleep(_WARM_UP_S)
        began = time.time()
        _beside(dsn, began + seconds, traffic)
        calls = traffic.recorded()
    finally:
        traffic.stop()
    return rolled_up(calls[calls["ended"] >= began], [s.name for s in traffic.statements], block_s)


def _beside(dsn: str, until: float, traffic: Traffic) -> None:
    """Another service that comes and goes, more or less of it each time."""
    chance, told_at = random.Random(_SEED), time.time()
    while time.time() < until:
        other = Traffic(dsn, chance.randrange(1000), rate=chance.uniform(0.3, 1.5))
        pauses = [chance.expovariate(1 / 45), chance.expovariate(1 / 45)]
        time.sleep(min(pauses[0], max(0.0, until - time.time())))
        other.start()
        try:
            time.sleep(min(pauses[1], max(0.0, until - time.time())))
        finally:
            other.stop()
        if not traffic.alive:
            raise SystemExit("the traffic ended")
        if time.time() - told_at > _TELL_S:
            told_at = time.time()
            print(f"{traffic.calls} calls; {max(0.0, until - time.time()) / 60:.0f} min left", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=70)
    parser.add_argument("--block-s", type=float, default=3, help="seconds that stand for five minutes")
    parser.add_argument("--rate", type=float, default=2.5, help="calls, as a multiple of the demonstration's")
    parser.add_argument("--to", type=Path, default=RECORDED)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ooda-bench-") as home:
        os.environ["OODA_HOME"] = home
        try:
            found = record(arguments.minutes, arguments.rate, arguments.block_s)
        finally:
            stop_started()
    store(found, arguments.to)
    print(f"{arguments.to}: {found['block'].nunique()} blocks, {found['n'].sum()} calls, "
          f"{arguments.to.stat().st_size / 1024:.0f} KB")  # fmt: skip


if __name__ == "__main__":
    main()
