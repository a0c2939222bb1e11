"""Is the plan log read on from where it was left, whatever becomes of its files? And estimates, without values?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ooda_dagster.cli.rights import script
from ooda_dagster.config.servers import APP_ROLE, OBSERVE_ROLE
from ooda_dagster.core.plan_log import LogPosition, PlanLogPart
from ooda_dagster.core.plans import read_plan
from ooda_dagster.embedded import Binaries, find_binaries
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.support import Database, make_orders, wait_until
from ooda_dagster_tests.targets.ground import own_cluster

_FIFTEEN = Path("/usr/lib/postgresql/15/bin")
_LOGGING = {
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "log_timezone": "Asia/Kolkata",  # whose abbreviation is another zone's too
    "log_filename": "postgresql-%H%M%S.log",
    "auto_explain.log_min_duration": 0,
    "auto_explain.log_format": "json",
}


def _server(name: str, binaries: Binaries | None = None) -> Iterator[Database]:
    with own_cluster(
        name, preload=("pg_stat_statements", "auto_explain"), settings=_LOGGING, binaries=binaries
    ) as cluster:
        made = Database(cluster, "shop")
        cluster.create_database(made.name)
        made.execute(f"create role {APP_ROLE} login password '{cluster.password}'")
        made.execute(f"grant create on schema public to {APP_ROLE}")
        made.execute(script(level=3))
        made.execute(f"alter role {OBSERVE_ROLE} password '{cluster.password}'")
        make_orders(made, 2000)
        yield made


@pytest.fixture(scope="module")
def logging() -> Iterator[Database]:
    yield from _server("plans")


@pytest.fixture(scope="module")
def fifteen() -> Iterator[Database]:
    yield from _server("plans15", find_binaries(_FIFTEEN))


Read = Callable[..., PlanLogPart]


@pytest.fixture
def read(logging: Database) -> Iterator[Read]:
    with PostgresTarget("t", logging.observe).observing("test") as session:
        yield lambda after=None, most_bytes=1 << 20: session.plan_log(after, most_bytes=most_bytes)


def asked(database: Database, text: str, *parameters: Any) -> None:
    database.execute(text, *parameters, dsn=database.app)


def texts(part: PlanLogPart) -> list[str]:
    """What the service asked."""
    return [p.text for p in part.plans if " from orders where " in p.text and "pg_stat" not in p.text]


def all_of(read: Read, after: LogPosition | None, **options: int) -> tuple[list[str], LogPosition | None]:
    found = []
    while True:
        part = read(after, **options)
        found += texts(part)
        if part.position == after:
            return found, after
        after = part.position


def test_each_execution_is_read_once_with_its_statement_time_and_moment(logging: Database, read: Read) -> None:
    after = read().position
    (began,) = logging.execute("select now()")[0]
    asked(logging, "select note from orders where id = 77")
    asked(logging, "select count(*) from orders where customer = 3")
    part = wait_until(lambda: (p := read(after)) and len(texts(p)) == 2 and p, what="both plans")
    plan = next(p for p in part.plans if "77" in p.text)
    known = "select queryid from pg_stat_statements where query = 'select note from orders where id = $1'"
    assert [(plan.query_id,)] == logging.execute(known)
    assert 0 < plan.duration_ms < 10_000
    assert abs((plan.logged_at - began).total_seconds()) < 30
    assert "Index Scan" in read_plan(plan.plan).text
    again = read(part.position)
    assert texts(again) == []


def test_a_part_ends_with_a_whole_line_and_parts_add_up_to_all(logging: Database, read: Read) -> None:
    after = read().position
    wanted = [f"select count(*) from orders where customer = {n}" for n in range(40)]
    for text in wanted:
        asked(logging, text)
    wait_until(lambda: len(texts(read(after))) == 40, what="all plans")
    assert all_of(read, after, most_bytes=3000)[0] == wanted


def test_a_line_longer_than_a_part_is_passed_over_and_what_follows_is_read(logging: Database, read: Read) -> None:
    after = read().position
    asked(logging, f"select note from orders where note = '{'x' * 20_000}'")
    asked(logging, "select note from orders where id = 5")
    wait_until(lambda: len(texts(read(after))) == 2, what="both plans")
    assert all_of(read, after, most_bytes=5000)[0] == ["select note from orders where id = 5"]


def test_reading_goes_on_in_the_next_file_after_a_rotation(logging: Database, read: Read) -> None:
    after = read().position
    asked(logging, "select note from orders where id = 1")
    (first,) = logging.execute("select pg_current_logfile('jsonlog')")[0]
    wait_until(lambda: len(texts(read(after))) == 1)

    def rotated() -> bool:
        logging.execute("select pg_rotate_logfile()")
        return logging.execute("select pg_current_logfile('jsonlog')") != [(first,)]

    wait_until(rotated, what="another file")
    asked(logging, "select note from orders where id = 2")
    wait_until(lambda: len(all_of(read, after)[0]) == 2, what="both plans")
    found, last = all_of(read, after)
    assert found == [f"select note from orders where id = {n}" for n in (1, 2)]
    assert last is not None
    assert first.endswith(after.file)
    assert last.file != after.file


def log_directory(database: Database) -> Path:
    (found,) = database.execute("select current_setting('data_directory') || '/' || current_setting('log_directory')")[
        0
    ]
    return Path(found)


def test_a_name_that_is_used_again_is_another_file(logging: Database, read: Read) -> None:
    asked(logging, "select note from orders where id = 1")
    part = wait_until(lambda: (p := read()) and texts(p) and p)
    replaced = LogPosition(part.position.file, part.position.byte, "0" * 32)
    assert texts(read(part.position)) == []
    assert texts(read(replaced))  # from its beginning; the rest of a long one comes with the next part
    shorter = LogPosition(part.position.file, 1 << 40, part.position.head)
    assert texts(read(shorter))


def test_where_the_file_was_removed_the_end_of_the_newest_is_read(logging: Database, read: Read) -> None:
    asked(logging, "select note from orders where id = 1")
    part = wait_until(lambda: (p := read()) and texts(p) and p)
    gone = read(LogPosition("postgresql-never.json", 10, "x"))
    assert gone.position.file == part.position.file
    assert texts(gone)


def test_what_a_crash_left_in_the_log_ends_nothing(logging: Database, read: Read) -> None:
    after = read().position
    junk = [
        b'{"timestamp":"2026-03-02 10:00:00.000 UTC","dbname":"shop","message":"duration: 1 ms  plan:\\n{" half',
        b'{"dbname":"shop","message":"duration: 1.5 ms  plan:\\nno JSON"}',
        b'{"dbname":"shop","message":"duration: 1.5 ms  plan:\\n\xff\xfe orders \x00"}',
        b"\x00\x00\x00 ms  plan:",
        b'{"dbname":"other","message":"duration: 1.5 ms  plan:\\n{}"}',
    ]
    with open(log_directory(logging) / after.file, "ab") as file:
        file.write(b"\n".join(junk) + b"\n")
    asked(logging, "select note from orders where id = 9")
    part = wait_until(lambda: (p := read(after)) and texts(p) and p)
    assert texts(part) == ["select note from orders where id = 9"]
    assert part.unreadable == 4


def test_what_is_inside_a_function_or_only_looks_like_a_plan_is_left_out(logging: Database, read: Read) -> None:
    after = read().position
    asked(
        logging,
        "create or replace function inner_one() returns bigint language plpgsql as "
        "$$ begin return (select count(*) from orders where customer = 1); end $$",
    )
    with psycopg.connect(logging.superuser, autocommit=True) as connection:
        connection.execute("set auto_explain.log_nested_statements = on")
        connection.execute("select inner_one()")
        forged = """duration: 1.0 ms  plan:\n{"Query Text": "x from orders where ", "Plan": {"Node Type": "Forged"}}"""
        connection.execute(trusted(f"set client_min_messages = error; do $$ begin raise log e'{forged}'; end $$"))
    asked(logging, "select note from orders where id = 9")
    part = wait_until(lambda: (p := read(after)) and texts(p) and p)
    assert texts(part) == ["select note from orders where id = 9"]
    assert "select inner_one()" in [p.text for p in part.plans]


def test_how_much_is_left_is_told(logging: Database, read: Read) -> None:
    after = read().position
    for n in range(30):
        asked(logging, f"select count(*) from orders where customer = {n}")
    wait_until(lambda: len(texts(read(after))) == 30)
    part = read(after, most_bytes=2000)
    whole = read(after)
    assert whole.behind < 10_000 < part.behind <= whole.position.byte - part.position.byte


def test_no_file_but_the_log_s_can_be_named(logging: Database, read: Read) -> None:
    for name in ("../postgresql.conf", "postgresql.conf", "../../password", "/etc/passwd"):
        part = read(LogPosition(name, 0, "d41d8cd98f00b204e9800998ecf8427e"))
        assert part.position.file.startswith("postgresql-")


def test_without_a_json_log_the_reader_says_what_to_set(logging: Database, read: Read) -> None:
    logging.execute("alter system set log_destination = stderr")
    logging.execute("select pg_reload_conf()")
    try:
        wait_until(lambda: logging.execute("select pg_current_logfile('jsonlog')") == [(None,)])
        with pytest.raises(TargetError, match="the server writes no JSON log: set log_destination"):
            read()
        with PostgresTarget("t", logging.observe).observing("test") as session:
            assert 3 not in session.capabilities().levels
    finally:
        logging.execute("alter system reset log_destination")
        logging.execute("select pg_reload_conf()")
        wait_until(lambda: logging.execute("select pg_current_logfile('jsonlog')") != [(None,)])


_NO_FIFTEEN = pytest.mark.skipif(not _FIFTEEN.is_dir(), reason="no PostgreSQL 15 server on this machine")


@pytest.fixture(params=["logging", pytest.param("fifteen", marks=[_NO_FIFTEEN, pytest.mark.slow])])
def either(request: pytest.FixtureRequest) -> Database:
    return request.getfixturevalue(request.param)


def test_an_estimate_needs_no_values_and_leaves_nothing(either: Database) -> None:
    with PostgresTarget("t", either.observe).observing("test") as session:
        for text, node in (
            ("select note from orders where id = $1", "Index Scan using orders_pkey on orders"),
            ("select note from orders where customer = $1 and status = $2", "Seq Scan on orders"),
            ("select count(*) from orders", "Seq Scan on orders"),
        ):
            assert node in read_plan(session.estimated_plan(text, timeout_s=5)).text
        for broken in ("select note from nowhere where id = $1", "update orders set note = $1 where id = $2"):
            with pytest.raises(TargetError, match=r"\AEXPLAIN failed \(\w{5}\)\Z"):
                session.estimated_plan(broken, timeout_s=5)
        assert "Seq Scan" in read_plan(session.estimated_plan("select 1 from orders", timeout_s=5)).text
        left = session.connection.execute(trusted("select name from pg_prepared_statements")).fetchall()
        mode = session.connection.execute(trusted("select current_setting('plan_cache_mode') as mode")).fetchone()
    assert left == []
    assert mode is not None
    assert mode.mode == "auto"


@pytest.mark.slow
@_NO_FIFTEEN
def test_the_log_of_15_is_read_too(fifteen: Database) -> None:
    asked(fifteen, "select note from orders where id = 77")
    with PostgresTarget("t", fifteen.observe).observing("test") as session:
        found = wait_until(lambda: texts(session.plan_log(None, most_bytes=1 << 20)), what="the plan")
    assert "select note from orders where id = 77" in found


def test_the_planner_s_settings_are_one_text_that_changes_with_them(logging: Database) -> None:
    def told() -> str:
        with PostgresTarget("t", logging.observe).observing("test") as session:
            return session.planner_settings()

    before = told()
    assert "random_page_cost=4 " in before
    logging.execute(f"alter database {logging.name} set random_page_cost = 1.1")
    try:
        assert "random_page_cost=1.1 " in told()
    finally:
        logging.execute(f"alter database {logging.name} reset random_page_cost")
    assert told() == before


def test_a_planner_that_takes_too_long_is_stopped(logging: Database) -> None:
    asked(
        logging,
        "create function slow(int) returns int language plpgsql immutable as "
        "$$ begin perform pg_sleep(5); return $1; end $$",
    )
    with PostgresTarget("t", logging.observe).observing("test") as session:
        with pytest.raises(TargetError, match="57014"):
            session.estimated_plan("select note from orders where id = slow(1)", timeout_s=0.2)
        assert session.estimated_plan("select 1", timeout_s=5)["Node Type"] == "Result"


def test_the_reader_is_no_one_else_s(logging: Database) -> None:
    with psycopg.connect(logging.app, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from ooda.plan_log('', 0, '', 1000)")
