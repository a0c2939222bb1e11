"""What does observing cost the target, and a cycle on an idle target cost us?

Starts the embedded target under the demo's traffic, with the planted problems and then with the truth applied (a fast
database makes our share larger), and reads the CPU time of our own backends and of the service's from the operating
system. All figures come from one run; the share is a ratio of them.

    .venv/bin/python benchmarks/overhead.py [--seed 1] [--seconds 30]
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import psycopg

from ooda_dagster.collect import sample
from ooda_dagster.config import EMBEDDED_TARGET, embedded_default
from ooda_dagster.config.servers import APP_ROLE, make_roles, start_ledger, target_cluster
from ooda_dagster.core.settings import with_profile
from ooda_dagster.demo.load import prepare
from ooda_dagster.demo.planted import Plan, plan
from ooda_dagster.demo.traffic import Traffic
from ooda_dagster.embedded import Cluster, stop_started
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.cycle import begin
from ooda_dagster.loop.hypothesize import hypothesize
from ooda_dagster.loop.observe import observe
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.observing import PostgresObserving
from ooda_dagster.targets.postgres.queries import trusted

_DATABASE = "inference"
_SAMPLES = 10
_CYCLES_PER_HOUR = 2  # the delay of a quiet target is 30 minutes


class MeteredTarget(PostgresTarget):
    """Adds up the CPU seconds of its own backends, read before each session ends."""

    cpu_s = 0.0
    sessions = 0

    @contextmanager
    def observing(self, phase: str, *, connect_timeout_s: int | None = None) -> Iterator[PostgresObserving]:
        with super().observing(phase, connect_timeout_s=connect_timeout_s) as session:
            yield session
            self.cpu_s += cpu_of(session.connection.info.backend_pid)
            self.sessions += 1


def cpu_of(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@dataclass(frozen=True)
class Cost:
    """CPU seconds on the target: one sample, one cycle (observe and hypothesize), and a minute of the service."""

    sample_s: float
    cycle_s: float
    service_s_per_min: float
    statements: int

    @property
    def share(self) -> float:
        ours = self.sample_s + self.cycle_s * _CYCLES_PER_HOUR / 60
        return ours / (self.service_s_per_min + ours)


def service_cpu(cluster: Cluster) -> dict[int, float]:
    """CPU seconds of every process of the server, by pid."""
    assert cluster.pid is not None
    return {p.pid: cpu_of(p.pid) for p in psutil.Process(cluster.pid).children()}


def measure(cluster: Cluster, loop: Loop, target: MeteredTarget, the_plan: Plan, seconds: float) -> Cost:
    traffic = Traffic(cluster.dsn(_DATABASE, user=APP_ROLE), the_plan.seed)
    traffic.start()
    try:
        while traffic.calls < 200:
            time.sleep(0.2)
        before, started = service_cpu(cluster), time.monotonic()
        time.sleep(seconds)
        after, passed = service_cpu(cluster), time.monotonic() - started
        service = sum(cpu - before[pid] for pid, cpu in after.items() if pid in before)
        sample(target, loop.ledger, loop.settings.sampling)  # the first one learns the statements
        target.cpu_s = 0.0
        statements = 0
        for _ in range(_SAMPLES):
            time.sleep(0.5)
            statements = max(statements, sample(target, loop.ledger, loop.settings.sampling).statements)
        sampled = target.cpu_s / _SAMPLES
        target.cpu_s = 0.0
        cycle = begin(loop, run_id=f"bench-{time.time()}", due=loop.clock(), trigger="benchmark")
        seen = observe(loop, cycle)
        hypothesize(loop, seen)
        loop.ledger.cycles.finish(cycle.analysis_id, now=loop.clock(), next_due_at=None, reason="benchmark")
        return Cost(sampled, target.cpu_s, service / passed * 60, statements)
    finally:
        traffic.stop()


def idle_cycle(dsn: str, url_name: str) -> tuple[float, float]:
    """CPU seconds of one `ooda cycle` on an idle target, and of importing what it imports."""

    def spent(argv: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)

    program = [sys.executable, "-m", "ooda_dagster"]
    command = [*program, "cycle", "--url", dsn, "--name", url_name]
    spent(command)  # makes the partition and the ledger's rows
    imports = spent(
        [sys.executable, "-c", "import ooda_dagster.defs.instance, ooda_dagster.defs.runner, ooda_dagster.cli"]
    )
    return min(spent(command) for _ in range(3)), imports


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="ooda-bench-", dir="/var/tmp"))
    os.environ["OODA_HOME"] = str(home)
    try:
        run(plan(options.seed), options.seconds)
    finally:
        stop_started()
        shutil.rmtree(home, ignore_errors=True)


def run(the_plan: Plan, seconds: float) -> None:
    config = embedded_default(with_profile("short"))
    start_ledger(config)
    cluster = target_cluster()
    cluster.start()
    make_roles(cluster)
    prepare(cluster, _DATABASE, the_plan, say=print)
    ooda = Ooda(config)
    opened = ooda.loop(EMBEDDED_TARGET)
    target = MeteredTarget(EMBEDDED_TARGET, config.target(EMBEDDED_TARGET).observe.resolve())
    loop: Any = replace(opened, target=target)

    print(f"\n{'state':22}{'service':>14}{'one sample':>12}{'one cycle':>11}{'statements':>12}{'share of CPU':>14}")
    for state in ("problems planted", "problems mended"):
        if state == "problems mended":
            with psycopg.connect(cluster.dsn(_DATABASE), autocommit=True) as connection:
                for ddl in the_plan.truth:
                    connection.execute(trusted(ddl))
        cost = measure(cluster, loop, target, the_plan, seconds)
        print(
            f"{state:22}{cost.service_s_per_min:10.2f} s/min{1000 * cost.sample_s:9.1f} ms{1000 * cost.cycle_s:8.0f} ms"
            f"{cost.statements:12}{100 * cost.share:12.2f} %"
        )
    print(
        f"\nShare: a sample a minute and {_CYCLES_PER_HOUR} cycles an hour, against the service. Promised: at most 1 %."
    )

    cluster.create_database("idle")
    with psycopg.connect(cluster.dsn("idle"), autocommit=True) as connection:
        connection.execute("create extension pg_stat_statements")
        connection.execute("create table small as select g as id, g % 10 as kind from generate_series(1, 1000) g")
    whole, imports = idle_cycle(cluster.dsn("idle"), "idle")
    print(f"\nOne `ooda cycle` on an idle small target: {whole:.2f} s CPU, of which imports {imports:.2f} s;")
    print(f"beyond imports {whole - imports:.2f} s. Promised: at most 3 s.")


if __name__ == "__main__":
    main()
