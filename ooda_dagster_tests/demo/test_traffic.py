"""Does the traffic keep its rates, tell what calls took, and end when it should?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psutil
import pytest

from ooda_dagster.demo.planted import plan
from ooda_dagster.demo.traffic import Traffic
from ooda_dagster.demo.workload import statements
from ooda_dagster_tests.demo.conftest import SCALE
from ooda_dagster_tests.support import Database, wait_until


@pytest.fixture
def running(service: Database) -> Iterator[Traffic]:
    traffic = Traffic(service.app, 1, scale=SCALE)
    traffic.start()
    try:
        wait_until(lambda: traffic.calls > 50, what="traffic")
        yield traffic
    finally:
        traffic.stop()


def test_the_offered_mix_is_kept_and_measured(running: Traffic) -> None:
    since = datetime.now(UTC)
    time.sleep(4)
    seen = running.window(since, datetime.now(UTC))
    rates = {s.name: s.rate for s in statements(plan(1), scale=SCALE)}
    assert seen.errors == 0
    assert seen.calls == pytest.approx(4 * sum(rates.values()), rel=0.25)
    for name in ("request_by_id", "bump_atoms", "touch_cache"):
        assert seen.statements[name]["n"] == pytest.approx(4 * rates[name], rel=0.4)
    assert seen.readers_ms_per_call > 0
    assert seen.writers_ms_per_call > 0


def test_failed_calls_are_counted_and_left_out_of_the_times(service: Database, running: Traffic) -> None:
    service.execute("alter table atoms rename to atoms_gone")
    since = datetime.now(UTC)
    wait_until(lambda: running.window(since, datetime.now(UTC)).errors > 3, what="an error")
    seen = running.window(since, datetime.now(UTC))
    assert "atom_by_hash" not in seen.statements
    assert running.alive, "the service goes on: it serves what it can"


def test_it_ends_with_the_process_that_started_it(service: Database) -> None:
    program = textwrap.dedent("""
        import sys, time
        from ooda_dagster.demo.traffic import Traffic
        if __name__ == "__main__":
            traffic = Traffic(sys.argv[1], 1, scale=0.02)
            traffic.start()
            while traffic.calls < 20:
                time.sleep(0.05)
            print(traffic._process.pid, flush=True)
            time.sleep(60)
    """)
    path = os.path.join(os.environ["OODA_HOME"], "killed_parent.py")
    with open(path, "w") as file:
        file.write(program)
    parent = subprocess.Popen([sys.executable, path, service.app], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not psutil.pid_exists(child), what="the end of the traffic")
