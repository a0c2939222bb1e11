"""Is the source left as it was found, and what does a role with few rights not see?"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from ooda_dagster.embedded import Cluster
from ooda_dagster.embedded.clone import StatisticsClone
from ooda_dagster_tests.embedded.clone.shop import EXPRESSION, WATCHER, plan, shape, watcher
from ooda_dagster_tests.support import Database, open_transaction


def blind_of(source: Database, scratch: Cluster, dsn: str, **options: Any) -> dict[str, str]:
    with psycopg.connect(dsn, autocommit=True) as session:
        clone = StatisticsClone.build(session, scratch, database="blind", **options)
    clone.drop()
    return clone.report.blind


def written(source: Database) -> list[Any]:
    return source.execute(
        "select pg_stat_force_next_flush(); "
        "select tup_inserted, tup_updated, tup_deleted, pg_current_wal_insert_lsn() is not null, "
        "(select count(*) from pg_class), (select max(xmin::text::bigint) from pg_class) "
        "from pg_stat_database where datname = current_database()"
    )


def test_nothing_is_written_on_the_source(source: Database, scratch: Cluster) -> None:
    before = written(source)
    source.execute("select pg_stat_statements_reset()")
    with psycopg.connect(watcher(source), autocommit=True) as session:
        session.execute("set default_transaction_read_only = on")
        StatisticsClone.build(session, scratch, database="untouched").drop()
    assert written(source) == before
    texts = source.execute(
        "select s.query from pg_stat_statements s join pg_roles r on r.oid = s.userid where r.rolname = %s", WATCHER
    )
    ours = [text for (text,) in texts if "default_transaction_read_only" not in text]
    assert len(ours) > 10
    assert all(text.endswith("/* ooda */") for text in ours)


def test_the_session_is_left_as_it_was_found(source: Database, scratch: Cluster) -> None:
    everything = "select name, setting from pg_settings order by name"
    with psycopg.connect(watcher(source), autocommit=True) as session:
        session.execute("set search_path = 'Läden', public; set statement_timeout = '7s'; set datestyle = 'German'")
        before = session.execute(everything).fetchall()
        StatisticsClone.build(session, scratch, database="session").drop()
        assert session.execute(everything).fetchall() == before
        assert session.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_statement_finds_its_tables_by_the_sessions_search_path(source: Database, scratch: Cluster) -> None:
    with psycopg.connect(watcher(source), autocommit=True) as session:
        session.execute("set search_path = 'Läden', public")
        clone = StatisticsClone.build(session, scratch, database="path")
    assert clone.explain('select * from "Große ""T"" 1"')["Plan Rows"] == 60_000
    clone.drop()


def test_only_the_statistics_that_cannot_be_carried_are_named(source: Database, clone: StatisticsClone) -> None:
    del source
    assert clone.report.blind == {
        "statistics public.customers_habits": "definition only: its data is not visible to the role",
        "statistics of public.customers_tidy": "the role does not see those of its expressions; "
        "one with pg_read_all_data does",
    }


def test_a_role_that_reads_all_data_carries_the_statistics_of_expressions(source: Database, scratch: Cluster) -> None:
    with psycopg.connect(source.observe, autocommit=True) as session:
        clone = StatisticsClone.build(session, scratch, database="all")
    with psycopg.connect(source.superuser) as connection:
        real = plan(connection, EXPRESSION)
    cloned = clone.explain(EXPRESSION)
    assert (shape(cloned), cloned["Plan Rows"]) == (shape(real), real["Plan Rows"])
    assert "statistics of public.customers_tidy" not in clone.report.blind
    clone.drop()


def test_a_table_that_the_role_may_not_read_is_named(source: Database, scratch: Cluster) -> None:
    source.execute("create table secret as select g as x from generate_series(1, 100) g; analyze secret")
    try:
        blind = blind_of(source, scratch, watcher(source), relations={("public", "secret"), ("public", "kept")})
    finally:
        source.execute("drop table secret")
    assert blind == {"statistics of public.secret": "no SELECT right"}


def test_a_table_that_was_never_analysed_is_named(source: Database, scratch: Cluster) -> None:
    source.execute(f"create table fresh (x int) with (autovacuum_enabled = off); grant select on fresh to {WATCHER}")
    try:
        blind = blind_of(source, scratch, watcher(source), relations={("public", "fresh")})
    finally:
        source.execute("drop table fresh")
    assert blind == {"statistics of public.fresh": "never analysed"}


def test_an_invalid_index_is_left_out_and_named(source: Database, scratch: Cluster) -> None:
    source.execute("create index broken on kept (note)")
    source.execute("update pg_index set indisvalid = false where indexrelid = 'broken'::regclass")
    try:
        blind = blind_of(source, scratch, watcher(source), relations={("public", "kept")})
    finally:
        source.execute("drop index broken")
    assert blind == {"public.broken": "invalid on the source: left out"}


def test_a_lock_of_another_session_delays_nothing_and_what_it_hides_is_named(
    source: Database, scratch: Cluster
) -> None:
    with open_transaction(source.superuser, "lock table customers in access exclusive mode"):
        with psycopg.connect(watcher(source), autocommit=True) as session:
            clone = StatisticsClone.build(session, scratch, database="locked")
    assert "another session's lock" in clone.report.blind["views"]
    assert clone.report.blind["public.customers"] == "left out: another session locks it"
    assert clone.explain("select * from events")["Plan Rows"] == 90_000
    clone.drop()


def test_a_part_of_the_source_comes_with_its_family(source: Database, scratch: Cluster) -> None:
    with psycopg.connect(watcher(source), autocommit=True) as session:
        clone = StatisticsClone.build(session, scratch, database="part", relations={("public", "events_2")})
    assert clone.report.counts["relations"] == 4
    with pytest.raises(psycopg.errors.UndefinedTable):
        clone.explain("select * from kept")
    clone.drop()
