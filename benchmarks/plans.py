"""What do plans and regressions cost? By number of statements: estimates on the target, the plan log, the search.

Starts a server of its own whose log has plans, and a ledger. Of the target the CPU time of our backend is read from the
operating system, of ourselves that of this process. All figures come from one run.

    .venv/bin/python benchmarks/plans.py [--statements 50 200 1000] [--known 5000]
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import psycopg

from ooda_dagster.cli.rights import script
from ooda_dagster.collect import sample
from ooda_dagster.config import embedded_default
from ooda_dagster.config.servers import OBSERVE_ROLE, start_ledger
from ooda_dagster.core.settings import with_profile
from ooda_dagster.embedded import Cluster, stop_started
from ooda_dagster.ledger import Cycle, Ledger
from ooda_dagster.ledger.rollups import COUNTERS, Snapshot
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.cycle import begin
from ooda_dagster.loop.estimated_plans import estimate_plans
from ooda_dagster.loop.executed_plans import read_executed_plans
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster.loop.plans import watch_plans
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted

_TABLES = 20
_TEMPLATE = "filled"
_SETTINGS = {
    "shared_buffers": "128MB",
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "auto_explain.log_min_duration": 0,
    "auto_explain.log_format": "json",
    "log_rotation_size": "100MB",
}


@dataclass
class Spent:
    """Seconds: of the clock, of this process' CPU, of a server's backends' CPU."""

    wall_s: float = 0.0
    ours_s: float = 0.0
    server_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.wall_s:7.2f} s wall {self.ours_s:7.2f} s our CPU {self.server_s:7.3f} s server CPU"


@contextmanager
def spent(*backends: int) -> Iterator[Spent]:
    def servers() -> float:
        times = [psutil.Process(pid).cpu_times() for pid in backends]
        return sum(t.user + t.system for t in times)

    found, began, cpu, theirs = Spent(), time.monotonic(), time.process_time(), servers()
    yield found
    found.wall_s, found.ours_s = time.monotonic() - began, time.process_time() - cpu
    found.server_s = servers() - theirs


def statements(count: int) -> list[str]:
    """Texts that differ in more than their literals: which tables are joined, which columns are asked for."""
    return [
        f"select a.c{n % 7}, b.c{n // 7 % 7}, b.c{n // 49 % 7} from {table(n)} a "
        f"join {table(n + 1)} b on b.id = a.ref where a.c1 = {n} and b.c2 > {n % 100}"
        for n in range(count)
    ]


def table(n: int) -> str:
    """Letters: a fingerprint leaves out digits of a table's name."""
    return f"t_{chr(ord('a') + n % _TABLES)}"


def make(cluster: Cluster, name: str) -> str:
    """A copy of the first database of that kind; who observes it."""
    if cluster.database_exists(_TEMPLATE):
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute(trusted(f"create database {name} template {_TEMPLATE}"))
        return cluster.dsn(name, user=OBSERVE_ROLE)
    cluster.create_database(_TEMPLATE)
    columns = ", ".join(f"c{n} int" for n in range(7))
    with psycopg.connect(cluster.dsn(_TEMPLATE), autocommit=True) as connection:
        connection.execute(trusted(script(level=3)))
        connection.execute(trusted(f"alter role {OBSERVE_ROLE} password '{cluster.password}'"))
        for n in range(_TABLES):
            connection.execute(trusted(f"create table {table(n)} (id int primary key, ref int, {columns})"))
            values = ", ".join(f"g % {10 ** (k % 4 + 1)}" for k in range(7))
            connection.execute(trusted(f"insert into {table(n)} select g, g, {values} from generate_series(1, 2000) g"))
            connection.execute(trusted(f"create index on {table(n)} (c1); analyze {table(n)}"))
    return make(cluster, name)


def call(cluster: Cluster, name: str, texts: Sequence[str]) -> None:
    with psycopg.connect(cluster.dsn(name), autocommit=True) as connection:
        connection.prepare_threshold = None
        for text in texts:
            connection.execute(trusted(text))


def on_target(cluster: Cluster, ledger: Ledger, count: int) -> None:
    name = f"bench{count}"
    dsn = make(cluster, name)
    target = PostgresTarget(name, dsn)
    loop = Loop(target, ledger, with_profile("production"))
    loop.register()
    texts = statements(count)
    sample(loop.target, ledger, loop.settings.sampling)
    with target.observing("bench") as session:
        read_executed_plans(loop, session, session.catalogue())  # from here on
    call(cluster, name, texts * 3)
    sample(loop.target, ledger, loop.settings.sampling)
    totals = ledger.rollups.totals(name, datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC))
    with target.observing("bench") as session:
        backend = session.connection.info.backend_pid
        catalogue = session.catalogue()

        def estimates(what: str) -> None:
            asked = 1
            while asked:
                with spent(backend) as cost:
                    asked = estimate_plans(loop, session, catalogue, totals, [])
                print(f"  {what:34} {asked:4} EXPLAINs {cost}", flush=True)
                what = "  the next cycle"

        print(f"{count} statements", flush=True)
        estimates("the first cycle")
        with psycopg.connect(cluster.dsn(name), autocommit=True) as connection:
            connection.execute(trusted(f"analyze {table(0)}"))
        catalogue = session.catalogue()
        estimates("one of 20 tables was analysed")
        ahead = _logged_mb(cluster, name)
        with spent(backend) as cost:
            read_executed_plans(loop, session, catalogue)
        logged = sum(ledger.plans.executions(name, datetime.now(UTC) - timedelta(days=1)).values())
        print(f"  {'the plan log':34} {logged:4} plans    {cost}  ({ahead:.1f} MB in the log)", flush=True)


def _logged_mb(cluster: Cluster, name: str) -> float:
    with psycopg.connect(cluster.dsn(name)) as connection:
        row = connection.execute("select sum(size) from pg_ls_logdir() where name like '%.json'").fetchone()
    return float(row[0]) / 1e6 if row else 0.0


def search(cluster: Cluster, ledger: Ledger, known: int) -> None:
    """A day of 5-minute buckets of many statements, one of which became ten times slower."""
    name = "many"
    dsn = make(cluster, name)
    target = PostgresTarget(name, dsn)
    loop = Loop(target, ledger, with_profile("production", {"plans": {"enabled": False}}))
    loop.register()
    ledger.rollups.learn_queries(name, [(n, f"f{n:015x}", "select", f"select {n}") for n in range(1, known + 1)])
    ids = [i for i in ledger.rollups.known_queries(name).values() if i is not None]
    random, previous, now = np.random.default_rng(1), None, datetime.now(UTC)
    for minute in range(24 * 60, -1, -5):
        at = now - timedelta(minutes=minute)
        calls = random.poisson(40, len(ids)) + 1
        each = random.lognormal(1, 0.2, len(ids))
        each[0] *= 10 if minute < 120 else 1
        frame = pd.DataFrame({"statement_id": ids, "n": calls, "sum_ms": calls * each})
        frame["sum_ms_sq"] = frame["n"] * each**2 * 1.2
        for column in COUNTERS:
            if column not in frame:
                frame[column] = calls
        current = Snapshot(at, {}, b"")
        ledger.rollups.store(name, previous=previous, current=current, frame=frame)
        previous = current
    cycle: Cycle = begin(loop, run_id="bench", due=loop.clock(), trigger="benchmark")
    with target.observing("bench") as session:
        session.capabilities()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with ledger.engine.connect() as one:
            pids = [one.exec_driver_sql("select pg_backend_pid()").scalar_one()]  # the pool's only one
        with spent(*pids) as cost:
            found = watch_plans(loop, session, cycle, session.catalogue(), [])
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{known} statements, a day of 5-minute buckets")
    print(f"  the search in the ledger: {len(found)} found        {cost}  {grown:.0f} MB more memory", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--statements", type=int, nargs="+", default=[50, 200, 1000])
    parser.add_argument("--known", type=int, default=5000)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="ooda-bench-", dir="/var/tmp"))
    home.chmod(0o755)
    os.environ["OODA_HOME"] = str(home)
    cluster = Cluster(home, "plans", preload=("pg_stat_statements", "auto_explain"), settings=_SETTINGS, durable=False)
    try:
        config = embedded_default()
        start_ledger(config)
        ledger = Ooda(config).ledger
        cluster.start()
        for count in options.statements:
            on_target(cluster, ledger, count)
        search(cluster, ledger, options.known)
    finally:
        cluster.destroy()
        stop_started()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
