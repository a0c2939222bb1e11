"""Does a sample tell what the server counted, once, and of this database alone?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest

from ooda_dagster.core.settings import Sampling
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.rollups import COUNTERS
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.collect.ground import FOREVER, Sampled, different
from ooda_dagster_tests.support import Database, make_orders
from ooda_dagster_tests.targets.ground import login_role, own_cluster


def test_the_first_sample_is_where_counting_begins(sampled: Sampled) -> None:
    sampled.run("select # as early", 3)
    taken = sampled.take()
    assert (taken.first, taken.error, taken.calls) == (True, None, 0)
    assert sampled.calls() == {}


def test_work_between_two_samples_is_the_server_s_own_count(sampled: Sampled) -> None:
    make_orders(sampled.database, 5000)
    text, shown = "select count(*) from orders where id < #", "select count(*) from orders where id < $1"
    sampled.run(text, 3)
    before = _server(sampled.database, shown)
    sampled.take()
    sampled.run(text, 17)
    taken = sampled.take()
    after, found = _server(sampled.database, shown), sampled.row(shown)
    assert taken.calls >= 17
    for column in COUNTERS:
        near = 1.1e-4 if column == "sum_ms_sq" else 2e-9
        assert found[column] == pytest.approx(after[column] - before[column], rel=near, abs=1e-9), column
    assert found["n"] == 17
    assert found["rows"] == 17
    assert found["blocks_hit"] >= 17


def _server(database: Database, text: str) -> dict[str, float]:
    (values,) = database.execute(
        "select calls, total_exec_time, calls * (mean_exec_time ^ 2 + stddev_exec_time ^ 2), rows, shared_blks_hit, "
        "shared_blks_read, temp_blks_read + temp_blks_written, wal_bytes from pg_stat_statements s "
        "join pg_database d on d.oid = s.dbid where datname = current_database() and query = %s",
        text,
    )
    return {column: float(value) for column, value in zip(COUNTERS, values, strict=True)}


def test_blocks_and_wal_of_a_write_are_told(sampled: Sampled) -> None:
    make_orders(sampled.database, 500)
    sampled.take()
    sampled.run("update orders set note = 'n#'", 2)
    sampled.take()
    row = sampled.row("update orders set note = $1")
    assert row["rows"] == 1000
    assert row["wal_bytes"] > 50_000


def test_a_new_statement_counts_from_its_first_call(sampled: Sampled) -> None:
    sampled.take()
    sampled.run("select # as fresh", 4)
    sampled.take()
    assert sampled.calls()["select $1 as fresh"] == 4


def test_samples_add_up_and_nothing_is_told_twice(sampled: Sampled) -> None:
    sampled.take()
    for _ in range(4):
        sampled.run("select # as one", 3)
        sampled.take()
        sampled.take()
    assert sampled.calls()["select $1 as one"] == 12


def test_a_quiet_minute_is_covered(sampled: Sampled) -> None:
    sampled.take()
    sampled.run("select 1")
    sampled.take()
    sampled.take()
    last = sampled.take()
    first, covered_s = sampled.ledger.rollups.coverage("t", *FOREVER)
    assert first is not None
    assert last.taken_at is not None
    assert covered_s == pytest.approx((last.taken_at - first).total_seconds())


def test_statements_of_other_databases_are_not_ours(sampled: Sampled) -> None:
    other = Database(sampled.database.cluster, f"{sampled.database.name}_b")
    other.create()
    try:
        sampled.take()
        other.execute("select 1 as elsewhere", dsn=other.app)
        sampled.take()
    finally:
        other.drop()
    assert not [text for text in sampled.calls() if "elsewhere" in text]


def test_our_own_statements_are_left_out(sampled: Sampled) -> None:
    for _ in range(3):
        sampled.take()
    with sampled.target.observing("test") as session:
        session.catalogue()
        session.activity()
    sampled.take()
    assert sampled.calls() == {}


def test_samplers_at_once_count_nothing_twice(sampled: Sampled) -> None:
    sampled.run("select # as one", 2)
    sampled.take()
    told = []
    for _ in range(4):
        sampled.run("select # as one", 5)
        with ThreadPoolExecutor(4) as pool:
            told += list(pool.map(lambda _: sampled.take(), range(4)))
    sampled.take()
    assert sampled.calls()["select $1 as one"] == 20
    assert all(t.error in (None, "another sampler was faster; nothing was lost") for t in told)


def test_entries_that_are_hidden_from_the_role_are_counted(sampled: Sampled) -> None:
    sampled.run("select # as one")
    with login_role(sampled.database) as role:
        sampled.dsn = role.dsn
        assert sampled.take().hidden > 0
        sampled.run("select # as one", 3)
        taken = sampled.take()
        assert taken.hidden > 0
        assert sampled.calls() == {}
        role.grant("pg_monitor")
        assert sampled.take().hidden == 0


def test_utility_statements_are_told_as_other_and_added_up(sampled: Sampled) -> None:
    make_orders(sampled.database, 10)
    sampled.take()
    sampled.run("vacuum orders", 2)
    sampled.run("set statement_timeout = '#s'", 3)
    sampled.run("comment on table orders is 'number #'", 4)
    sampled.take()
    totals = sampled.totals()
    assert totals["kind"].unique().tolist() == ["other"]
    assert {str(t): int(n) for t, n in totals["n"].items()} == {
        "vacuum orders": 2,
        "set statement_timeout = $1": 3,
        "comment on table orders is '?'": 4,
    }


def test_a_statement_of_several_roles_is_one(sampled: Sampled) -> None:
    sampled.take()
    sampled.run("select # as shared", 2)
    sampled.database.execute("select 1 as shared", dsn=sampled.database.superuser)
    sampled.take()
    assert sampled.calls()["select $1 as shared"] == 3


def test_text_that_is_not_ascii_is_kept(sampled: Sampled) -> None:
    sampled.take()
    sampled.run("select 'naïve 日本' as \"grün 🐘\"", 2)
    sampled.take()
    assert sampled.calls() == {'select $1 as "grün 🐘"': 2}


def test_only_the_heaviest_statements_are_kept_where_there_are_too_many(sampled: Sampled) -> None:
    sampled.policy = Sampling(max_statements=2)
    sampled.take()
    sampled.run("select pg_sleep(0.02)")
    sampled.run("select pg_sleep(0.03), 1")
    sampled.run("select 1 as light")
    sampled.take()
    assert set(sampled.calls()) == {"select pg_sleep($1)", "select pg_sleep($1), $2"}


def test_a_target_that_cannot_be_read_is_an_error_and_the_next_sample_tells_all(sampled: Sampled) -> None:
    sampled.take()
    sampled.run("select # as one", 3)
    sampled.dsn = sampled.database.observe.replace(sampled.database.name, "not_here")
    failed = sampled.take()
    assert "no such database" in (failed.error or "")
    sampled.dsn = ""
    sampled.take()
    assert sampled.calls() == {"select $1 as one": 3}


@pytest.mark.slow
def test_ten_thousand_statements_are_sampled_in_seconds(known: Ledger) -> None:
    with own_cluster("wide", settings={"pg_stat_statements.max": 12_000}) as cluster:
        database = Database(cluster, "postgres")
        database.execute("create extension pg_stat_statements")
        wide = Sampled(database, known, Sampling(max_statements=20_000), database.superuser)
        wide.take()
        with psycopg.connect(database.superuser, autocommit=True) as connection, connection.pipeline():
            for text in different(10_000):
                connection.execute(trusted(text))
        seconds = []
        for _ in range(3):
            begin = datetime.now(UTC)
            taken = wide.take()
            seconds.append((datetime.now(UTC) - begin).total_seconds())
            if taken.calls:
                assert taken.statements >= 10_000
        print(f"{seconds} s")
        assert max(seconds[1:]) < 5
        assert seconds[0] < 60  # all of them are new, once
        assert sum(n for text, n in wide.calls().items() if text.endswith("$15")) == 10_000
