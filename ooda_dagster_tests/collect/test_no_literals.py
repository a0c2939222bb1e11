"""Does no literal, and no password, reach any table of the ledger but the one that is for them?"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest
import sqlalchemy as sa

from ooda_dagster.collect.sampler import sample
from ooda_dagster.core.settings import Sampling
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import metadata
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.support import Database, wait_until

MARKER = "m4rker7077"
STATEMENTS = (
    f"select '{MARKER}' as word",
    f"/* user='{MARKER}' */ select 1 as commented",
    f"create table t (a text default '{MARKER}')",
    f"insert into t values ('{MARKER}'), ('{MARKER}2')",
    f"update t set a = '{MARKER}' where a like '{MARKER}%'",
    f"create index on t (a) where a <> '{MARKER}'",
    f"comment on table t is '{MARKER}'",
    f"do $$ begin perform '{MARKER}'; end $$",
    f"create function f() returns text language sql as 'select ''{MARKER}'''",
    f"set application_name = '{MARKER}'",
    f"notify ch, '{MARKER}'",
    f"prepare p as select * from t where a = '{MARKER}'",
    f"declare c cursor with hold for select '{MARKER}'",
    f"create view v as select * from t where a = '{MARKER}'",
    f"delete from t where a = '{MARKER}'",
)


def holding(ledger: Ledger, marker: str) -> set[str]:
    """Tables of the ledger in any row of which a text is."""
    found = set()
    with connection(ledger.engine) as conn:
        for table in metadata.sorted_tables:
            rows = conn.execute(sa.text(f"select t::text from {table.fullname} t")).scalars()
            if any(marker in row or marker.encode().hex() in row for row in rows):
                found.add(table.name)
    return found


@contextmanager
def sleeping(dsn: str, text: str) -> Iterator[None]:
    """A statement that runs during the block."""
    session = psycopg.connect(dsn, autocommit=True)

    def run() -> None:
        try:
            session.execute(trusted(text))
        except psycopg.Error:
            return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        session.cancel_safe()
        thread.join(10)
        session.close()


@pytest.fixture
def target(empty: Database, known: Ledger) -> PostgresTarget:
    del known
    return PostgresTarget("t", empty.observe)


@pytest.mark.parametrize(("days", "expected"), [(7.0, {"sampled_text"}), (0.0, set())])
def test_a_literal_is_in_no_table_but_that_of_sampled_texts(
    empty: Database, known: Ledger, target: PostgresTarget, days: float, expected: set[str]
) -> None:
    policy = Sampling(keep_literals_d=days)
    sample(target, known, policy)
    with psycopg.connect(empty.app, autocommit=True) as session:
        for text in STATEMENTS:
            session.execute(trusted(text))
        session.execute(trusted(f"select 1 as lasting where 'x' <> '{MARKER}'"))
        sample(target, known, policy)
        # The second look knows the statement, and its session still shows it.
        sample(target, known, policy)
    assert len(known.rollups.statements("t")) >= len(STATEMENTS) - 1
    assert holding(known, MARKER) == expected


def test_a_text_that_the_server_kept_as_it_was_sent_is_scrubbed(
    empty: Database, known: Ledger, target: PostgresTarget
) -> None:
    """Counters that are reset while a statement runs: its entry is made anew from the text with its literals."""
    sample(target, known, Sampling(keep_literals_d=0))
    raw = f"select pg_sleep(1.5), '{MARKER}' as slept"
    with psycopg.connect(empty.app, autocommit=True) as session:
        thread = threading.Thread(target=lambda: session.execute(trusted(raw)), daemon=True)
        thread.start()
        wait_until(lambda: _runs(empty), what="the statement")
        empty.execute("select pg_stat_statements_reset()")
        thread.join(10)
    assert empty.execute("select count(*) from pg_stat_statements where query = %s", raw) == [(1,)]
    sample(target, known, Sampling(keep_literals_d=0))
    assert "select pg_sleep($1), $2 as slept" in set(known.rollups.statements("t")["text"])
    assert holding(known, MARKER) == set()


def _runs(empty: Database) -> bool:
    return bool(
        empty.execute("select 1 from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'")
    )


def test_a_password_is_kept_nowhere_not_even_for_explain(
    empty: Database, known: Ledger, target: PostgresTarget
) -> None:
    role = f"role_{uuid.uuid4().hex[:8]}"
    policy = Sampling(keep_literals_d=7)
    with psycopg.connect(empty.superuser, autocommit=True) as session:
        for _ in range(3):
            session.execute(trusted(f"create role {role} password '{MARKER}'"))
            sample(target, known, policy)
            sample(target, known, policy)
            session.execute(trusted(f"drop role {role}"))
    assert any(text.startswith("create role") for text in known.rollups.statements("t")["text"])
    assert holding(known, MARKER) == set()


def test_a_running_statement_is_sampled_with_what_it_is_asked(
    empty: Database, known: Ledger, target: PostgresTarget
) -> None:
    text = f"select pg_sleep(30), '{MARKER}'"
    empty.execute(text.replace("30", "0"), dsn=empty.app)
    with sleeping(empty.app, text):
        wait_until(lambda: _runs(empty), what="the statement")
        sample(target, known, Sampling())
        sample(target, known, Sampling())
    (found,) = known.literals.samples("t").values()
    assert found == (text,)


def test_sampled_texts_grow_old_while_their_target_is_away(known: Ledger, target: PostgresTarget) -> None:
    known.literals.keep("t", [("s1", f"select '{MARKER}'")], now=datetime(2020, 1, 1, tzinfo=UTC), days=7)
    away = PostgresTarget("t", "postgresql://nobody@127.0.0.1:1/nothing")
    assert sample(away, known, Sampling()).error
    assert holding(known, MARKER) == set()
