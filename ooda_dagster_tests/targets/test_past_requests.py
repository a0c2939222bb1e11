"""Is a past day of a target's requests read in one read-only query, and does what is wrong say what to mend?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ooda_dagster.core.request_days import RequestColumns, RequestDay
from ooda_dagster.core.settings import History
from ooda_dagster.targets.base import MissingRightError, TargetError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.past_requests import read_request_day
from ooda_dagster_tests.loop.ground import logged
from ooda_dagster_tests.support import Database

DAY = datetime(2026, 1, 2, tzinfo=UTC)
COLUMNS = RequestColumns.of(History())


def make(database: Database, table: str = "inference_requests", kind: str = "timestamptz") -> None:
    """23:58 of the day before and ten minutes on: eight of ten requests are of the day, each third of all failed."""
    database.execute(
        f"create table {table} (request_timestamp {kind}, total_duration_ms int, status text); "
        f"insert into {table} select timestamptz '2026-01-01 23:58Z' at time zone 'UTC' + g * interval '1 minute', "
        f"g, case when g % 3 = 0 then 'Failed' else 'Completed' end from generate_series(0, 9) g",
        dsn=database.app,
    )


def read(
    database: Database, columns: RequestColumns = COLUMNS, *, table: str = "", timeout_s: float = 30, days: int = 0
) -> RequestDay:
    since = DAY + timedelta(days=days)
    with PostgresTarget("t", database.observe).observing("history") as session:
        until = since + timedelta(days=1)
        return read_request_day(session, since, until, columns=columns, table=table, timeout_s=timeout_s)


def test_the_documents_table_is_found_and_read_without_a_write(database: Database) -> None:
    make(database)
    with logged(database) as statements:
        found = read(database)
        assert statements.writes == []
        assert sum("One past day" in line for line in statements.lines) == 1
    assert found.p95_ms == pytest.approx(8.65)
    assert replace(found, p95_ms=None) == RequestDay("table public.inference_requests", 8, 3, 5.5, 5.5, None)


def test_a_table_and_columns_of_the_users_are_read_as_utc(database: Database) -> None:
    make(database, "calls", "timestamp")
    database.execute('alter table calls rename request_timestamp to "At"; alter table calls rename status to ok')
    found = read(database, RequestColumns("At", "total_duration_ms", "ok", ("Completed",)), table="public.calls")
    assert (found.where, found.requests, found.failed) == ("table public.calls", 8, 5)
    assert read(database, RequestColumns("At", "total_duration_ms", "", ()), table="calls").failed is None


def test_an_empty_day_is_empty(database: Database) -> None:
    make(database)
    assert read(database, days=5) == RequestDay("table public.inference_requests", 0, 0, None, None, None)


def test_what_is_wrong_names_the_setting(database: Database) -> None:
    with pytest.raises(TargetError, match=r"name yours in history\.table"):
        read(database)
    make(database, "calls")
    with pytest.raises(TargetError, match=r"column \"at\" does not exist; name your table and columns"):
        read(database, RequestColumns("at", "total_duration_ms", "status", ()), table="calls")
    with pytest.raises(TargetError, match=r"does not exist; name your table and columns"):
        read(database, table="public.other")


def test_a_table_that_may_not_be_read_names_the_grant(database: Database) -> None:
    make(database, "calls")
    role = f"blind_{database.name}"
    database.execute(f"create role {role} login password 'x'")
    dsn = database.cluster.dsn(database.name, user=role, password="x")
    try:
        with (
            PostgresTarget("t", dsn).observing("history") as session,
            pytest.raises(MissingRightError, match="GRANT SELECT"),
        ):
            read_request_day(session, DAY, DAY, columns=COLUMNS, table="calls", timeout_s=5)
    finally:
        database.execute(f"drop role {role}")


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
        read_request_day(session, *around, columns=COLUMNS, table="calls", timeout_s=0.2)
