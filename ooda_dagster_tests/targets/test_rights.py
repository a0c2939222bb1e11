"""Does each observing level give what it says, and does the GRANT that is named for a blind spot mend it?"""

from __future__ import annotations

import pytest

from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import Database, make_orders
from ooda_dagster_tests.targets.ground import Role

STATEMENTS, STATISTICS, RLS = "other roles' statements", "column statistics and plans", "column statistics of"


@pytest.fixture(autouse=True)
def orders(database: Database) -> None:
    make_orders(database, 500)


def test_a_role_without_rights_has_no_level_and_is_told_both_grants(role: Role) -> None:
    seen = role.seen()
    assert seen.levels == frozenset()
    assert [b.remedy for b in seen.blind_spots] == [
        f"GRANT pg_monitor TO {role.name};",
        f"GRANT pg_read_all_data TO {role.name};",
    ]
    assert "1 table (public.orders)" in seen.blind_spots[1].what


def test_pg_monitor_is_level_one(role: Role) -> None:
    role.grant("pg_monitor")
    assert role.seen().levels == {1}


def test_select_on_every_table_is_level_two(role: Role) -> None:
    role.grant("pg_monitor", "select on all tables in schema public")
    seen = role.seen()
    assert seen.levels == {1, 2}
    assert seen.blind_spots == ()


def test_level_two_can_be_had_without_level_one(role: Role) -> None:
    role.grant("pg_read_all_data")
    assert role.seen().levels == {2}


def test_a_superuser_sees_all(database: Database) -> None:
    with PostgresTarget("t", database.superuser).observing("test") as session:
        seen = session.capabilities()
    assert seen.levels == {1, 2, 4}
    assert seen.superuser
    assert seen.blind_spots == ()


def test_running_the_named_grants_opens_every_blind_spot(role: Role) -> None:
    for spot in role.seen().blind_spots:
        role.database.execute(spot.remedy)
    seen = role.seen()
    assert seen.levels == {1, 2}
    assert seen.blind_spots == ()
    with PostgresTarget("t", role.dsn).observing("test") as session:
        statistics = session.catalogue([("public", "orders")]).tables["public", "orders"].columns["status"].statistics
    assert statistics is not None
    assert set(statistics.common_values) == {"open", "done"}


def test_a_role_whose_name_needs_quotes_gets_a_grant_that_works(role: Role) -> None:
    odd = f'Rôle "{role.name}'
    quoted = '"' + odd.replace('"', '""') + '"'
    role.database.execute(f"alter role {role.name} rename to {quoted}")
    role.database.execute(f"alter role {quoted} password 's3cretPassw0rd'")
    try:
        renamed = Role(role.database, odd)
        for spot in renamed.seen().blind_spots:
            role.database.execute(spot.remedy)
        assert renamed.seen().blind_spots == ()
    finally:
        role.database.execute(f"alter role {quoted} rename to {role.name}")


def test_a_table_in_a_schema_that_is_closed_is_unreadable_whatever_its_own_grants(role: Role) -> None:
    role.database.execute("create schema closed; create table closed.t (a int)")
    role.grant("pg_monitor", "select on all tables in schema public", "select on closed.t")
    spot = role.blind_to(STATISTICS)
    assert spot is not None
    assert "closed.t" in spot.what


def test_tables_of_extensions_are_nobodys_blind_spot(role: Role) -> None:
    role.database.execute("create extension hstore; create table ext (a int); alter extension hstore add table ext")
    role.grant("pg_monitor", "select on orders")
    assert role.blind_to(STATISTICS) is None
    role.database.execute("alter extension hstore drop table ext")
    assert role.blind_to(STATISTICS) is not None


def test_row_security_that_hides_statistics_is_named_and_its_remedy_works(role: Role) -> None:
    role.grant("pg_monitor", "pg_read_all_data")
    role.database.execute("alter table orders enable row level security")
    spot = role.blind_to(RLS)
    assert spot is not None
    assert spot.remedy == f"ALTER ROLE {role.name} BYPASSRLS;"
    role.database.execute(spot.remedy)
    assert role.blind_to(RLS) is None


def test_entries_of_others_are_hidden_from_a_role_without_pg_monitor_and_counted(role: Role) -> None:
    role.database.execute("select 1 as other", dsn=role.database.app)
    with PostgresTarget("t", role.dsn).observing("test") as session:
        counters = session.counters()
    assert counters.hidden > 0
    role.grant("pg_monitor")
    with PostgresTarget("t", role.dsn).observing("test") as session:
        after = session.counters()
    assert after.hidden == 0
    assert len(after.frame) >= counters.hidden


def test_statistics_that_the_role_may_not_see_are_absent_not_wrong(role: Role) -> None:
    role.grant("pg_monitor")
    with PostgresTarget("t", role.dsn).observing("test") as session:
        table = session.catalogue([("public", "orders")]).tables["public", "orders"]
    assert not table.readable
    assert not table.analysed
    assert table.bytes > 0


def test_a_role_without_rights_can_read_activity_and_catalogue(role: Role) -> None:
    with PostgresTarget("t", role.dsn).observing("test") as session:
        assert session.activity().database_bytes > 0
        assert ("public", "orders") in session.catalogue().tables
        assert session.running() == []
