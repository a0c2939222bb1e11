"""What does it cost to observe a million inference requests end to end, and does that grow in proportion?

Fills a table on the embedded server with a day of requests. A child process then does what a cycle does with them - the
rollup into the ledger, reading every single one, judging and scoring it - and another one merely reads the same rows by
ADBC. CPU is our process's own; the server's, and the ledger's, are those of their processes. Scored are all rows, a
batch at a time by what is learned once of a sample of the day, where a cycle scores the newest `detect.max_rows`.

    .venv/bin/python benchmarks/observe.py [--rows 1000000] [--sizes 3] [--no-detection]
    .venv/bin/python benchmarks/observe.py --rows 10000000      # takes several minutes and 3 GB of disk
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg

from ooda_dagster.config.servers import APP_ROLE, OBSERVE_ROLE, ledger_cluster, make_roles, target_cluster
from ooda_dagster.core.detect import Reference, learn_reference
from ooda_dagster.core.request_settings import Detect
from ooda_dagster.core.requests import judged
from ooda_dagster.core.settings import Settings
from ooda_dagster.embedded import Cluster, stop_started
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.context import Loop, utc_now
from ooda_dagster.loop.intake import intake_session
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted

_DATABASE = "inference"
_TABLE = (
    "create table {name} (inference_id bigint primary key, request_timestamp timestamptz not null, "
    "total_duration_ms float8, status text not null, model_id int not null, task_type text not null, "
    "input_tokens int not null, output_tokens int)"
)
#: A day of 10 models and 3 operations, log-normal; 1 in 100 failed, and 1 in 200 took 10 times as long.
_FILL = (
    "insert into {name} select g, now() - ({n} - g) * interval '85000 s' / {n}, exp(5 + mod(g, 10) * 0.1 + "
    "(random() + random() + random() + random() - 2)) * case when random() < 0.005 then 10 else 1 end, "
    "case when random() < 0.01 then 'failed' else 'completed' end, mod(g, 10), "
    "(array['chat', 'embed', 'classify'])[1 + mod(g / 10, 3)], 50 + random() * 500, 20 + random() * 300 "
    "from generate_series(1, {n}) g"
)
#: Pages of the whole day, as the newest rows do not tell what is usual at other hours.
_SAMPLE = (
    "select extract(epoch from request_timestamp)::float8 as requested_s, total_duration_ms as duration_ms, "
    "model_id::text as model, task_type as operation, input_tokens::float8 as tokens_in, "
    "output_tokens::float8 as tokens_out from {name} tablesample system ({percent}) repeatable (1)"
)
_SAMPLE_ROWS = 100_000
#: (rows, CPU seconds, MB) that are promised.
_PROMISED = {1_000_000: (7.0, 400), 10_000_000: (60.0, 600)}


@dataclass(frozen=True)
class Cost:
    """Of one child: its stages' CPU seconds, its peak memory, and the CPU seconds of the two servers."""

    rows: int
    cpu_s: dict[str, float]
    wall_s: float
    peak_mb: float
    target_s: float
    ledger_s: float
    facts: dict[str, Any]

    @property
    def total_s(self) -> float:
        return sum(self.cpu_s.values())


def server_cpu(cluster: Cluster) -> float:
    """CPU seconds of a server so far: of its processes, and of those that have ended."""
    assert cluster.pid is not None
    postmaster = psutil.Process(cluster.pid)
    while True:
        try:
            ended = postmaster.cpu_times()
            alive = [p.cpu_times() for p in postmaster.children(recursive=True)]
        except psutil.NoSuchProcess:  # one ended in between
            if postmaster.is_running():
                continue
            raise
        return ended.children_user + ended.children_system + sum(t.user + t.system for t in alive)


def child(what: str, target: Cluster, ledger: Cluster, table: str, rows: int, detection: bool) -> Cost:
    before = server_cpu(target), server_cpu(ledger)
    environment = {
        **os.environ,
        "BENCH_TARGET": target.dsn(_DATABASE, user=OBSERVE_ROLE),
        "BENCH_LEDGER": ledger.dsn("ooda_bench"),
    }
    argv = [sys.executable, __file__, "--child", what, "--table", table, "--rows", str(rows)]
    argv += [] if detection else ["--no-detection"]
    ran = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found = json.loads(ran.stdout.splitlines()[-1])
    spent = server_cpu(target) - before[0], server_cpu(ledger) - before[1]
    return Cost(rows, found["cpu_s"], found["wall_s"], found["peak_mb"], *spent, found["facts"])


class Stages:
    """CPU seconds of this process by stage."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}
        self.began = time.monotonic()

    def timed(self, stage: str, work: Callable[[], Any]) -> Any:
        before = time.process_time()
        try:
            return work()
        finally:
            self.cpu_s[stage] = self.cpu_s.get(stage, 0.0) + time.process_time() - before

    def tell(self, facts: dict[str, Any]) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        wall = time.monotonic() - self.began
        print(json.dumps({"cpu_s": self.cpu_s, "wall_s": wall, "peak_mb": peak, "facts": facts}))


def merely_read(table: str) -> None:
    """The rows by ADBC, batch by batch, and nothing else."""
    from adbc_driver_postgresql import dbapi

    stages, rows = Stages(), 0

    def read() -> int:
        n = 0
        with dbapi.connect(os.environ["BENCH_TARGET"]) as connection, connection.cursor() as cursor:
            columns = "inference_id, extract(epoch from request_timestamp)::float8, total_duration_ms, status, "
            cursor.execute(f"select {columns} model_id::text, task_type, input_tokens, output_tokens from {table}")
            for batch in cursor.fetch_record_batch():
                n += batch.num_rows
        return n

    rows = stages.timed("reading", read)
    stages.tell({"read": rows})


def learn(table: str, rows: int, how: Detect) -> Reference:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(os.environ["BENCH_TARGET"]) as connection, connection.cursor() as cursor:
        cursor.execute(_SAMPLE.format(name=table, percent=min(100, 100 * _SAMPLE_ROWS / rows)))
        return learn_reference(cursor.fetch_arrow_table().to_pandas(), settings=how, seed=1)


def observe(table: str, rows: int, detection: bool) -> None:
    """The rollup into the ledger, then every row: read, judged, scored."""
    settings = Settings.model_validate({"requests": {"table": table}})
    policy, how = settings.requests, settings.detect
    ledger = Ledger(os.environ["BENCH_LEDGER"])
    loop = Loop(
        PostgresTarget(table, os.environ["BENCH_TARGET"]),
        ledger,
        settings,
        say=lambda line: print(line, file=sys.stderr),
    )
    loop.register()
    now = utc_now()
    stages, read, flagged = Stages(), 0, 0
    with loop.target.observing("bench") as session:
        rolled_up, behind = 0, True
        while behind:  # a cycle gives up catching up after a while, and the next one goes on
            taken = stages.timed("rollup", lambda: intake_session(loop, session, analysis_id="bench"))
            if taken.error:
                raise SystemExit(taken.error)
            rolled_up, behind = rolled_up + taken.rows, taken.behind
        reference = stages.timed("learning", lambda: learn(table, rows, how)) if detection else None
        source: Any = session.request_table(policy)
        until = now + timedelta(seconds=policy.max_clock_skew_s)
        batches = iter(source.batches(now - timedelta(hours=24), until, limit=rows))
        while (found := stages.timed("reading", lambda: next(batches, None))) is not None:
            good, _ = stages.timed("judging", lambda found=found: judged(found, now, policy))
            read += len(good)
            if reference is not None:
                flagged += stages.timed(
                    "detection", lambda good=good, by=reference: int(by.judge(good)[0]["flagged"].sum())
                )
    known = ledger.requests.totals(table, now - timedelta(hours=23, minutes=50), now)
    facts = {
        "reader": source.reader,
        "rolled_up": rolled_up,
        "read": read,
        "flagged": flagged,
        "whole": known is not None,
    }
    stages.tell(facts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sizes", type=int, default=3, help="how many tables, each a third or so of the next")
    parser.add_argument("--no-detection", dest="detection", action="store_false")
    parser.add_argument("--child", choices=("observe", "read"), help=argparse.SUPPRESS)
    parser.add_argument("--table", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child == "read":
        merely_read(options.table)
    elif options.child == "observe":
        observe(options.table, options.rows, options.detection)
    else:
        parent(options.rows, options.sizes, options.detection)


def parent(rows: int, sizes: int, detection: bool) -> None:
    home = Path(tempfile.mkdtemp(prefix="ooda-bench-", dir="/var/tmp"))
    home.chmod(0o755)
    os.environ["OODA_HOME"] = str(home)
    try:
        target, ledger = target_cluster(), ledger_cluster()
        for cluster in (target, ledger):
            cluster.start()
        make_roles(target)
        target.create_database(_DATABASE)
        ledger.create_database("ooda_bench")
        Ledger(ledger.dsn("ooda_bench")).migrate()
        measured = [measure(target, ledger, int(rows / 3**n), detection) for n in reversed(range(sizes))]
        report(measured, detection)
    finally:
        stop_started()
        shutil.rmtree(home, ignore_errors=True)


def measure(target: Cluster, ledger: Cluster, rows: int, detection: bool) -> tuple[Cost, Cost]:
    table = f"requests_{rows}"
    began = time.monotonic()
    with psycopg.connect(target.dsn(_DATABASE), autocommit=True) as connection:
        connection.execute(trusted(f"grant create on schema public to {APP_ROLE}"))
        connection.execute(trusted(_TABLE.format(name=table)))
        connection.execute(trusted(_FILL.format(name=table, n=rows)))
        connection.execute(trusted(f"grant select on {table} to {OBSERVE_ROLE}"))
        connection.execute(trusted(f"vacuum (freeze, analyze) {table}"))
        connection.execute("checkpoint")
    print(f"{rows:,} requests are written in {time.monotonic() - began:.0f} s", file=sys.stderr)
    merely = child("read", target, ledger, table, rows, detection)
    whole = child("observe", target, ledger, table, rows, detection)
    with psycopg.connect(target.dsn(_DATABASE), autocommit=True) as connection:
        connection.execute(trusted(f"drop table {table}"))
    return merely, whole


def report(measured: list[tuple[Cost, Cost]], detection: bool) -> None:
    print(f"\n{'':34}" + "".join(f"{whole.rows:>14,}" for _, whole in measured))

    def line(name: str, value: Callable[[Cost, Cost], str]) -> None:
        print(f"{name:34}" + "".join(f"{value(merely, whole):>14}" for merely, whole in measured))

    for stage in measured[-1][1].cpu_s:
        line(f"our CPU s: {stage}", lambda _, whole, stage=stage: f"{whole.cpu_s[stage]:.2f}")
    line("our CPU s in all", lambda _, whole: f"{whole.total_s:.2f}")
    line("  a million requests", lambda _, whole: f"{whole.total_s * 1e6 / whole.rows:.2f}")
    line("our peak memory, MB", lambda _, whole: f"{whole.peak_mb:.0f}")
    line("target's server, CPU s", lambda _, whole: f"{whole.target_s:.2f}")
    line("ledger's server, CPU s", lambda _, whole: f"{whole.ledger_s:.2f}")
    line("wall s", lambda _, whole: f"{whole.wall_s:.1f}")
    line("merely reading by ADBC, CPU s", lambda merely, _: f"{merely.total_s:.2f}")
    line("  peak memory, MB", lambda merely, _: f"{merely.peak_mb:.0f}")
    line("  server, CPU s", lambda merely, _: f"{merely.target_s:.2f}")
    line("observing / merely reading, CPU", lambda merely, whole: f"{whole.total_s / merely.total_s:.1f}")
    for merely, whole in measured:
        told = {whole.facts["rolled_up"], whole.facts["read"]}
        if told != {whole.rows} or merely.facts["read"] != whole.rows:
            raise SystemExit(f"not every request was seen once: {whole.facts}, {merely.facts}")
    if detection:
        shares = ", ".join(f"{whole.facts['flagged'] / whole.rows:.3%}" for _, whole in measured)
        print(f"\nFlagged: {shares}.")
    print(f"\nEvery request was rolled up once and read once ({measured[-1][1].facts['reader']}).")
    if (promised := _PROMISED.get(measured[-1][1].rows)) and detection:
        whole = measured[-1][1]
        kept = whole.total_s <= promised[0] and whole.peak_mb <= promised[1]
        print(
            f"Promised: at most {promised[0]:g} CPU s and {promised[1]} MB. "
            f"Measured: {whole.total_s:.1f} s, {whole.peak_mb:.0f} MB: {'kept' if kept else 'NOT KEPT'}."
        )


if __name__ == "__main__":
    main()
