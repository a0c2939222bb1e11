"""Are statement counters read as the server counts them, and is it said what to do where it does not?"""

from __future__ import annotations

import pytest

from ooda_dagster.core.seen import BlindSpot
from ooda_dagster.embedded import Cluster
from ooda_dagster.targets.base import Capabilities, Counters, TargetError, TargetUnreachableError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import Database
from ooda_dagster_tests.targets.ground import Role


def _capabilities(dsn: str) -> Capabilities:
    with PostgresTarget("t", dsn).observing("test") as session:
        return session.capabilities()


def _counters(dsn: str) -> Counters:
    with PostgresTarget("t", dsn).observing("test") as session:
        return session.counters()


def _statements_spot(seen: Capabilities) -> BlindSpot:
    return next(b for b in seen.blind_spots if b.what == "statement statistics")


def test_a_database_without_the_extension_says_how_to_get_it_and_that_works(database: Database) -> None:
    database.execute("drop extension pg_stat_statements")
    seen = _capabilities(database.observe)
    assert not seen.statements_ok
    assert "not installed in this database" in _statements_spot(seen).why
    with pytest.raises(TargetError, match=r"no statement statistics: .*CREATE EXTENSION pg_stat_statements"):
        _counters(database.observe)
    database.execute("CREATE EXTENSION pg_stat_statements")
    assert _capabilities(database.observe).statements_ok


def test_an_extension_whose_library_is_not_loaded_is_told_from_a_missing_one(
    small: Database, small_server: Cluster
) -> None:
    unloaded = Cluster(small_server.home, small_server.name, preload=(), durable=False)
    small_server.stop()
    unloaded.start()
    try:
        seen = _capabilities(small.superuser)
        assert not seen.statements_ok
        assert "installed but not loaded" in _statements_spot(seen).why
        assert "shared_preload_libraries = 'pg_stat_statements'" in _statements_spot(seen).remedy
    finally:
        unloaded.stop()
        small_server.start()
    assert _capabilities(small.superuser).statements_ok


def test_an_extension_in_a_schema_of_its_own_is_found(database: Database) -> None:
    database.execute(
        'drop extension pg_stat_statements; create schema "Odd; drop"; '
        'create extension pg_stat_statements schema "Odd; drop"; grant usage on schema "Odd; drop" to public'
    )
    assert _capabilities(database.observe).statements_ok
    assert "query_id" in _counters(database.observe).frame


def test_an_extension_in_a_closed_schema_gets_a_grant_that_mends_it(role: Role) -> None:
    role.grant("pg_monitor")
    role.database.execute(
        "drop extension pg_stat_statements; create schema closed; create extension pg_stat_statements schema closed"
    )
    seen = role.seen()
    assert not seen.statements_ok
    role.database.execute(_statements_spot(seen).remedy)
    assert role.seen().statements_ok


def test_an_old_version_of_the_extension_still_serves(database: Database) -> None:
    """The server is updated, and nobody ran ALTER EXTENSION: there is no time of an entry then."""
    database.execute("drop extension pg_stat_statements; create extension pg_stat_statements version '1.9'")
    counters = _counters(database.observe)
    assert len(counters.frame) > 0
    assert counters.frame["since"].isna().all()


def test_too_old_a_version_of_the_extension_says_how_to_update_and_that_works(database: Database) -> None:
    database.execute("drop extension pg_stat_statements; create extension pg_stat_statements version '1.8'")
    seen = _capabilities(database.observe)
    assert not seen.statements_ok
    database.execute(_statements_spot(seen).remedy)
    assert _capabilities(database.observe).statements_ok


def test_counters_are_the_server_s_own(database: Database) -> None:
    for n in range(4):
        database.execute(f"select {n} as counted, g from generate_series(1, 3) g", dsn=database.app)
    counters = _counters(database.observe)
    ((query_id, calls, total, rows, mean, deviation),) = database.execute(
        "select queryid, calls, total_exec_time, rows, mean_exec_time, stddev_exec_time from pg_stat_statements "
        "where query like 'select $1 as counted%'"
    )
    entry = counters.frame.set_index("query_id").loc[query_id]
    assert (entry["calls"], entry["rows"], entry["total_ms"]) == (calls, rows, total) == (4, 12, total)
    assert entry["total_ms_sq"] == pytest.approx(calls * (mean**2 + deviation**2))


def test_counters_of_other_databases_are_not_read(database: Database) -> None:
    other = Database(database.cluster, f"{database.name}_b")
    other.create()
    try:
        other.execute("select 1 as over_there", dsn=other.app)
        ids = {r[0] for r in database.execute("select queryid from pg_stat_statements where query like '%over_there%'")}
        assert ids
        assert not ids & set(_counters(database.observe).frame["query_id"])
    finally:
        other.drop()


def test_texts_of_other_roles_are_read_with_pg_monitor_and_hold_no_literal(database: Database) -> None:
    database.execute("comment on database postgres is null; select 'm4rker' as said", dsn=database.superuser)
    database.execute("create table t (a text default 'm4rker'); comment on table t is 'm4rker'", dsn=database.app)
    with PostgresTarget("t", database.observe).observing("test") as session:
        texts = session.texts([int(q) for q in session.counters().frame["query_id"]])
    assert any(text.startswith("create table t") for text in texts.values())
    assert not any("m4rker" in text for text in texts.values())


def test_running_texts_are_whole_and_not_our_own(database: Database) -> None:
    target = PostgresTarget("t", database.observe)
    with target.observing("other") as other, target.observing("test") as session:
        other.activity()
        assert session.running() == []


def test_a_server_is_told_from_another_one(database: Database, small: Database) -> None:
    here, there = _capabilities(database.observe).identity, _capabilities(small.superuser).identity
    assert here != there
    assert here["system_identifier"] not in (None, there["system_identifier"])


def test_counters_of_a_session_that_was_ended_are_one_of_our_errors(database: Database) -> None:
    with PostgresTarget("t", database.observe).observing("test") as session:
        assert session.capabilities().statements_ok
        database.execute(f"select pg_terminate_backend({session.connection.info.backend_pid}, 5000)")
        with pytest.raises(TargetUnreachableError, match="reading statement statistics: the connection was lost"):
            session.counters()
