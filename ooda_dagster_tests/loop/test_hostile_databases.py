"""Hostile databases and settings: is nothing of theirs executed, and everything named?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ooda_dagster.config.servers import make_roles
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.by_hand import propose, rollback
from ooda_dagster.loop.intake import intake
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.loop.ground import make_loop, turn
from ooda_dagster_tests.loop.trap import lay, mostly_slow, silent
from ooda_dagster_tests.support import Database, work
from ooda_dagster_tests.targets.ground import own_cluster

# ------------------------------------------------------------------ databases

_SHADOWS = """
create function {s}.lower(text) returns text language plpgsql as
    $$ begin perform trap.sing('lower'); return $1; end $$;
create function {s}.format(text, name, name) returns text language plpgsql as
    $$ begin perform trap.sing('format'); return 'x'; end $$;
create function {s}.unnest(text[], text[]) returns table (n text, v text) language plpgsql as
    $$ begin perform trap.sing('unnest'); end $$;
create function {s}.current_schemas(bool) returns name[] language plpgsql as
    $$ begin perform trap.sing('current_schemas'); return '{{}}'; end $$;
create function {s}.set_config(text, text, bool) returns text language plpgsql as
    $$ begin perform trap.sing('set_config'); return ''; end $$;
create function {s}.times(bigint, float8) returns float8 language plpgsql as
    $$ begin perform trap.sing('times'); return 0; end $$;
create operator {s}.* (leftarg = bigint, rightarg = float8, function = {s}.times);
create function {s}.named(name, name) returns bool language plpgsql as
    $$ begin perform trap.sing('named'); return false; end $$;
create operator {s}.= (leftarg = name, rightarg = name, function = {s}.named);
create operator {s}.<> (leftarg = name, rightarg = name, function = {s}.named);
create function {s}.oids(oid, oid) returns bool language plpgsql as
    $$ begin perform trap.sing('oids'); return false; end $$;
create operator {s}.= (leftarg = oid, rightarg = oid, function = {s}.oids);
create view {s}.pg_class as select c.*, trap.louse(1) as trapped from pg_catalog.pg_class c;
create view {s}.pg_stat_activity as select a.*, trap.louse(1) as trapped from pg_catalog.pg_stat_activity a;
create domain {s}.text as pg_catalog.text check (trap.liar(1) > 0);
"""
#: name → statements; {d} is the database.
GROUNDS = {
    "names of pg_catalog in a role's path": _SHADOWS.format(s="trap")
    + "alter role ooda_observe in database {d} set search_path = trap, pg_catalog; "
    "alter role ooda_act in database {d} set search_path = trap, pg_catalog",
    "names of pg_catalog in the database's path": _SHADOWS.format(s="trap")
    + "alter database {d} set search_path = trap, pg_catalog",
    "better matches in public": _SHADOWS.format(s="public"),
    "a path of nothing": "alter database {d} set search_path = ''",
    "a path of what is not there": "alter database {d} set search_path = 'nowhere, \"$user\"'",
    "row security": "create policy p on orders using (trap.liar(customer) > 0); "
    "alter table orders enable row level security, force row level security",
    "row security on requests for an analysis": "create schema ooda; create table ooda.analysis_request (request_id "
    "bigint, requested_at timestamptz, requested_by name, lookback_hours float8); create function "
    "ooda.request_analysis() returns int language sql as 'select 1'; alter table ooda.analysis_request enable row "
    "level security; create policy p on ooda.analysis_request using (false)",
    "indexes that call": "create index liars on orders (trap.liar(customer)) where trap.liar(id::int) > 0",
    "statistics that call": "create statistics s on (trap.liar(customer)), status from orders; analyze orders",
    "a partition key that calls": "create table parts (a int) partition by list (trap.liar(a)); "
    "create table part partition of parts for values in (1)",
    "comments with escapes": "comment on table orders is E'\\x1b[2J\\n%s {0} '';drop table canary'",
    "timeouts of nothing": "alter database {d} set statement_timeout = 300; alter database {d} set lock_timeout = 1",
    "odd formats": "alter database {d} set datestyle = 'SQL, DMY'; alter database {d} set intervalstyle = sql_standard;"
    " alter database {d} set bytea_output = escape; alter database {d} set extra_float_digits = -15; "
    "alter database {d} set timezone = 'Pacific/Kiritimati'; alter database {d} set standard_conforming_strings = off",
    "another language": "alter database {d} set client_encoding = 'LATIN1'",
    "writing by default": "alter database {d} set default_transaction_read_only = off; "
    "alter role ooda_observe in database {d} set default_transaction_read_only = off",
    "a role that it becomes": "alter database {d} set transform_null_equals = on; "
    "alter database {d} set quote_all_identifiers = on",
}


@pytest.mark.parametrize("name", mostly_slow(GROUNDS, "names of pg_catalog in a role's path", "odd formats"))
def test_a_cycle_on_a_hostile_database_calls_nothing_of_it(
    name: str, database: Database, books: Ledger, home: Path
) -> None:
    lay(database, 5_000)
    work(database, 20)
    database.execute(GROUNDS[name].replace("{d}", database.name))
    loop = make_loop(database, books, home, Mode.AUTO)
    with silent(database):
        ran = turn(loop)
        action = propose(loop, "create index on public.orders (placed)", by="ann", approve=True)
        (outcome,) = loop.executor("ann").apply([action])
        assert outcome.done, outcome.note
        assert rollback(loop, outcome.action, by="ann").done
        assert not intake(loop).error
    assert ran.observation.source != "none"
    assert ran.observation.server["tables"] >= 4
    if name == "row security":
        assert any("row security" in spot.why for spot in ran.observation.blind_spots)


def test_an_event_trigger_that_refuses_us_is_named_and_nothing_is_left(
    database: Database, books: Ledger, home: Path
) -> None:
    lay(database, 5_000)
    database.execute(
        "create function trap.no() returns event_trigger language plpgsql as "
        "$$ begin raise exception 'never in the marker''s hours'; end $$; "
        "create event trigger no on ddl_command_start when tag in ('CREATE INDEX') execute function trap.no()"
    )
    loop = make_loop(database, books, home, Mode.AUTO)
    action = propose(loop, "create index on orders (placed)", by="ann", approve=True)
    (outcome,) = loop.executor("ann").apply([action])
    assert outcome.action.state == State.FAILED
    assert "a function of the database raised an error" in outcome.note
    assert "marker" not in outcome.note
    assert set(database.indexes()) == {"orders_pkey"}


@pytest.fixture(scope="module")
def babel() -> Iterator[Cluster]:
    """A server of its own: what stands in its counters is read by each of its databases."""
    with own_cluster("babel") as cluster:
        make_roles(cluster)
        yield cluster


@contextmanager
def encoded(server: Cluster, encoding: str) -> Iterator[Database]:
    made = Database(server, f"test_{encoding.lower()}")
    made.execute(
        f"create database {made.name} encoding '{encoding}' template template0 locale_provider libc locale 'C'",
        dsn=server.dsn(),
    )
    made.execute("create extension pg_stat_statements; grant create on schema public to inference_app")
    lay(made, 5_000)
    yield made
    made.drop()


def noise(database: Database) -> None:
    """Bytes that are no UTF-8, in names, values, comments and statements."""
    with psycopg.connect(database.superuser, autocommit=True, client_encoding="SQL_ASCII") as raw:
        for text in (
            b'create table "t\xff\xfe" ("c\xe9" text)',
            b'create index "i\xff" on "t\xff\xfe" ("c\xe9") where "c\xe9" <> \'\xe9\'',
            b"comment on index \"i\xff\" is '\xe9'",
            b"insert into \"t\xff\xfe\" select '\xe9' from generate_series(1, 3000)",
            b'analyze "t\xff\xfe"',
            b'select count(*) from "t\xff\xfe" where "c\xe9" = \'\xe9\xff\'',
            b'select 1 as "\xff"',
        ):
            raw.execute(text)


def worked(database: Database, books: Ledger, home: Path) -> dict[str, str]:
    """Blind spots of a cycle on a database in which an index was built, too."""
    loop = make_loop(database, books, home, Mode.AUTO)
    with silent(database):
        ran = turn(loop)
        action = propose(loop, "create index on orders (placed)", by="ann", approve=True)
        (outcome,) = loop.executor("ann").apply([action])
    assert outcome.done, outcome.note
    spots = {spot.what: spot.why for spot in ran.observation.blind_spots}
    assert (ran.observation.source == "none") is ("statement statistics" in spots)
    return spots


def test_a_database_of_raw_bytes_is_read_and_changed_and_its_neighbour_is_told_why_it_sees_no_text(
    babel: Cluster, books: Ledger, home: Path
) -> None:
    with encoded(babel, "UTF8") as beside, encoded(babel, "SQL_ASCII") as raw:
        assert "statement statistics" not in worked(beside, books, home)
        beside.execute("drop index if exists " + next(i for i in beside.indexes() if i != "orders_pkey"))
        noise(raw)
        spots = worked(raw, books, home)
        assert "no encoding" in spots["names and texts that are not UTF-8"]
        assert "statement statistics" not in spots
        assert "bytes that are no UTF8" in worked(beside, books, home)["statement statistics"]
        beside.execute("select pg_stat_statements_reset()")  # the remedy
        with PostgresTarget("t", beside.observe).observing("test") as session:
            assert session.capabilities().statements_ok


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_JP", "WIN1251"])
def test_a_database_that_is_not_utf8_is_read_and_changed(
    encoding: str, babel: Cluster, books: Ledger, home: Path
) -> None:
    with encoded(babel, encoding) as made:
        made.execute("select pg_stat_statements_reset()")
        assert "statement statistics" not in worked(made, books, home)


# ------------------------------------------------------------------ settings

MAPPINGS = {
    "a second statement": ({"status": "1); drop table canary; select (1"}, "multiple commands"),
    "a statement that ends the transaction": (
        {"status": "1) from inference_requests limit 0; commit; drop table canary; select (1"},
        "multiple commands",
    ),
    "a comment": ({"status": "status -- "}, None),
    "a placeholder": ({"status": "'%s %(x)s {0}' || status"}, None),
    "an open comment": ({"status": "status /*"}, "unterminated|syntax error|it fails"),
    "a write": ({"status": "(with x as (delete from public.canary returning *) select 'x')"}, "WITH|it fails"),
    "a column that is not there": ({"status": "nothing"}, "does not exist"),
    "a table that is a statement": ({"table": "canary; drop table canary"}, None),
    "a table of the server's": ({"table": "pg_catalog.pg_authid"}, "does not exist"),
}


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_hostile_mapping_changes_nothing_and_is_named(
    name: str, trapped: Database, books: Ledger, home: Path, requests_table: Callable[[], Any]
) -> None:
    requests_table()
    values, said = MAPPINGS[name]
    loop = make_loop(trapped, books, home, Mode.PROPOSE, requests=values)
    with silent(trapped):
        taken = intake(loop)
    assert re.search(said, taken.error or "") if said else taken.error is None, taken.error


@pytest.fixture
def requests_table(trapped: Database) -> Iterator[Callable[[], Any]]:
    from ooda_dagster_tests.loop.requests import DDL

    def make() -> None:
        trapped.execute(DDL.format(id="bigint"), dsn=trapped.superuser)

    yield make
    with psycopg.connect(trapped.superuser, autocommit=True) as connection:
        connection.execute(trusted("drop table if exists inference_requests"))
