"""Does the server refuse every write in an observing session, even to a superuser?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from ooda_dagster.core.request_settings import Requests
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.connection import foreign_code, give_path
from ooda_dagster.targets.postgres.observing import PostgresObserving
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.support import Database

WRITES = (
    "insert into t values (2)",
    "update t set a = 2",
    "delete from t",
    "merge into t using (values (1)) v (a) on t.a = v.a when matched then delete",
    "truncate t",
    "create table u (a int)",
    "create temp table u (a int)",
    "create index on t (a)",
    "create index concurrently on t (a)",
    "drop index i",
    "drop index concurrently i",
    "alter table t add column b int",
    "comment on table t is 'x'",
    "select nextval('s')",
    "select setval('s', 5)",
    "select * from t for update",
    "copy t from program 'echo 2'",
    "select lo_create(0)",
    "select 1 as a into u",
    "with w as (insert into t values (3) returning a) select * from w",
    "do $$ begin insert into t values (4); end $$",
    "select f()",
    "create role somebody",
    "grant select on t to public",
    "create extension hstore",
    "refresh materialized view m",
)


@pytest.fixture
def session(database: Database) -> Iterator[PostgresObserving]:
    database.execute(
        "create table t (a int); insert into t values (1); create index i on t (a); create sequence s; "
        "create materialized view m as select 1 as a; "
        "create function f() returns void language sql as 'insert into t values (9)'"
    )
    with PostgresTarget("t", database.superuser).observing("test") as opened:
        give_path(opened.connection)
        yield opened


def test_no_write_gets_through(session: PostgresObserving, database: Database) -> None:
    refused = []
    for statement in WRITES:
        try:
            session.connection.execute(trusted(statement))
        except psycopg.errors.ReadOnlySqlTransaction:
            refused.append(statement)
    assert refused == list(WRITES)
    assert database.execute("select array_agg(a) from t") == [([1],)]
    assert database.indexes() == {"i": True}


def test_what_the_loop_reads_is_no_write(session: PostgresObserving) -> None:
    session.capabilities()
    counters = session.counters()
    session.texts([int(q) for q in counters.frame["query_id"]])
    session.running()
    session.catalogue([("public", "t")])
    session.activity()
    session.index("public", "i")
    session.progress(1)
    assert session.request_table(Requests()) is None


def test_every_statement_that_is_sent_carries_our_mark(database: Database, session: PostgresObserving) -> None:
    database.execute("select pg_stat_statements_reset()")
    test_what_the_loop_reads_is_no_write(session)
    with PostgresTarget("t", database.observe, database.act).acting("test") as acting:
        acting.try_lock()
        acting.owners()
        acting.index("public", "i")
        acting.activity()
    unmarked = database.execute(
        "select query from pg_stat_statements s join pg_database d on d.oid = s.dbid "
        "where d.datname = current_database() "
        "and query not like '%%/* ooda */' and query not ilike '%%pg_stat_statements_reset%%'"
    )
    assert unmarked == []


WRITER = """
create function write() returns int language plpgsql {how} security definer as $$
begin
    perform set_config('default_transaction_read_only', 'off', false);
    insert into public.t values (9);
    return 1;
end $$
"""


def test_a_security_definer_writer_fails_in_our_session(database: Database, session: PostgresObserving) -> None:
    database.execute(WRITER.format(how="volatile"))
    with PostgresTarget("t", database.observe).observing("test") as observing:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            observing.connection.execute(trusted("select public.write()"))
    assert database.execute("select array_agg(a) from t") == [([1],)]


def test_a_function_that_we_are_made_to_call_cannot_open_the_session_for_the_next_one(
    database: Database, session: PostgresObserving
) -> None:
    """A session may switch its default off, so a function may. What calls functions of theirs is rolled back."""
    opener = "create function opens() returns int language plpgsql as $$ begin "
    opener += "perform set_config('default_transaction_read_only', 'off', false); return 1; end $$"
    database.execute(f"{opener}; {WRITER.format(how='volatile')}")
    with PostgresTarget("t", database.observe).observing("test") as observing:
        connection = observing.connection
        with foreign_code(connection):
            connection.execute(trusted("select public.opens()"))
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute(trusted("select public.write()"))
        with pytest.raises(psycopg.errors.ActiveSqlTransaction), foreign_code(connection):
            connection.execute(trusted("select set_config('transaction_read_only', 'off', true)"))
        # Without that it would be open: this is what the test is about.
        connection.execute(trusted("select public.opens()"))
        assert connection.execute(trusted("select public.write()")).fetchone() == (1,)


def test_a_view_of_requests_that_writes_is_refused_and_named(database: Database, session: PostgresObserving) -> None:
    database.execute(
        WRITER.format(how="volatile") + "; create function lies() returns int language plpgsql immutable as "
        "$$ begin return public.write(); end $$; create view inference_requests as select g::bigint as inference_id, "
        "now() as request_timestamp, public.lies()::float8 as total_duration_ms, 'Completed' as status, "
        "'m' as model_id, 'o' as task_type, 1 as input_tokens, 1 as output_tokens from generate_series(1, 3) g"
    )
    with PostgresTarget("t", database.observe).observing("test") as observing:
        for _ in range(2):  # the second meets whatever the first left
            with pytest.raises(TargetError, match=r"inference_requests: a function of the database raised .*25006"):
                _totals(observing)
    assert database.execute("select array_agg(a) from t") == [([1],)]


def _totals(observing: PostgresObserving) -> object:
    table = observing.request_table(Requests())
    assert table is not None
    return table.totals(datetime(2020, 1, 1, tzinfo=UTC))
