"""Hostile statements, names, settings and databases: is nothing of theirs executed, and everything named?"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ooda_dagster.advisor.advise import Advised, advise
from ooda_dagster.advisor.costs import shapes_of
from ooda_dagster.advisor.index_ddl import IndexDdlError
from ooda_dagster.advisor.workload import Workload, WorkloadStatement
from ooda_dagster.core.fingerprint import fingerprint, kind_of
from ooda_dagster.core.identifiers import qualified, quote_identifier
from ooda_dagster.core.journal import State
from ooda_dagster.core.scrub import scrubbed
from ooda_dagster.core.settings import Advice, Mode
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.by_hand import propose, rollback
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.intake import intake
from ooda_dagster.loop.whatif import pricing_for
from ooda_dagster.targets.base import RefusedError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.loop.ground import make_loop, turn
from ooda_dagster_tests.loop.trap import lay, silent
from ooda_dagster_tests.support import Database, work

MB = 1_000_000


def mostly_slow(names: Iterable[str], *quick: str) -> list[Any]:
    """All of them; but for some they belong to the full matrix."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(scope="module")
def trapped(target_server: Cluster) -> Iterator[Database]:
    made = Database(target_server, "test_trapped")
    made.create()
    lay(made)
    yield made
    made.drop()


# ------------------------------------------------------------------ statements that are to be priced

ADVISED = "advised"
#: name → (text, what is said: a regular expression for the reason, or that it was priced).
STATEMENTS: dict[str, tuple[str, str]] = {
    "one that wants an index": ("select * from orders where customer = $1", ADVISED),
    "a lying immutable function": ("select * from orders where customer = trap.liar(1)", ADVISED),
    "a stable function that the planner calls": ("select * from orders where customer = trap.guess(1)", ADVISED),
    "a volatile function": ("select trap.louse(1) from orders where customer = $1", ADVISED),
    "a function that fails in planning": ("select * from orders where customer = trap.fails(1)", "cannot plan it"),
    "an operator of theirs": (
        "select * from orders where customer operator(trap.===) 1 and customer = 5",
        "ADVISED|does not|cannot plan",
    ),
    "a domain with a check that calls": ("select * from orders where customer = 3::trap.checked", "cannot plan it"),
    "a view with a function": ("select * from trapped where customer = $1", "view or not in the catalogue"),
    "a function as a table": ("select * from trap.rows() r join orders o on o.customer = r", ADVISED),
    "two statements": ("select 1 from orders where customer = 1; delete from orders", "more than one statement"),
    "a statement behind a comment": ("select 1 /* ; */ ; drop table canary --", "more than one statement"),
    "EXPLAIN ANALYZE of a write": ("explain analyze delete from orders where customer = 1", "no query and no write"),
    "EXECUTE": ("execute p(1)", "no query and no write"),
    "PREPARE": ("prepare p as delete from orders where customer = 1", "no query and no write"),
    "CREATE TABLE AS": ("create table x as select * from orders where customer = 1", "no query and no write"),
    "SELECT INTO": ("select * into x from orders where customer = 1", "cannot plan|ADVISED"),
    "COPY to a program": ("copy orders to program 'touch /tmp/ooda_canary'", "no query and no write"),
    "DO": ("do $$ begin perform trap.sing('do'); end $$", "no query and no write"),
    "CALL": ("call trap.sing('call')", "no query and no write"),
    "a write with RETURNING of a function": (
        "update orders set note = $1 where customer = $2 returning trap.louse(1)",
        ADVISED,
    ),
    "a write in WITH": ("with x as (delete from orders where customer = $1 returning *) select * from x", ".+"),
    "FOR UPDATE": ("select * from orders where customer = $1 for update", ADVISED),
    "an insert into a table with a rule": (
        "insert into ruled select customer from orders where customer = $1",
        ADVISED,
    ),
    "an insert into traps": ("insert into defaulted default values", ""),
    "a MERGE": (
        "merge into orders o using (values ($1::int)) v (c) on o.customer = v.c when matched then delete",
        "MERGE is not priced",
    ),
    "closing EXPLAIN's option": ("select 1) analyze delete from orders where (customer = 1", "syntax error"),
    "a megabyte": ("select " + "x" * MB + " from orders where customer = 1", "too long"),
    "a megabyte in a literal": (f"select * from orders where note = '{'y' * MB}'", "too long"),
    "20,000 brackets": ("select " + "(" * 20_000 + "1" + ")" * 20_000, "does not read it"),
    "NUL": ("select * from orders where customer = 1\0or 1 = 1", "NUL"),
    "half a surrogate pair": ("select '\ud800' from orders where customer = 1", "does not read it"),
    "right-to-left": ("select * from orders where note = '\u202e;elbat pord' and customer = 1", ADVISED),
    "percent and braces": ("select '%s %(x)s {0} {a!r}' from orders where customer = 1 and note like '%{%'", ADVISED),
    "a name that is no name": ('select * from "orders; drop table canary" where a = 1', "not in the catalogue"),
    "an unterminated string": ("select * from orders where note = 'abc", "unterminated"),
    "psql's own": ("\\! touch /tmp/ooda_canary", "syntax error"),
}


@pytest.fixture(scope="module")
def advised(trapped: Database, home: Path) -> Advised:
    """One answer to all of them, from a clone; what a trap does there, it does in a scratch database of ours."""
    with silent(trapped):
        statements = tuple(
            WorkloadStatement(fingerprint(text), text, kind_of(text), 100, None, 10.0, name)
            for name, (text, _) in STATEMENTS.items()
        )
        policy = Advice(min_statement_total_ms=0)
        with PostgresTarget("t", trapped.observe).observing("test") as session:
            readable, _ = shapes_of(statements, session.catalogue())
            catalogue = session.catalogue({key for _, shape in readable for key in shape.tables})
            with pricing_for("t", session, home) as price_with:
                return advise(
                    Workload(statements, 1.0, "test"), catalogue, price_with, policy=policy, budget_bytes=1 << 30
                )


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_hostile_statement_is_priced_or_named(name: str, advised: Advised) -> None:
    _, expected = STATEMENTS[name]
    why = [reason for s, reason in advised.unjudged if s.label == name]
    priced = any(s.statement.label == name for r in advised.recommendations for s in r.serves)
    if expected == ADVISED:
        assert (why, priced) == ([], True)
    else:
        assert re.search(expected, why[0] if why else "ADVISED"), why


@pytest.mark.parametrize("name", STATEMENTS)
def test_of_no_hostile_statement_a_literal_is_told(name: str) -> None:
    text = scrubbed(STATEMENTS[name][0])
    assert "elbat pord" not in text
    assert "yyy" not in text


# ------------------------------------------------------------------ names


NAMES = {
    "a quote and an injection": 'x"; drop table canary; --',
    "newlines": "a\nb\r\nc",
    "right-to-left": "\u202eelbat\u202c \u0645\u0631\u062d\u0628\u0627",
    "63 bytes of two": "ä" * 31 + "x",
    "percent": "100%s%(a)s%%",
    "braces": "{0}{a!r}{{}}",
    "dollar": "$1$$",
    "a comment": "/* x -- */",
    "an apostrophe": "o'clock'; select 1",
    "a backslash": "a\\b\\",
    "an emoji": "🐘🐘🐘",
    "a keyword": "select",
    "spaces": "   ",
    "a tab and a bell": "a\tb\x07",
    "dots": 'a.b."c"',
    "markup": "[bold]<script>&amp;`x`|",
}


@pytest.fixture
def acting(trapped: Database, books: Ledger, home: Path) -> Loop:
    return make_loop(trapped, books, home, Mode.AUTO)


@pytest.mark.parametrize("name", mostly_slow(NAMES, "a quote and an injection", "63 bytes of two"))
def test_a_hostile_name_is_built_on_commented_and_undone(name: str, trapped: Database, acting: Loop) -> None:
    odd, schema = NAMES[name], f"s{uuid.uuid4().hex[:6]}" + NAMES[name][:12]
    relation = qualified(schema, odd)
    trapped.execute(f"create schema {quote_identifier(schema)}")
    trapped.execute(f"create table {relation} ({quote_identifier(odd)} int, filler text)")
    trapped.execute(f"insert into {relation} select g, repeat('x', 90) from generate_series(1, 5000) g")
    trapped.execute(f"analyze {relation}; alter schema {quote_identifier(schema)} owner to inference_app")
    trapped.execute(f"alter table {relation} owner to inference_app")
    with silent(trapped):
        action = propose(acting, f"create index on {relation} ({quote_identifier(odd)})", by="ann", approve=True)
        (outcome,) = acting.executor("ann").apply([action])
        assert outcome.done, outcome.note
        (built,) = trapped.execute(
            "select c.relname, obj_description(c.oid, 'pg_class'), attname from pg_class c join pg_namespace n "
            "on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid where relkind = 'i' and nspname = %s",
            schema,
        )
        assert action.action_id in built[1]
        assert len(built[0].encode()) <= 63
        assert rollback(acting, outcome.action, by="ann").done
    assert trapped.indexes(schema) == {}
    trapped.execute(f"drop schema {quote_identifier(schema)} cascade")


# ------------------------------------------------------------------ what a person proposes

PROPOSED = {
    "two statements": ("create index on orders (customer); drop table canary", "only one CREATE INDEX"),
    "another statement": ("drop table canary", "only one CREATE INDEX"),
    "a comment that hides one": ("create index on orders (customer) --\n; drop table canary", "only one CREATE INDEX"),
    "nothing": ("", "only one CREATE INDEX"),
    "no SQL": ("create index on orders (customer", "no valid SQL"),
    "a unique one": ("create unique index on orders (customer)", "a unique index is a constraint"),
    "options": ("create index on orders (customer) with (fillfactor = 10)", "WITH"),
    "a tablespace": ("create index on orders (customer) tablespace pg_default", "TABLESPACE"),
    "options of an operator class": ("create index on orders using gist (note t.o (siglen = 1))", "operator class opt"),
    "a table of the server's": ("create index on pg_catalog.pg_class (relname)", "no table pg_catalog.pg_class"),
    "a table that is not there": ('create index on "x; drop table canary" (a)', "no table x; drop table canary"),
    "a view": ("create index on trapped (customer)", "no table trapped"),
    "a column that is not there": ('create index on orders ("x); drop table canary; --")', "has no column"),
    "a megabyte": (f"create index on orders ((note || '{'y' * MB}'))", "too long"),
    "NUL": ("create index on orders (customer)\0", "NUL"),
    "EXPLAIN": ("explain analyze create index on orders (customer)", "no valid SQL|only one"),
}


@pytest.mark.parametrize("name", PROPOSED)
def test_a_hostile_proposal_is_refused_by_name(name: str, trapped: Database, acting: Loop) -> None:
    text, said = PROPOSED[name]
    with silent(trapped), pytest.raises((IndexDdlError, RefusedError), match=said) as refused:
        propose(acting, text, by="ann", approve=True)
    assert "yyy" not in str(refused.value)
    assert acting.ledger.actions.list(acting.name) == []


FAILING = {
    "a function that fails": ("create index on orders (trap.fails(customer))", "a function of the database raised"),
    "a cast that fails": ("create index on orders ((note::int))", "it fails on a value"),
    "a volatile function": ("create index on orders (trap.louse(customer))", "must be marked IMMUTABLE"),
    "a predicate that fails": (
        "create index on orders (placed) where trap.fails(customer) > 0",
        "a function of the database",
    ),
    "an access method of nobody's": ("create index on orders using nothing (customer)", "does not exist"),
    "an operator class of nobody's": ("create index on orders (customer nobody.ops)", "does not exist"),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_proposal_that_the_server_refuses_leaves_nothing_but_its_name(
    name: str, trapped: Database, acting: Loop
) -> None:
    text, said = FAILING[name]
    before = trapped.indexes()
    action = propose(acting, text, by="ann", approve=True)
    with silent(trapped):
        (outcome,) = acting.executor("ann").apply([action])
    assert outcome.action.state == State.FAILED
    assert re.search(said, outcome.note), outcome.note
    assert "never" not in outcome.note
    assert "xxx" not in outcome.note
    assert trapped.indexes() == before


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
    "timeouts of nothing": "alter database {d} set statement_timeout = 1; alter database {d} set lock_timeout = 1",
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


@pytest.mark.parametrize("encoding", mostly_slow(["SQL_ASCII", "LATIN1", "EUC_JP"], "SQL_ASCII"))
def test_a_database_that_is_not_utf8_is_read_and_changed(
    encoding: str, target_server: Cluster, books: Ledger, home: Path
) -> None:
    made = Database(target_server, f"test_{encoding.lower()}_{uuid.uuid4().hex[:6]}")
    made.execute(
        f"create database {made.name} encoding '{encoding}' template template0 locale_provider libc locale 'C'",
        dsn=target_server.dsn(),
    )
    try:
        made.execute("create extension pg_stat_statements; grant create on schema public to inference_app")
        lay(made, 5_000)
        if encoding == "SQL_ASCII":  # bytes that are no UTF-8, in names, values, comments and statements
            with psycopg.connect(made.superuser, autocommit=True, client_encoding="SQL_ASCII") as raw:
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
        loop = make_loop(made, books, home, Mode.AUTO)
        with silent(made):
            ran = turn(loop)
            action = propose(loop, "create index on orders (placed)", by="ann", approve=True)
            (outcome,) = loop.executor("ann").apply([action])
            assert outcome.done, outcome.note
        spots = {spot.what: spot for spot in ran.observation.blind_spots}
        # Where other tests' databases of this server run UTF-8 names, no text is to be had.
        unread = spots.get("statement statistics")
        assert (ran.observation.source != "none") is (unread is None)
        assert unread is None or f"characters that {encoding} lacks" in unread.why
        if encoding == "SQL_ASCII":
            assert unread is None
            assert "UTF-8" in spots["names and texts that are not UTF-8"].why
    finally:
        made.drop()


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


def test_there_are_sixty_of_them() -> None:
    tables = (STATEMENTS, NAMES, PROPOSED, FAILING, GROUNDS, MAPPINGS)
    assert sum(map(len, tables)) >= 60
