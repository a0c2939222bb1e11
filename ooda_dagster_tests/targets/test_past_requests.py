"""Is a past day of a target's requests read in one read-only query, and does what is wrong say what to mend?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ooda_dagster.core.request_days import RequestDay
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.targets.base import MissingRightError, TargetError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.past_requests import read_request_day
from ooda_dagster_tests.loop.ground import logged
from ooda_dagster_tests.support import Database

DAY = datetime(2026, 1, 2, tzinfo=UTC)


def make(database: Database, table: str = "inference_requests", kind: str = "timestamptz") -> None:
    """23:58 of the day before and ten minutes on: eight of ten requests are of the day, each third of all failed."""
    database.execute(
        f"create table {table} (request_timestamp {kind}, total_duration_ms int, status text); "
        f"insert into {table} select timestamptz '2026-01-01 23:58Z' at time zone 'UTC' + g * interval '1 minute', "
        f"g, case when g % 3 = 0 then 'Failed' else 'Completed' end from generate_series(0, 9) g",
        dsn=database.app,
    )


def read(database: Database, *, timeout_s: float = 30, days: int = 0, **mapped: Any) -> RequestDay:
    since = DAY + timedelta(days=days)
    with PostgresTarget("t", database.observe).observing("history") as session:
        until = since + timedelta(days=1)
        return read_request_day(session, since, until, mapped=Requests(**mapped), timeout_s=timeout_s)


def test_the_documents_table_is_found_and_read_without_a_write(database: Database) -> None:
    make(database)
    with logged(database) as statements:
        found = read(database)
        assert statements.writes == []
        assert sum("One past day" in line for line in statements.lines) == 1
    assert found.p95_ms == pytest.approx(8.65)
    assert replace(found, p95_ms=None) == RequestDay("table public.inference_requests", 8, 3, 5.5, 5.5, None)


def test_the_users_table_is_read_by_their_expressions_as_utc(database: Database) -> None:
    make(database, "calls", "timestamp")
    database.execute('alter table calls rename request_timestamp to "At"; alter table calls rename status to ok')
    found = read(
        database,
        table="public.calls",
        requested_at='"At" -- a comment',
        duration_ms="total_duration_ms * 1000",
        status="case when total_duration_ms % 2 = 0 then 'BROKEN' else ok end",
        failed=("Broken",),
    )
    assert (found.where, found.requests, found.failed, found.avg_ms) == ("table public.calls", 8, 4, 5500)


def test_failures_are_not_known_where_no_request_has_a_status(database: Database) -> None:
    make(database)
    assert read(database, status="null").failed is None
    assert read(database, status="case when total_duration_ms > 8 then status end").failed == 1


def test_the_intake_s_switch_and_its_other_expressions_do_not_matter(database: Database) -> None:
    make(database)
    assert read(database, enabled=False, model="no_such_column").requests == 8


def test_requests_that_are_not_complete_count(database: Database) -> None:
    make(database)
    database.execute("update inference_requests set total_duration_ms = null where total_duration_ms > 4")
    found = read(database)
    assert (found.requests, found.avg_ms) == (8, 3)


def test_an_empty_day_is_empty(database: Database) -> None:
    make(database)
    assert read(database, days=5) == RequestDay("table public.inference_requests", 0, 0, None, None, None)


def test_what_is_wrong_names_the_setting(database: Database) -> None:
    with pytest.raises(TargetError, match=r"no table inference_requests .*requests\.table, or GRANT SELECT"):
        read(database)
    make(database, "calls")
    with pytest.raises(TargetError, match=r"column \"at\" does not exist .*NAME\.requests\].*history\.requests"):
        read(database, table="calls", requested_at="at")
    with pytest.raises(TargetError, match=r"public\.calls: requests\.requested_at is no time"):
        read(database, table="calls", requested_at="total_duration_ms")
    with pytest.raises(TargetError, match=r"no table public\.other that we may read"):
        read(database, table="public.other")


def test_an_expression_that_fails_on_a_row_is_told_without_the_value(database: Database) -> None:
    make(database)
    with pytest.raises(TargetError, match="fails on a row") as caught:
        read(database, duration_ms="status::int")
    assert "Completed" not in str(caught.value)


def test_a_table_that_may_not_be_read_names_the_grant(database: Database) -> None:
    make(database, "calls")
    role = f"blind_{database.name}"
    database.execute(f"create role {role} login password 'x'")
    dsn = database.cluster.dsn(database.name, user=role, password="x")
    wanted = Requests(table="calls")
    try:
        with PostgresTarget("t", dsn).observing("history") as session:
            with pytest.raises(TargetError, match=r"no table calls that we may read; .*GRANT SELECT"):
                read_request_day(session, DAY, DAY, mapped=wanted, timeout_s=5)
            database.execute(f"grant select (request_timestamp) on calls to {role}")
            with pytest.raises(MissingRightError, match="permission denied for table calls"):
                read_request_day(session, DAY, DAY, mapped=wanted, timeout_s=5)
    finally:
        database.execute(f"drop owned by {role}; drop role {role}")


def test_a_query_that_takes_long_is_ended_by_name(database: Database) -> None:
    database.execute(
        "create function slow() returns int language sql as 'select 1 from pg_sleep(5)'; "
        "create view calls as select now() as request_timestamp, slow() as total_duration_ms, 'x' as status; "
        "grant select on calls to public",
        dsn=database.app,
    )
    now = datetime.now(UTC)
    around = now - timedelta(days=1), now + timedelta(days=1)
    with (
        PostgresTarget("t", database.observe).observing("history") as session,
        pytest.raises(TargetError, match=r"longer than 0\.2 s \(history\.timeout_s\); is there an index on"),
    ):
        read_request_day(session, *around, mapped=Requests(table="calls"), timeout_s=0.2)
