"""Reader = standby, writer = primary: is it one target, are others refused, and is what is blind said?"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from ooda_dagster.actions.agreement import mismatches
from ooda_dagster.actions.create_index import propose_index
from ooda_dagster.actions.recovery import recover
from ooda_dagster.config.servers import make_roles
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode, with_profile
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.by_hand import approve_action
from ooda_dagster.loop.context import Loop
from ooda_dagster.targets.base import RefusedError, TargetError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.observing import PostgresObserving
from ooda_dagster_tests.support import APP_ROLE, Database, make_orders, wait_until
from ooda_dagster_tests.targets.ground import own_cluster

SPEC = IndexSpec.on("public", "orders", "customer")


@pytest.fixture(scope="module")
def pair(home: Path) -> Iterator[tuple[Database, Database]]:
    """A database on a primary, and the same on its standby."""
    with own_cluster("primary") as cluster:
        make_roles(cluster)
        primary = Database(cluster, "shop")
        primary.create()
        make_orders(primary, 5000)
        standby = cluster.clone("standby")
        standby.start()
        try:
            yield primary, Database(standby, "shop")
        finally:
            standby.destroy()


@pytest.fixture
def loop(pair: tuple[Database, Database], ledger: Ledger, home: Path) -> Iterator[Loop]:
    primary, standby = pair
    settings = with_profile("short", {"mode": Mode.AUTO})
    made = Loop(PostgresTarget(f"t{uuid.uuid4().hex[:8]}", standby.observe, primary.act), ledger, settings, home=home)
    made.register()
    yield made
    primary.execute(f'drop index if exists "{SPEC.name}"')
    standby.execute("select pg_wal_replay_resume()")


def built(loop: Loop) -> str:
    action = loop.ledger.actions.propose(loop.name, propose_index(SPEC), by="ann", now=loop.clock())
    action = approve_action(loop, action, by="ann")
    (outcome,) = loop.executor("ann").apply([action])
    assert outcome.done, outcome.note
    return action.action_id


def test_what_is_built_on_the_primary_shows_on_the_observed_standby_after_replay(
    loop: Loop, pair: tuple[Database, Database]
) -> None:
    primary, standby = pair
    standby.execute("select pg_wal_replay_pause()")
    built(loop)
    assert primary.indexes()[SPEC.name]
    assert SPEC.name not in standby.indexes()
    with pytest.raises(RefusedError, match="standby lags behind its primary"):
        loop.target.catch_up(0.3)
    standby.execute("select pg_wal_replay_resume()")
    waited_s = loop.target.catch_up(20)
    assert waited_s is not None
    assert standby.indexes()[SPEC.name]


def test_a_change_is_on_the_primarys_disk_before_its_replay_is_waited_for(
    loop: Loop, pair: tuple[Database, Database]
) -> None:
    primary, standby = pair
    primary.execute("alter database shop set synchronous_commit = off")  # commits then reach the disk within 0.6 s
    try:
        for n in range(10):
            with loop.target.acting("test") as session:
                session.execute(f"create table public.late{n} (n int)", role=APP_ROLE, lock_timeout_s=1, timeout_s=5)
            loop.target.catch_up(20)
            assert standby.execute("select to_regclass(%s)", f"public.late{n}") != [(None,)]
    finally:
        primary.execute("alter database shop reset synchronous_commit")


def test_an_index_that_is_not_replayed_yet_is_not_taken_for_one_that_somebody_dropped(
    loop: Loop, pair: tuple[Database, Database]
) -> None:
    standby = pair[1]
    standby.execute("select pg_wal_replay_pause()")
    action_id = built(loop)
    assert recover(loop.target, loop.ledger, loop.settings) == []
    with loop.target.primary("check") as session:
        assert mismatches(loop.target, loop.ledger, session) == []
    assert loop.ledger.actions.get(action_id).state == "verifying"


def test_statements_of_the_standby_are_its_own_and_writes_are_a_named_blind_spot(
    loop: Loop, pair: tuple[Database, Database]
) -> None:
    primary, standby = pair
    for n in range(4):
        standby.execute("select count(*) as read_here from orders where customer = %s", n, dsn=standby.app)
    primary.execute("select count(*) as read_there from orders", dsn=primary.app)
    with loop.target.observing("test") as session:
        seen, counters = session.capabilities(), session.counters()
        texts = session.texts([int(q) for q in counters.frame["query_id"]])
    assert any("read_here" in text for text in texts.values())
    assert not any("read_there" in text for text in texts.values())
    (spot,) = [b for b in seen.blind_spots if b.what == "statements that write"]
    assert "primary" in spot.remedy


def test_scans_of_a_new_index_are_counted_where_it_is_read(loop: Loop, pair: tuple[Database, Database]) -> None:
    standby = pair[1]
    built(loop)
    loop.target.catch_up(20)
    with psycopg.connect(standby.app, autocommit=True) as reader:
        reader.execute("set enable_seqscan = off")
        for n in range(5):
            reader.execute("select count(*) from orders where customer = %s", (n,))

    def scans() -> int:
        with loop.target.observing("verify") as session:
            index = session.index("public", SPEC.name)
            return index.scans if index else 0

    wait_until(lambda: scans() >= 5, what="the standby's count of scans")
    assert scans() == 5


def test_load_and_old_transactions_are_looked_at_on_the_primary(loop: Loop, pair: tuple[Database, Database]) -> None:
    with psycopg.connect(pair[0].app, application_name="old") as somebody:
        somebody.execute("set transaction isolation level repeatable read")
        somebody.execute("select 1 from orders limit 1")
        with loop.target.primary("act") as session:
            assert "old" in {t.application_name for t in session.activity().transactions}
            assert isinstance(session, PostgresObserving)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                session.connection.execute("create table t (a int)")
        with loop.target.observing("act") as session:
            assert "old" not in {t.application_name for t in session.activity().transactions}


def test_two_connections_at_most_are_open_while_an_index_is_built(loop: Loop, pair: tuple[Database, Database]) -> None:
    pair[0].execute("alter role ooda_act connection limit 2")
    try:
        action_id = built(loop)
    finally:
        pair[0].execute("alter role ooda_act connection limit -1")
    assert loop.ledger.actions.get(action_id).state == State.VERIFYING


def test_acting_on_another_cluster_is_refused_by_name(
    loop: Loop, pair: tuple[Database, Database], database: Database
) -> None:
    elsewhere = PostgresTarget("shop", pair[1].observe, database.act)
    with pytest.raises(RefusedError, match=r"target shop: .*different clusters \(system identifiers \d+ and \d+\)"):
        with elsewhere.acting("act"):
            pass


def test_acting_on_another_database_of_the_same_cluster_is_refused_by_name(
    loop: Loop, database: Database, target_server: Cluster
) -> None:
    other = Database(target_server, "postgres")
    action = loop.ledger.actions.propose(loop.name, propose_index(SPEC), by="ann", now=loop.clock())
    astray = replace(loop, target=PostgresTarget(loop.name, database.observe, other.act))
    (outcome,) = astray.executor("ann").apply([approve_action(loop, action, by="ann")])
    assert f"`observe` leads to database {database.name} and `act` to database postgres" in outcome.note


def test_where_no_standby_is_observed_or_nothing_acts_there_is_nothing_to_wait_for(
    pair: tuple[Database, Database], database: Database
) -> None:
    assert PostgresTarget("t", database.observe, database.act).catch_up(1) is None
    assert PostgresTarget("t", pair[1].observe).catch_up(1) is None


def test_an_acting_connection_that_leads_to_the_standby_too_is_one_of_our_errors(
    pair: tuple[Database, Database],
) -> None:
    _, standby = pair
    with pytest.raises(TargetError, match="comparing a standby with its primary: recovery is in progress"):
        PostgresTarget("t", standby.observe, standby.act).catch_up(1)
