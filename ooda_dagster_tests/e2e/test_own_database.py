"""Does `ooda cycle --url` tune a database that is nobody's demonstration? pgbench at scale 20 on PostgreSQL 15."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ooda_dagster.embedded import Cluster, find_binaries
from ooda_dagster_tests.support import room, traffic, wait_until

_BIN = Path("/usr/lib/postgresql/15/bin")
_SLOW = "select count(*), max(abalance) from pgbench_accounts where bid = %s and filler like 'x%%'"
_BESIDE = "select tbalance from pgbench_tellers where tid = %s"
_WRITE = "update pgbench_accounts set abalance = abalance + 1 where aid = %s"


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Cluster]:
    if not (_BIN / "initdb").exists():
        pytest.skip("no PostgreSQL 15 server on this machine")
    settings = {"shared_buffers": "512MB"}
    cluster = Cluster(home, "fifteen", binaries=find_binaries(_BIN), preload=("pg_stat_statements",), settings=settings)
    with cluster:
        cluster.create_database("bench")
        initialise = [str(_BIN / "pgbench"), "-i", "-s", "20", "-q", cluster.dsn("bench")]
        subprocess.run(initialise, check=True, capture_output=True)
        with psycopg.connect(cluster.dsn("bench"), autocommit=True) as connection:
            for statement in (
                "create role owner login password 'o'",
                "create role ooda_observe login password 'w'",
                "create role ooda_act login password 'a'",
                "grant pg_monitor, pg_read_all_data to ooda_observe",
                "grant pg_monitor, owner to ooda_act",
                "grant create on schema public to owner",
                "alter table pgbench_accounts owner to owner",
                "alter table pgbench_tellers owner to owner",
                "create extension pg_stat_statements",
                "update pgbench_accounts set filler = case when aid % 20 = 0 then 'x' || aid else 'y' || aid end",
                "vacuum analyze pgbench_accounts",
            ):
                connection.execute(statement.encode())
        yield cluster


class Commands:
    """`ooda` on the database, in a place of its own; `sampling` runs `ooda sample --loop` beside the block."""

    def __init__(self, server: Cluster, home: str) -> None:
        self._observe = server.dsn("bench", user="ooda_observe", password="w")
        self._act = server.dsn("bench", user="ooda_act", password="a")
        self._environment = {**os.environ, "OODA_HOME": home}

    def _argv(self, *command: str, mode: str | None = None) -> list[str]:
        argv = [sys.executable, "-m", "ooda_dagster", *command, "--url", self._observe, "--json"]
        if command[0] != "advise":
            argv += ["--name", "bench", "--profile", "short"]
        return argv + (["--mode", mode, "--act-url", self._act] if mode else [])

    def __call__(self, *command: str, mode: str | None = None) -> dict[str, Any]:
        argv = self._argv(*command, mode=mode)
        done = subprocess.run(argv, env=self._environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(self._argv("sample", "--loop"), env=self._environment, stdout=quiet, stderr=quiet)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


@pytest.fixture
def ooda(server: Cluster) -> Iterator[Commands]:
    with room("own") as directory:
        yield Commands(server, str(directory))


def _indexes(server: Cluster) -> set[str]:
    query = "select indexname from pg_indexes where tablename = 'pgbench_accounts'"
    with psycopg.connect(server.dsn("bench")) as connection:
        return {row[0] for row in connection.execute(query)}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_proposes_builds_judges_and_takes_back(server: Cluster, ooda: Commands) -> None:
    load = {
        _SLOW: lambda n: (n % 20 + 1,),
        _BESIDE: lambda n: (n % 200 + 1,),
        _WRITE: lambda n: (n * 7919 % 2_000_000 + 1,),
    }
    start = _indexes(server)
    with traffic(server.dsn("bench", user="owner", password="o"), load, per_second=20) as calls:
        wait_until(lambda: calls[_SLOW] > 30, timeout_s=60, what="traffic")
        advice = ooda("advise")
        assert any("pgbench_accounts USING btree (bid" in i["ddl"] for i in advice["indexes"]), advice

        with ooda.sampling():
            proposed = ooda("cycle")
            assert "(bid" in proposed["hypotheses"]["hypotheses"][0]["Statements"][0]
            assert _indexes(server) == start, "mode propose changes nothing"
            time.sleep(40)  # a baseline

            acted = ooda("cycle", mode="auto")
            (result,) = acted["action_results"]["results"]
            assert result["State"] == "verifying", result
            (built,) = _indexes(server) - start

            closed: list[Any] = []
            until = time.monotonic() + 120
            while not closed and time.monotonic() < until:
                time.sleep(5)
                closed = ooda("verify-due", mode="auto")["verdicts"]["closed"]
            assert [c["outcome"] for c in closed] == ["better"], closed
            assert closed[0]["effectPct"] < -50

        undone = ooda("actions", "rollback", result["ActionId"], mode="auto")
        assert undone["actions"][0]["state"] == "reverted"
    assert _indexes(server) == start, f"{built} is gone"
