"""Hostile statements, names and proposals: is nothing of theirs executed, and everything named?"""

from __future__ import annotations

import re
import uuid
from pathlib import Path

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
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.by_hand import propose, rollback
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.whatif import pricing_for
from ooda_dagster.targets.base import RefusedError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.loop.ground import make_loop
from ooda_dagster_tests.loop.test_hostile_databases import GROUNDS, MAPPINGS
from ooda_dagster_tests.loop.trap import mostly_slow, silent
from ooda_dagster_tests.support import Database

MB = 1_000_000


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


def test_there_are_sixty_of_them() -> None:
    tables = (STATEMENTS, NAMES, PROPOSED, FAILING, GROUNDS, MAPPINGS)
    assert sum(map(len, tables)) >= 60
