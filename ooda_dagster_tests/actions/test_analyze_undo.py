"""Does the undo of an ANALYZE put back exactly what was, or say why it does not - and never show a value?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from ooda_dagster.actions.analyze import analyze_spec
from ooda_dagster.actions.held import told
from ooda_dagster.config.servers import ACT_ROLE, APP_ROLE
from ooda_dagster.core.journal import State
from ooda_dagster.core.planner_statistics import RESTORE
from ooda_dagster.core.statistics import TableStatistics
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import sampled_text
from ooda_dagster_tests.actions.analyze_undo import CHANGE, kept, put_back
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.actions.statistics import ANALYZE, ORDERS, applied, approved

pytestmark = pytest.mark.usefixtures("quiet")

#: A table with every kind of statistics that the server can take back.
_RICH = """
alter table orders add tags text[] default array['a', 'b'], add span int4range, add words tsvector, add ratio float8,
    add spans int4multirange, add nothing int, add took interval, add "Odd ""name" text default 'x';
update orders set tags = array['t' || id % 7, 't' || id % 3], span = int4range(id::int, id::int + id::int % 9),
    words = to_tsvector('simple', 'word' || id % 11 || ' every'), ratio = id / 3.0,
    spans = int4multirange(int4range(id::int, id::int + 5)), took = id * interval '-1.5 seconds';
create index rich on orders ((customer % 10), (lower(note)));
"""
#: A type with an analysing function that is not the server's own for any of its kinds.
_OWN_KIND = """
create type own; create function own_in(cstring) returns own language internal immutable strict as 'textin';
create function own_out(own) returns cstring language internal immutable strict as 'textout';
create function own_analyze(internal) returns bool language internal as 'ts_typanalyze';
create type own (input = own_in, output = own_out, analyze = own_analyze); alter table orders add odd own
"""


def values_held(stage: Stage, action: Action) -> str | None:
    return stage.ledger.literals.held(stage.loop.name, action.action_id, now=stage.loop.clock(), days=7)


def hold_other(stage: Stage, action: Action, change: Callable[[str], str]) -> None:
    """Somebody edits what is held for an undo."""
    with connection(stage.ledger.engine) as conn:
        of = sampled_text.c.fingerprint == action.action_id
        text = conn.scalar(sa.select(sampled_text.c.text).where(of))
        conn.execute(sa.update(sampled_text).where(of).values(text=change(str(text))))


def expired(stage: Stage) -> None:
    later = stage.loop.clock() + timedelta(days=8)
    stage.ledger.literals.keep(stage.loop.name, [], now=later, days=7)


@pytest.mark.parametrize("digits", [pytest.param("1", marks=pytest.mark.slow), "-3"])
def test_statistics_of_every_kind_are_as_they_were_to_the_last_digit(stage: Stage, digits: str) -> None:
    stage.database.execute(_RICH, dsn=stage.database.app)
    stage.database.execute("vacuum analyze orders", dsn=stage.database.app)
    before = kept(stage)
    assert len(before) == 13 + 2 + 3  # columns, expressions of an index, sizes of relations
    stage.database.execute(CHANGE, dsn=stage.database.app)
    stage.database.execute(f"alter role {ACT_ROLE} set extra_float_digits = {digits}")
    try:
        action = applied(stage, ANALYZE)
        assert kept(stage) != before
        put_back(stage, action)
    finally:
        stage.database.execute(f"alter role {ACT_ROLE} reset extra_float_digits")
    assert kept(stage) == before
    assert stage.disagreements() == []
    assert stage.recover() == []


def test_the_journal_has_the_undo_and_no_value_and_the_ledger_one_table_with_it(stage: Stage) -> None:
    stage.database.execute("update orders set note = 'm4rker7077' where id % 2 = 0; analyze orders")
    stage.database.execute(CHANGE.replace("'n'", "'m4rker7078'"))
    action = approved(stage, ANALYZE)
    assert told(action) == "$1: the statistics from before; they are held once it is applied"
    action = stage.apply(action).action
    assert told(action).startswith("$1: the statistics from before, 5 columns, ")
    assert action.undo == [RESTORE]
    held = action.prior_state["held"]
    assert (held["columns"], len(held["digest"])) == (5, 64)
    assert "m4rker" in str(
        stage.ledger.literals.held(stage.loop.name, action.action_id, now=stage.loop.clock(), days=7)
    )
    assert stage.ledger.literals.samples(stage.loop.name) == {}
    put_back(stage, action)
    written = json.dumps([stage.ledger.actions.history(action.action_id), stage.now(action).prior_state], default=str)
    assert held["digest"] in written
    assert "m4rker" not in written
    assert "m4rker" not in str(stage.database.execute("select query from pg_stat_statements"))


@pytest.mark.slow
def test_the_same_statistics_have_another_digest_each_time(stage: Stage) -> None:
    """Else whoever guesses the values of a small table could prove it."""
    first = applied(stage, ANALYZE)
    put_back(stage, first)
    second = applied(stage, ANALYZE)
    assert first.prior_state["held"]["digest"] != second.prior_state["held"]["digest"]


def test_a_table_that_had_no_statistics_has_none_again(stage: Stage) -> None:
    stage.database.execute(
        "create table fresh with (autovacuum_enabled = off) as table orders; drop table orders; "
        "alter table fresh rename to orders",
        dsn=stage.database.app,
    )
    before = kept(stage)
    action = applied(stage, ANALYZE)
    assert len(kept(stage)) == len(before) + 5
    put_back(stage, action)
    assert kept(stage) == before


@pytest.mark.parametrize(
    "made",
    [
        "partition by range (id); create table part_1 partition of orders for values from (0) to (500)"
        "with (autovacuum_enabled = off); create table part_2 partition of orders for values from (500) to (maxvalue)"
        "with (autovacuum_enabled = off); create index on orders ((id % 7));",
        "with (autovacuum_enabled = off); create table child () inherits (orders) with (autovacuum_enabled = off);"
        "create index on child ((id % 7));"
        "insert into child select g, g, 'c', now(), 'c' from generate_series(1, 500) g;",
    ],
    ids=["partitioned", "inherited"],
)
def test_all_that_an_analyze_comes_to_is_put_back(stage: Stage, made: str) -> None:
    stage.database.execute(
        "create table other as table orders; drop table orders; create table orders (id int, customer int, "
        f"status text, placed timestamptz, note text) {made} insert into orders table other; drop table other",
        dsn=stage.database.app,
    )
    stage.database.execute("analyze orders", dsn=stage.database.app)
    before = kept(stage)
    stage.database.execute(CHANGE, dsn=stage.database.app)
    action = applied(stage, ANALYZE)
    changed = set(kept(stage)) - set(before)
    assert len(changed) > 8
    put_back(stage, action)
    assert kept(stage) == before


# ------------------------------------------------------------------ no undo, and why


def _slow(*values: object) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("group", "values", "prepare", "reason"),
    [
        ("sampling", {"keep_literals_d": 0}, "", "sampling.keep_literals_d = 0"),
        ("statistics", {"max_undo_mb": 0.001}, "", "KB, and statistics.max_undo_mb is 0.001"),
        ("statistics", {}, "create statistics theirs on id, note from orders", "extended statistics"),
        _slow("statistics", {}, f"create table child () inherits (orders); alter table child owner to {APP_ROLE};"
         "create statistics theirs on id, note from child", "public.child has extended statistics"),
        _slow("statistics", {}, "alter table orders enable row level security, force row level security",
         "ALTER TABLE public.orders NO FORCE ROW LEVEL SECURITY"),
        ("statistics", {}, f"revoke select on orders from {APP_ROLE}", f"GRANT SELECT ON public.orders TO {APP_ROLE};"),
        _slow("statistics", {}, _OWN_KIND,
         "column odd of public.orders is of a type with statistics of its own kind"),
    ],
    ids=["off", "too large", "extended", "of a child", "secured", "hidden", "own kind"],
)  # fmt: skip
def test_an_analyze_without_an_undo_says_why(
    stage: Stage, group: str, values: dict[str, Any], prepare: str, reason: str
) -> None:
    if prepare:
        stage.database.execute(prepare)
    try:
        stage = stage.with_settings(group, **values)
        action = applied(stage, ANALYZE)
        assert (action.state, action.undo_kind) == (State.VERIFYING, "none")
        outcome = stage.rollback(action)
        assert outcome.action.state == State.VERIFYING
        assert outcome.note.startswith("there is no undo: ")
        assert reason in outcome.note
        assert values_held(stage, action) is None
        assert stage.recover() == []
        assert stage.disagreements() == []
    finally:
        stage.database.execute("drop table orders cascade; drop type if exists own cascade")


@pytest.mark.slow
def test_once_the_values_are_gone_there_is_no_undo(stage: Stage) -> None:
    action = applied(stage, ANALYZE)
    after = kept(stage)
    expired(stage)
    outcome = stage.rollback(action)
    assert "there is no undo: the values that its undo needs are not kept any more" in outcome.note
    assert (outcome.action.state, outcome.action.undo_kind) == (State.VERIFYING, "none")
    assert kept(stage) == after


@pytest.mark.slow
def test_values_that_somebody_edited_are_not_put_back(stage: Stage) -> None:
    stage.database.execute(CHANGE)
    action = applied(stage, ANALYZE)
    after = kept(stage)
    hold_other(stage, action, lambda text: text.replace("done", "dune"))
    outcome = stage.rollback(action)
    assert outcome.action.state == State.REVERT_FAILED
    assert "not those that the journal knows" in outcome.note
    assert kept(stage) == after
    stage.database.execute("analyze orders")  # the way out that was told
    put_back(stage, action)


def test_what_the_server_does_not_take_changes_nothing_and_shows_no_value(stage: Stage) -> None:
    """A domain that refuses by now what its column held: the server only warns, and would go on with the rest."""
    stage.database.execute("create domain word as text; alter table orders alter note type word")
    try:
        stage.database.execute("update orders set note = 'm4rker7077'; analyze orders; update orders set note = 'x'")
        action = applied(stage, ANALYZE)
        after = kept(stage)
        stage.database.execute("alter domain word add check (value not like 'm4rker%') not valid")
        outcome = stage.rollback(action)
        assert outcome.action.state == State.REVERT_FAILED
        assert "does not take the earlier statistics of public.orders: nothing was changed" in outcome.note
        assert "`ANALYZE public.orders` makes new ones" in outcome.note
        assert "m4rker" not in json.dumps([stage.ledger.actions.history(action.action_id), outcome.note], default=str)
        assert kept(stage) == after
        stage.database.execute("analyze orders")  # the way out that was told
        put_back(stage, action)
    finally:
        stage.database.execute("drop table orders; drop domain word")


def test_a_proposal_says_what_is_known_of_its_undo(stage: Stage) -> None:
    stage.database.execute("create statistics theirs on id, note from orders")
    action = approved(stage, ANALYZE)
    assert (action.undo, action.undo_kind) == ([], "none")
    assert action.spec["no_undo"] == "it has extended statistics, which the server does not take back"
    stage.database.execute("drop statistics theirs")
    assert analyze_spec(*ORDERS, _kept_by(stage, taken_back=False))["no_undo"].endswith("from PostgreSQL 18 on")
    assert analyze_spec(*ORDERS, _kept_by(stage), values_kept=False)["no_undo"].startswith("sampling.keep_literals_d")
    assert analyze_spec(*ORDERS, _kept_by(stage))["no_undo"] == ""


def _kept_by(stage: Stage, **values: Any) -> TableStatistics:
    with stage.loop.target.observing("test") as session:
        return replace(session.statistics([ORDERS])[ORDERS], **values)
