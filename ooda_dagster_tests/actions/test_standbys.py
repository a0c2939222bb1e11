"""Does a build stay away while a standby lags or a slot keeps the log, and is told what cannot be seen?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ooda_dagster.actions.standbys import behind, seen_of
from ooda_dagster.config.servers import make_roles
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Acting as Policy
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.actions.stage import Stage, make_stage
from ooda_dagster_tests.support import Database, open_transaction, wait_until

pytestmark = pytest.mark.slow  # two servers

#: A limit that a few thousand rows exceed.
TINY_MB = 0.1


@pytest.fixture(scope="module")
def primary(home: Path) -> Iterator[Cluster]:
    """A server of its own, with a streaming standby of the name `standby` beside it."""
    settings = {"shared_buffers": "32MB", "max_prepared_transactions": 5, "cluster_name": "standby"}
    cluster = Cluster(home / "clusters", "primary", settings=settings, durable=False)
    cluster.start()
    make_roles(cluster)
    database = Database(cluster, "test_standbys")
    database.create()
    yield cluster
    cluster.destroy()


@pytest.fixture(scope="module")
def standby(primary: Cluster) -> Iterator[Cluster]:
    copy = primary.clone("standby", settings={"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s"})
    copy.start()
    yield copy
    copy.destroy()


@pytest.fixture
def stage(home: Path, primary: Cluster, shared: tuple[Database, Ledger]) -> Stage:
    made = make_stage(Database(primary, "test_standbys"), shared[1], home)
    return made.with_acting(wait_for_others_s=0.5)


def write_log(stage: Stage) -> None:
    """Some megabytes of it."""
    stage.database.execute("update orders set note = note || 'y'; update orders set note = note || 'z'")


def guards_of(stage: Stage, action_id: str) -> str:
    (row,) = [r for r in stage.ledger.actions.history(action_id) if r["to_state"] == "applying"]
    return row["detail"]["guards"]


def replay(standby: Cluster, how: str) -> None:
    Database(standby, "postgres").execute(f"select pg_wal_replay_{how}()")


def caught_up(stage: Stage) -> None:
    lag = "select count(*) from pg_stat_replication where replay_lsn >= pg_current_wal_insert_lsn()"
    wait_until(lambda: stage.database.execute(lag)[0][0], what="the standby to catch up")


def test_a_standby_that_lags_by_bytes_keeps_a_build_away_until_it_caught_up(stage: Stage, standby: Cluster) -> None:
    caught_up(stage)
    action, gate = stage.approved(), stage.with_acting(max_standby_lag_mb=TINY_MB)
    replay(standby, "pause")
    try:
        write_log(stage)
        refused = gate.apply(action)
        assert refused.action.state == State.APPROVED
        assert "standby standby is" in refused.note
        assert "MB behind (acting.max_standby_lag_mb)" in refused.note
        said: list[str] = []

        def go_on(line: str) -> None:
            said.append(line)
            replay(standby, "resume")

        done = gate.with_acting(wait_for_others_s=20).apply(action, say=go_on)
    finally:
        replay(standby, "resume")
    assert done.action.state == State.VERIFYING, done.note
    assert said[0].startswith("waiting: standby standby is")
    assert "standby standby" in guards_of(stage, action.action_id)


def test_a_standby_that_lags_by_seconds_keeps_a_build_away(stage: Stage, standby: Cluster) -> None:
    """Its apply delay is what is measured: a second and a half behind, while a little is written."""
    copy = Database(standby, "postgres")
    copy.execute("alter system set recovery_min_apply_delay = '1500ms'")
    copy.execute("select pg_reload_conf()")
    measured = "select max(extract(epoch from replay_lag)) from pg_stat_replication"

    def lagging() -> bool:
        stage.database.execute("update orders set note = note where id = 1")
        return (stage.database.execute(measured)[0][0] or 0) > 1

    action = stage.approved()
    try:
        wait_until(lagging, what="a measured lag")
        stage.database.execute("update orders set note = note where id = 1")
        refused = stage.with_acting(max_standby_lag_s=1, wait_for_others_s=0).apply(action)
    finally:
        copy.execute("alter system reset recovery_min_apply_delay")
        copy.execute("select pg_reload_conf()")
    assert "s behind (acting.max_standby_lag_s)" in refused.note
    assert refused.action.state == State.APPROVED


def test_what_a_standbys_feedback_holds_is_told_and_holds_up_no_build(stage: Stage, standby: Cluster) -> None:
    caught_up(stage)
    reading = ("set transaction isolation level repeatable read", "select count(*) from orders")
    dsn = standby.dsn(stage.database.name)
    with open_transaction(dsn, *reading):
        held = "select count(*) from pg_stat_replication where backend_xmin is not null"
        wait_until(lambda: stage.database.execute(held)[0][0], what="feedback")
        write_log(stage)
        outcome = stage.apply(stage.approved())
    assert outcome.action.state == State.VERIFYING, outcome.note
    assert "transactions (hot_standby_feedback)" in guards_of(stage, outcome.action.action_id)


def test_what_cannot_be_seen_of_standbys_is_said(stage: Stage, standby: Cluster) -> None:
    stage.database.execute("create role blind login password 'blind'")
    try:
        dsn = stage.database.cluster.dsn(stage.database.name, user="blind", password="blind")
        with PostgresTarget("b", dsn).observing("act") as session:
            assert any("cannot be seen (GRANT pg_monitor)" in line for line in seen_of(session.replication()))
    finally:
        stage.database.execute("drop role blind")
    with PostgresTarget("s", standby.dsn(stage.database.name)).observing("act") as session:
        assert behind(session.replication(), 1 << 40, Policy()) is None
        assert "of its primary cannot be seen" in seen_of(session.replication())[0]


def test_a_prepared_transaction_that_wrote_to_the_table_keeps_a_build_away(stage: Stage) -> None:
    action = stage.approved()
    with psycopg.connect(stage.database.app) as connection:
        connection.execute("update orders set note = note where id = 1")
        connection.execute("prepare transaction 'forgotten'")
    try:
        refused = stage.apply(action)
    finally:
        stage.database.execute("rollback prepared 'forgotten'")
    assert "a prepared transaction (pg_prepared_xacts) holds RowExclusiveLock on public.orders" in refused.note
    assert stage.apply(action).action.state == State.VERIFYING
