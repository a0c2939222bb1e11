"""Does the server refuse every write in an observing session, even to a superuser?"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from ooda_dagster.core.request_settings import Requests
from ooda_dagster.targets.postgres import PostgresTarget
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
