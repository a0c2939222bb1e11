"""Does a build stand down for others' builds, DDL and vacuum, by name, and go on when they have ended?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from ooda_dagster.actions.neighbours import told
from ooda_dagster.core.journal import State
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.surroundings import Work
from ooda_dagster_tests.actions.stage import ON_CUSTOMER, Stage, read_elsewhere
from ooda_dagster_tests.support import Database, keep_autovacuum_away, open_transaction, wait_until


@contextmanager
def building_elsewhere(stage: Stage) -> Iterator[str]:
    """Somebody builds an index in another database of the server, for as long as the block lasts; its name."""
    other = Database(stage.database.cluster, f"{stage.database.name}_other")
    other.create()
    try:
        other.execute("create table far as select 1 as a")
        with psycopg.connect(other.superuser, autocommit=True, application_name="bob") as connection:
            with open_transaction(other.superuser, "insert into far values (2)"):

                def build() -> None:
                    connection.execute("create index concurrently on far (a)")

                thread = threading.Thread(target=build, daemon=True)
                thread.start()
                seen = "select count(*) from pg_stat_progress_create_index where datname = %s"
                wait_until(lambda: other.execute(seen, other.name)[0][0], what="a build elsewhere")
                yield other.name
            thread.join(20)
    finally:
        other.drop()


def test_a_build_in_another_database_of_the_server_keeps_ours_away(stage: Stage) -> None:
    action = stage.approved()
    with building_elsewhere(stage) as name:
        refused = stage.with_acting(wait_for_others_s=0.3).apply(action)
    assert refused.action.state == State.APPROVED
    assert f"(bob) builds an index in database {name}: one build at a time" in refused.note
    assert stage.apply(action).action.state == State.VERIFYING


@pytest.mark.parametrize(
    ("statement", "mode"),
    [
        ("alter table orders add column more int", "AccessExclusiveLock"),
        ("create index mine on orders (placed)", "ShareLock"),
        ("create trigger t before insert on orders for each row execute function suppress_redundant_updates_trigger()",
         "ShareRowExclusiveLock"),
        ("lock table orders in share update exclusive mode", "ShareUpdateExclusiveLock"),  # VACUUM, ANALYZE
    ],
)  # fmt: skip
def test_a_persons_ddl_in_flight_on_the_table_makes_us_stand_down_by_name(
    stage: Stage, statement: str, mode: str
) -> None:
    action, gate = stage.approved(), stage.with_acting(wait_for_others_s=0.3)
    with open_transaction(stage.database.app, statement, name="bob"):
        outcome = gate.apply(action)
    assert outcome.action.state == State.APPROVED
    assert stage.moves(action) == ["proposed", "approved"]
    assert "(bob) holds" in outcome.note
    assert f"{mode} on public.orders" in outcome.note
    assert "we stand down" in outcome.note
    assert ON_CUSTOMER.name not in stage.database.indexes()


def test_ddl_on_another_table_and_writes_on_ours_keep_no_build_away(stage: Stage) -> None:
    stage.database.execute("create table another (a int)", dsn=stage.database.app)
    said: list[str] = []
    with (
        open_transaction(stage.database.app, "alter table another add column b int"),
        read_elsewhere(stage.database) as reading,
    ):
        reading.rollback()
        assert stage.apply(stage.approved(), say=said.append).done
    assert not [line for line in said if line.startswith("waiting")]


def test_a_build_goes_on_when_the_ddl_has_ended(stage: Stage) -> None:
    said: list[str] = []
    with open_transaction(stage.database.app, "alter table orders add column more int", name="bob") as held:

        def end_it(line: str) -> None:
            said.append(line)
            held.rollback()

        outcome = stage.apply(stage.approved(), say=end_it)
    assert outcome.action.state == State.VERIFYING
    assert said[0].startswith("waiting: pid")


def test_autovacuum_that_goes_on_is_ended_by_the_server_for_our_build(stage: Stage) -> None:
    """It has the table for as long as its delays make it; the server gives it up after deadlock_timeout."""
    database = stage.database
    slow = "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_threshold = 10"
    database.execute(f"alter table orders set ({slow}, autovacuum_vacuum_scale_factor = 0)")
    database.execute("update orders set note = note")
    database.execute("alter system set autovacuum_naptime = '1s'")
    database.execute("select pg_reload_conf()")
    working = (
        "select count(*) from pg_stat_activity where backend_type = 'autovacuum worker' and query ilike '%%orders%%'"
        " and datname = current_database()"
    )
    try:
        wait_until(lambda: database.execute(working)[0][0], timeout_s=60, what="autovacuum")
        outcome = stage.with_acting(wait_for_others_s=0.5).apply(stage.approved())
    finally:
        keep_autovacuum_away(database.cluster)
    assert outcome.action.state == State.VERIFYING, outcome.note
    (applying,) = [r for r in stage.ledger.actions.history(outcome.action.action_id) if r["to_state"] == "applying"]
    assert "the server ends it for us" in applying["detail"]["guards"]


def test_vacuum_against_wraparound_yields_to_nobody_and_says_so() -> None:
    worker = Work(7, "holds ShareUpdateExclusiveLock", "public", "t", "d", "", "autovacuum worker", True, 3.0)
    assert not worker.yields
    assert told([worker]) == ["pid 7 (autovacuum worker) vacuums public.t to prevent wraparound, and yields to nobody"]


def test_without_rights_a_build_elsewhere_is_seen_all_the_same(stage: Stage) -> None:
    """A role that may see nobody's activity knows the pid and the database, and stands down."""
    database = stage.database
    database.execute("create role blind login password 'blind'")
    try:
        with building_elsewhere(stage) as name:
            dsn = database.cluster.dsn(database.name, user="blind", password="blind")
            with PostgresTarget("b", dsn).observing("act") as session:
                (work,) = session.work_on([("public", "orders")], own=[])
            assert f"builds an index in database {name}" in told([work])[0]
    finally:
        database.execute("drop role blind")
