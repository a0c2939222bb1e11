"""Where counters were reset, evicted or lost, is it a gap with a name, and never negative work?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pandas as pd
import psycopg
import pytest

from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.rollups import Snapshot
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.collect.ground import FOREVER, Sampled, different
from ooda_dagster_tests.support import Database
from ooda_dagster_tests.targets.ground import own_cluster


@pytest.fixture(scope="module")
def tiny_server() -> Iterator[Cluster]:
    """Keeps a hundred statements: the least that the server allows."""
    with own_cluster("tiny", settings={"pg_stat_statements.max": 100}) as cluster:
        cluster.create_database("crowded")
        with psycopg.connect(cluster.dsn("crowded"), autocommit=True) as connection:
            connection.execute("create extension pg_stat_statements; create role inference_app login")
            connection.execute(trusted(f"alter role inference_app password '{cluster.password}'"))
        yield cluster


@pytest.fixture
def tiny(tiny_server: Cluster, known: Ledger) -> Sampled:
    database = Database(tiny_server, "crowded")
    database.execute("select pg_stat_statements_reset()")
    return Sampled(database, known, dsn=database.superuser)


def test_a_reset_is_a_gap_and_no_negative_work(sampled: Sampled) -> None:
    sampled.run("select # as before", 9)
    sampled.take()
    sampled.run("select #, 2 as lost", 5)
    sampled.database.execute("select pg_stat_statements_reset()")
    sampled.run("select # as before", 2)
    assert [g.split(":")[0] for g in sampled.take().gaps] == ["reset"]
    assert sampled.calls() == {}
    sampled.run("select # as before", 3)
    sampled.take()
    assert sampled.calls()["select $1 as before"] == 3
    assert sampled.gaps() == ["reset"]


def test_one_entry_that_is_reset_counts_anew_and_is_a_gap(sampled: Sampled) -> None:
    sampled.run("select # as one", 9)
    sampled.take()
    ((query_id,),) = sampled.database.execute(
        "select queryid from pg_stat_statements s join pg_database d on d.oid = dbid "
        "where datname = current_database() and query = 'select $1 as one'"
    )
    sampled.database.execute(f"select pg_stat_statements_reset(0, 0, {query_id})")
    sampled.run("select # as one", 12)
    sampled.take()
    assert sampled.calls()["select $1 as one"] == 12
    assert sampled.gaps() == ["entry reset"]


def test_a_restart_is_a_gap_and_its_work_is_told_once(tiny: Sampled) -> None:
    tiny.run("select # as kept", 3)
    tiny.take()
    tiny.run("select # as kept", 2)
    tiny.database.cluster.restart()
    tiny.run("select # as kept", 2)
    tiny.take()
    assert tiny.calls()["select $1 as kept"] == 4
    assert tiny.gaps() == ["restart"]


def test_a_crash_that_lost_the_counters_is_a_gap_and_no_negative_work(tiny: Sampled) -> None:
    tiny.run("select # as lost", 30)
    tiny.take()
    tiny.database.cluster.kill()
    tiny.database.cluster.start()
    tiny.run("select # as lost", 2)
    tiny.take()
    assert all(n >= 0 for n in tiny.calls().values())
    assert set(tiny.gaps()) & {"reset", "restart"}
    tiny.run("select # as lost", 5)
    before = tiny.calls().get("select $1 as lost", 0)
    tiny.take()
    assert tiny.calls()["select $1 as lost"] - before == 5


def test_evictions_are_a_gap_and_no_work_is_told_twice(tiny: Sampled) -> None:
    tiny.run("select # as often", 5)
    tiny.take()
    with psycopg.connect(tiny.database.app, autocommit=True) as connection:
        for text in different(300):
            connection.execute(trusted(text))
    taken = tiny.take()
    assert "eviction" in tiny.gaps()
    assert any("raise pg_stat_statements.max" in gap for gap in taken.gaps)
    told = {text: n for text, n in tiny.calls().items() if text.endswith("$15")}
    assert told
    assert set(told.values()) == {1}


def test_a_clock_that_went_back_is_a_gap_and_counting_goes_on(sampled: Sampled) -> None:
    sampled.take()
    kept = sampled.ledger.rollups.snapshot("t")
    assert kept is not None
    ahead = Snapshot(kept.taken_at + timedelta(hours=1), kept.epoch, kept.counters)
    assert sampled.ledger.rollups.store("t", previous=kept, current=ahead, frame=pd.DataFrame(), gaps=[("test", "")])
    sampled.run("select # as one", 3)
    assert "clock: it went back" in sampled.take().gaps[0]
    sampled.run("select # as one", 2)
    sampled.take()
    assert sampled.calls() == {"select $1 as one": 2}
    assert sampled.ledger.rollups.coverage("t", *FOREVER)[1] > 0
