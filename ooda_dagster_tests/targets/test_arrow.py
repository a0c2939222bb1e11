"""Do single requests come by ADBC as they come by psycopg, in bounded batches, and within a session's limits?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import psycopg
import pytest
from pandas.testing import assert_frame_equal

from ooda_dagster.config.servers import OBSERVE_ROLE
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.postgres import PostgresTarget, arrow, newest_requests
from ooda_dagster.targets.postgres.arrow import ArrowLogin, reading
from ooda_dagster.targets.postgres.connection import OBSERVING_SETTINGS
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.loop.requests import DDL
from ooda_dagster_tests.support import Database

Read = Callable[..., pd.DataFrame]


@pytest.fixture(params=["bigint", "uuid default gen_random_uuid()", "text"], ids=["ids", "uuids", "texts"])
def filled(request: pytest.FixtureRequest, database: Database) -> Database:
    """9,000 requests, ten at each second, some with nulls and texts that are not ASCII."""
    kind = request.param
    database.execute(DDL.format(id=kind), dsn=database.app)
    key = {"bigint": "g", "text": "'id ' || g"}.get(kind, "gen_random_uuid()")
    database.execute(
        "alter table inference_requests alter model_id type text, alter model_id drop not null; "
        "create index on inference_requests (request_timestamp); "
        f"insert into inference_requests select {key}, date_trunc('second', now()) - (9000 - g) / 10 * interval '1 s', "
        "case when g % 7 > 0 then g % 500 end, 'Ok', case when g % 5 > 0 then 'modèle ' || g % 3 end, 'chat', g % 9, "
        "case when g % 4 > 0 then g end from generate_series(1, 9000) g; analyze inference_requests",
        dsn=database.app,
    )
    return database


def read(database: Database, *, by_arrow: bool, limit: int = 200_000, since_s: float = 3600, say: Any = print) -> Any:
    with PostgresTarget("t", database.observe).observing("test") as session:
        if not by_arrow:
            session._login = None
        table = session.request_table(Requests())
        assert table is not None
        assert table.reader.startswith("ADBC" if by_arrow else "psycopg")
        now = datetime.now(UTC)
        return table.newest(now - timedelta(seconds=since_s), now + timedelta(minutes=5), limit=limit, say=say)


def test_both_give_the_same_rows_whatever_the_batches(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(filled, by_arrow=False)
    assert len(whole) == 9000 - 9000 // 7
    assert whole["requested_s"].is_monotonic_increasing
    assert whole["key"].is_unique
    lines: list[str] = []
    for size in (200_000, 777):
        lines.clear()
        monkeypatch.setattr(newest_requests, "BATCH_ROWS", size)
        for by_arrow in (True, False):
            found = read(filled, by_arrow=by_arrow, say=lines.append)
            assert_frame_equal(found, whole, check_dtype=False)
    assert lines[0] == "777 of the newest requests are read, at most 200,000"
    monkeypatch.setattr(newest_requests, "_WORTH_A_SESSION", 1)
    newest = read(filled, by_arrow=True, limit=6000)
    assert_frame_equal(newest, whole.tail(len(newest)).reset_index(drop=True), check_dtype=False)
    assert 5000 < len(newest) <= 6000


def test_only_what_was_asked_for_is_read(filled: Database) -> None:
    since = datetime.now(UTC).timestamp() - 100
    found = read(filled, by_arrow=True, since_s=100)
    assert 800 < len(found) < 1000
    assert found["requested_s"].min() >= since - 1


@pytest.fixture
def login(database: Database) -> Iterator[tuple[psycopg.Connection[Any], ArrowLogin]]:
    with PostgresTarget("t", database.observe).observing("test") as session:
        yield session.connection, ArrowLogin(database.observe, "ooda/t/arrow", OBSERVING_SETTINGS)


def one(session: arrow.ArrowSession, text: str) -> Any:
    return session.frame(trusted(text).format(), {}).iloc[0, 0]


def test_the_session_has_the_limits_the_path_and_the_name_of_its_neighbour(
    login: tuple[psycopg.Connection[Any], ArrowLogin],
) -> None:
    with reading(*login) as session:
        shown = "default_transaction_read_only", "statement_timeout", "lock_timeout", "search_path", "application_name"
        settings = {name: one(session, f"select current_setting('{name}') as value") for name in shown}
        assert settings == {
            "default_transaction_read_only": "on",
            "statement_timeout": "30s",
            "lock_timeout": "1s",
            "search_path": "pg_catalog, pg_temp",
            "application_name": "ooda/t/arrow",
        }
        assert one(session, "select current_setting('transaction_read_only') as value") == "on"
    assert "password" not in repr(login[1])


def test_what_writes_is_refused_and_nothing_is_left(
    database: Database, login: tuple[psycopg.Connection[Any], ArrowLogin]
) -> None:
    database.execute(
        "create table t (a int); create function write() returns int language sql volatile as "
        "'insert into public.t values (1); select 1'"
    )
    with reading(*login) as session, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        one(session, "select public.write() as value")
    assert database.execute("select count(*) from t") == [(0,)]


def test_an_error_names_its_kind_and_no_value(login: tuple[psycopg.Connection[Any], ArrowLogin]) -> None:
    with reading(*login) as session, pytest.raises(psycopg.errors.InvalidTextRepresentation) as caught:
        one(session, "select 's3cret'::text::int as value")
    assert "s3cret" not in str(caught.value)


def test_a_read_that_takes_too_long_is_ended_by_the_server(
    login: tuple[psycopg.Connection[Any], ArrowLogin],
) -> None:
    connection, with_limits = login
    hasty = ArrowLogin(with_limits.dsn, "ooda/t/arrow", {**OBSERVING_SETTINGS, "statement_timeout": "100ms"})
    began = time.monotonic()
    with reading(connection, hasty) as session, pytest.raises(psycopg.errors.QueryCanceled):
        one(session, "select pg_sleep(20)::text as value")
    assert time.monotonic() - began < 10


def test_every_statement_of_it_carries_our_mark(filled: Database) -> None:
    filled.execute("select pg_stat_statements_reset()")
    read(filled, by_arrow=True)
    rows = filled.execute(
        "select query from pg_stat_statements s join pg_database d on d.oid = s.dbid "
        "join pg_roles r on r.oid = s.userid where datname = current_database() and rolname = %s and toplevel",
        OBSERVE_ROLE,
    )
    texts = [text for (text,) in rows]
    assert any(text.startswith("COPY (") and "inference_requests" in text for text in texts)
    unmarked = [" ".join(text.split()) for text in texts if "ooda */" not in text]
    assert len(unmarked) == 3  # of the driver, when it connects
    assert all("pg_catalog." in text or text == "SELECT version()" for text in unmarked)


def test_names_are_pinned_before_the_driver_s_own_first_statement(database: Database) -> None:
    """A function of theirs, first in the path that the role was given, would run with our rights."""
    database.execute(
        "create table t (a int); create function version() returns text language sql volatile as "
        "'insert into public.t values (1); select pg_catalog.version()'; "
        f"alter role {OBSERVE_ROLE} in database {database.name} set search_path = public, pg_catalog; "
        f"alter role {OBSERVE_ROLE} in database {database.name} set default_transaction_read_only = off"
    )
    with PostgresTarget("t", database.observe).observing("test") as session:
        with reading(session.connection, ArrowLogin(database.observe, "ooda/t/arrow", OBSERVING_SETTINGS)) as arrows:
            assert one(arrows, "select 1 as value") == 1
    assert database.execute("select count(*) from t") == [(0,)]


def test_a_row_that_fails_is_told_without_its_value(filled: Database) -> None:
    with PostgresTarget("t", filled.observe).observing("test") as session:
        table = session.request_table(Requests(tokens_in="(model_id || 's3cret')::int"))
        assert table is not None
        with pytest.raises(TargetError, match="a mapped expression fails on a row") as caught:
            table.newest(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC), limit=200_000)
    assert "s3cret" not in str(caught.value)


def test_without_the_driver_rows_are_read_one_by_one_and_that_is_said(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(arrow, "import_module", missing)
    with PostgresTarget("t", filled.observe).observing("test") as session:
        table = session.request_table(Requests())
        assert table is not None
        assert "pip install ooda-dagster[arrow]" in table.reader
        now = datetime.now(UTC)
        lines: list[str] = []
        assert len(table.newest(now - timedelta(hours=1), now, limit=200_000, say=lines.append)) > 5000
        assert "row by row: pip install ooda-dagster[arrow]" in lines[0]


def test_without_a_free_connection_rows_come_through_the_session_that_is_open(small: Database) -> None:
    small.execute(DDL.format(id="bigint") + "; grant select on inference_requests to public", dsn=small.superuser)
    small.execute("insert into inference_requests select g, now(), 5, 'ok' from generate_series(1, 6000) g")
    lines: list[str] = []
    role = "alone"
    small.execute(f"create role {role} login password 'x' connection limit 1")
    try:
        dsn = small.cluster.dsn(small.name, user=role, password="x")
        with PostgresTarget("t", dsn).observing("test") as session:
            table = session.request_table(Requests())
            assert table is not None
            now = datetime.now(UTC)
            found = table.newest(now - timedelta(hours=1), now + timedelta(hours=1), limit=200_000, say=lines.append)
        assert len(found) == 6000
        assert "no second session" in lines[0]
    finally:
        small.execute(f"drop role {role}")


def test_rows_that_are_written_meanwhile_are_not_read_twice(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest_requests, "BATCH_ROWS", 500)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            filled.execute(
                "update inference_requests set output_tokens = 1 where total_duration_ms = 3; "
                "update inference_requests set total_duration_ms = 4 "
                "where total_duration_ms is null and input_tokens = 2",
                dsn=filled.app,
            )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            assert read(filled, by_arrow=True)["key"].is_unique
    finally:
        stop.set()
        writer.join()
