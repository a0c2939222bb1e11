"""Is a person's own proposal taken where it is an index, journalled like any other, and refused in words otherwise?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.loop.act import act
from ooda_dagster.loop.by_hand import IndexDdlError, propose, rollback
from ooda_dagster.loop.context import Loop
from ooda_dagster.targets.base import RefusedError
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.loop.ground import nothing_decided, turn
from ooda_dagster_tests.support import Database


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("drop table orders", "only one CREATE INDEX statement is taken"),
        ("create index on orders (customer); drop table orders", "only one CREATE INDEX statement is taken"),
        ("create table a (b int)", "only one CREATE INDEX statement is taken"),
        ("", "only one CREATE INDEX statement is taken"),
        ("create inde on orders", "no valid SQL"),
        ("create unique index on orders (customer)", "a unique index is a constraint"),
        ("create index on orders (nothing)", "public.orders has no column nothing"),
        ("create index on nowhere (a)", "no table nowhere"),
        ("create index on orders (customer) with (fillfactor = 50)", "are not supported"),
        ("create index on orders (customer) tablespace elsewhere", "are not supported"),
    ],
)
def test_what_is_no_plain_index_is_refused_in_words(stage: Stage, statement: str, words: str) -> None:
    with pytest.raises(IndexDdlError, match=words):
        propose(stage.loop, statement, by="ann", approve=True)
    assert stage.ledger.actions.list(stage.loop.name) == []


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            "create foreign data wrapper far; create server away foreign data wrapper far; "
            "create foreign table other (a int) server away",
            "public.other: it is a foreign table",
        ),
        ("create table other (a int)", "public.other: it is small"),
        ("create table other (a int primary key)", "public.other_pkey serves the same statements already"),
    ],
)
def test_a_table_that_gets_no_index_is_refused_by_name(stage: Stage, made: str, words: str) -> None:
    stage.database.execute(made)
    with pytest.raises(RefusedError, match=words):
        propose(stage.loop, "create index on other (a)", by="ann")


def test_a_temporary_table_is_unknown(stage: Stage) -> None:
    with pytest.raises(IndexDdlError, match="no table passing"):
        propose(stage.loop, "create index on passing (a)", by="ann")


def test_a_proposal_waits_for_an_approval(stage: Stage) -> None:
    action = propose(stage.loop, "create index on orders (customer)", by="ann", why="I know it")
    assert (action.state, action.proposed_by) == (State.PROPOSED, "ann")
    assert act(stage.loop, nothing_decided(stage.loop)).results == []


def test_a_name_of_its_own_is_kept_and_cut_as_the_server_cuts_it(stage: Stage) -> None:
    statement = f'create index "Ann\'s {"x" * 80}" on orders (customer)'
    action = propose(stage.loop, statement, by="ann", approve=True)
    assert act(stage.loop, nothing_decided(stage.loop)).executed_actions == 1
    assert action.object_name is not None
    assert len(action.object_name.encode()) == 63
    assert stage.database.indexes()[action.object_name] is True
    assert rollback(stage.loop, stage.now(action), by="ann").action.state == State.REVERTED


def test_an_expression_and_a_predicate_are_built_and_undone(stage: Stage) -> None:
    before = stage.definitions()
    statement = "create index on orders (lower(note) text_pattern_ops, placed desc) where status = 'open'"
    action = propose(stage.loop, statement, by="ann", approve=True)
    assert act(stage.loop, nothing_decided(stage.loop)).executed_actions == 1
    assert stage.disagreements() == []
    assert rollback(stage.loop, stage.now(action), by="ann").action.state == State.REVERTED
    assert stage.definitions() == before


def test_the_statements_that_it_touches_are_found_in_the_workload(busy: Database, shop: Callable[..., Loop]) -> None:
    loop = shop(Mode.AUTO)
    turn(loop, dry_run=True)
    action = propose(loop, "create index on orders (customer, placed)", by="ann")
    texts = loop.ledger.rollups.statements(loop.name, action.touches)["text"]
    assert ["where customer = $1" in text for text in texts] == [True]


def test_a_persons_proposal_is_not_taken_over_by_a_cycle(shop: Callable[..., Loop]) -> None:
    loop = shop(Mode.AUTO)
    action = propose(loop, "create index mine on orders (customer)", by="ann")
    ran = turn(loop)
    assert [d.action_id for d in ran.decisions.decisions] == [action.action_id]
    assert loop.ledger.actions.get(action.action_id).state == State.PROPOSED
