"""`ooda init --print-sql`: run as it is printed, does each script give its level, and does the doctor find all well?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from ooda_dagster.config.servers import ACT_ROLE, APP_ROLE, OBSERVE_ROLE
from ooda_dagster.embedded import Binaries, Cluster, find_binaries
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.cli.conftest import Run
from ooda_dagster_tests.support import Database, make_orders, wait_until
from ooda_dagster_tests.targets.ground import own_cluster

_FIFTEEN = Path("/usr/lib/postgresql/15/bin")
_NO_FIFTEEN = pytest.mark.skipif(not _FIFTEEN.is_dir(), reason="no PostgreSQL 15 server on this machine")
#: A server whose log holds plans.
_LOGGING = {
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "auto_explain.log_min_duration": 0,
    "auto_explain.log_format": "json",
}


def _server(name: str, binaries: Binaries | None = None) -> Iterator[Cluster]:
    preload = ("pg_stat_statements", "auto_explain")
    with own_cluster(name, preload=preload, settings=_LOGGING, binaries=binaries) as cluster:
        Database(cluster, "postgres").execute(f"create role {APP_ROLE} login password '{cluster.password}'")
        yield cluster


@pytest.fixture(scope="module")
def newest() -> Iterator[Cluster]:
    yield from _server("newest")


@pytest.fixture(scope="module")
def fifteen() -> Iterator[Cluster]:
    yield from _server("fifteen", find_binaries(_FIFTEEN))


@pytest.fixture(params=["newest", pytest.param("fifteen", marks=_NO_FIFTEEN)])
def bare(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A service's database, on a server without a role or an extension of ours."""
    made = Database(request.getfixturevalue(request.param), "shop")
    made.cluster.create_database(made.name)
    made.execute(f"grant create on schema public to {APP_ROLE}")
    make_orders(made, 500)
    yield made
    for role in (OBSERVE_ROLE, ACT_ROLE):
        if made.execute("select 1 from pg_roles where rolname = %s", role):
            made.execute(f"drop owned by {role}")
    made.drop()
    for role in (OBSERVE_ROLE, ACT_ROLE):
        Database(made.cluster, "postgres").execute(f"drop role if exists {role}")


@pytest.fixture
def run_script(ooda: Run, bare: Database) -> Callable[..., str]:
    """Runs what is printed, as it is, in one go; then gives our roles passwords."""

    def run(*options: str) -> str:
        text = ooda("init", "--print-sql", "--postgres", str(bare.cluster.version[0]), *options).out
        with psycopg.connect(bare.superuser, autocommit=True) as connection:
            connection.execute(trusted(text))
        for role in (OBSERVE_ROLE, ACT_ROLE):
            if bare.execute("select 1 from pg_roles where rolname = %s", role):
                bare.execute(f"alter role {role} password '{bare.cluster.password}'")
        return text

    return run


def levels(database: Database) -> set[int]:
    with PostgresTarget("t", database.observe).observing("test") as session:
        return set(session.capabilities().levels)


def not_ok(ooda: Run) -> list[dict[str, str]]:
    rows = ooda("doctor", "--target", "shop", "--json").json["rows"]
    return [r for r in rows if r["where"] == "shop" and r["state"] != "ok"]


@pytest.mark.parametrize(("level", "reached"), [(1, {1}), (2, {1, 2}), (3, {1, 2, 3}), (4, {1, 2, 3})])
def test_each_script_gives_its_level(
    run_script: Callable[..., str], bare: Database, level: int, reached: set[int]
) -> None:
    run_script("--level", str(level))
    assert levels(bare) == reached


def test_with_all_that_is_printed_the_doctor_finds_all_well_and_the_role_can_act(
    run_script: Callable[..., str], ooda: Run, bare: Database, configured: Callable[..., None]
) -> None:
    text = run_script("--level", "4", "--owner", APP_ROLE)
    configured(bare, mode="approve")
    assert not_ok(ooda) == []
    assert ("INHERIT FALSE, SET TRUE" in text) == (bare.cluster.version[0] >= 16)
    with PostgresTarget("t", bare.observe, bare.act).acting("act") as session:
        session.execute(
            "create index concurrently i on orders (customer)", role=APP_ROLE, lock_timeout_s=1, timeout_s=9
        )
    assert bare.indexes()["i"]


def test_schemas_by_name_are_read_and_tomorrow_s_tables_too_and_no_other(
    run_script: Callable[..., str], bare: Database
) -> None:
    bare.execute(f'create schema "my Shop" authorization {APP_ROLE}; create schema other; create table other.t (a int)')
    run_script("--schema", "my Shop", "--owner", APP_ROLE)
    bare.execute('create table "my Shop".later as select 1 as a', dsn=bare.app)
    assert bare.execute('select a from "my Shop".later', dsn=bare.observe) == [(1,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        bare.execute("select * from other.t", dsn=bare.observe)


@pytest.mark.parametrize("managed", ["rds", "aurora", "cloudsql", "azure"])
def test_what_is_printed_for_a_managed_service_needs_no_superuser(
    ooda: Run, run_script: Callable[..., str], bare: Database, managed: str
) -> None:
    """By a role that may make roles and was given what such services give their administrator."""
    major, password = bare.cluster.version[0], bare.cluster.password
    bare.execute(f"create role chief login createrole password '{password}'; grant create on database shop to chief")
    bare.execute(f"grant pg_monitor, pg_read_all_data, {APP_ROLE} to chief with admin option")
    bare.execute("create extension pg_stat_statements")
    try:
        text = ooda(
            "init", "--print-sql", "--managed", managed, "--level", "4", "--owner", APP_ROLE, "--postgres", str(major)
        ).out
        assert "pg_read_file" not in text
        assert "a superuser, whom " + managed in text
        bare.execute(text, dsn=bare.cluster.dsn(bare.name, user="chief"))
        bare.execute(f"alter role {OBSERVE_ROLE} password '{password}'")
        assert levels(bare) == {1, 2}
    finally:
        bare.execute("drop schema if exists ooda cascade")
        for role in (OBSERVE_ROLE, ACT_ROLE):
            bare.execute(f"drop owned by {role} cascade; drop role {role}")
        bare.execute("drop owned by chief cascade; drop role chief")


def test_the_plan_log_gives_plans_of_this_database_and_nothing_else(
    run_script: Callable[..., str], bare: Database
) -> None:
    run_script("--level", "3")
    bare.execute("select count(*) as planned_here from orders where customer = 3", dsn=bare.app)
    Database(bare.cluster, "postgres").execute("select count(*) as planned_elsewhere from pg_class")
    with pytest.raises(psycopg.Error):
        bare.execute("select planned_never from orders", dsn=bare.app)

    def plans() -> str:
        found = bare.execute(
            "select plan from ooda.plan_log('', 0, '', 1000000) where plan is not null", dsn=bare.observe
        )
        return " ".join(plan for (plan,) in found)

    wait_until(lambda: "planned_here" in plans(), what="the plan in the log")
    assert "Node Type" in plans()
    assert "planned_elsewhere" not in plans()
    assert "planned_never" not in plans()


def test_the_plan_log_s_reader_opens_no_other_file_and_no_search_path_turns_it(
    run_script: Callable[..., str], bare: Database
) -> None:
    run_script("--level", "3")
    with psycopg.connect(bare.observe, autocommit=True) as reader:
        for statement in ("select pg_read_file('postgresql.conf')", "select pg_read_binary_file('PG_VERSION')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(trusted(statement))
    bare.execute(
        "create schema trap; create function trap.pg_current_logfile(text) returns text language sql as "
        "'select ''PG_VERSION'''; grant usage on schema trap to public"
    )
    with psycopg.connect(bare.observe, autocommit=True) as reader:
        reader.execute("set search_path = trap, pg_catalog")
        with_trap = "select count(plan) > 0 as found from ooda.plan_log('', 0, '', 1000000)"
        wait_until(lambda: (reader.execute(with_trap).fetchone() or (False,))[0], what="a plan, from the real log")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        bare.execute("select * from ooda.plan_log('', 0, '', 1000)", dsn=bare.app)
