"""Statistics: does the catalogue equal before or after, and the journal agree, wherever a worker is killed?"""

from __future__ import annotations

import pytest

from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.journal import State
from ooda_dagster_tests.actions.dying import dying_after
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.actions.statistics import (
    ANALYZE,
    EXTENDED,
    TARGET,
    analysed_at,
    applied,
    approved,
    catalogue,
    filled,
)

#: Statements of each kind's deed.
STATEMENTS = {ANALYZE: 1, EXTENDED: 3, TARGET: 2}


def settled(stage: Stage) -> None:
    """Journal and catalogue agree, and another recovery has nothing to do."""
    before, journal = (catalogue(stage), analysed_at(stage)), stage.ledger.actions.list(stage.loop.name)
    assert stage.disagreements() == []
    assert stage.recover() == []
    assert (catalogue(stage), analysed_at(stage)) == before
    assert stage.ledger.actions.list(stage.loop.name) == journal


@pytest.mark.parametrize("kind", STATEMENTS)
def test_what_was_announced_and_not_begun_is_failed(stage: Stage, kind: HypothesisType) -> None:
    before, at = catalogue(stage), analysed_at(stage)
    action = approved(stage, kind)
    dying_after(0, stage, action)
    assert len(stage.recover()) == 1
    assert stage.now(action).state == State.FAILED
    assert (catalogue(stage), analysed_at(stage)) == (before, at)
    settled(stage)


@pytest.mark.parametrize(("kind", "done"), [(k, n) for k, most in STATEMENTS.items() for n in range(1, most + 1)])
def test_what_was_begun_is_finished_and_can_be_undone(stage: Stage, kind: HypothesisType, done: int) -> None:
    before, at = catalogue(stage), analysed_at(stage)
    action = approved(stage, kind)
    dying_after(done, stage, action)
    assert len(stage.recover()) == 1
    assert stage.now(action).state == State.VERIFYING
    assert analysed_at(stage) > at
    assert filled(stage) == (kind == EXTENDED)
    moves = stage.moves(action)
    assert len(moves) == len(set(moves))
    settled(stage)
    assert stage.rollback(action).action.state == State.REVERTED
    assert catalogue(stage) == before


@pytest.mark.parametrize(("kind", "done"), [(EXTENDED, 0), (EXTENDED, 1), (TARGET, 0), (TARGET, 1), (TARGET, 2)])
def test_an_undo_is_finished_wherever_its_worker_died(stage: Stage, kind: HypothesisType, done: int) -> None:
    before, action = catalogue(stage), applied(stage, kind)
    at = analysed_at(stage)
    dying_after(done, stage, action, undo=True)
    assert len(stage.recover()) == 1
    assert stage.now(action).state == State.REVERTED
    assert catalogue(stage) == before
    assert kind == EXTENDED or analysed_at(stage) > at
    settled(stage)


def test_an_undo_that_failed_before_it_analysed_is_not_taken_for_somebodys_change(stage: Stage) -> None:
    before, action = catalogue(stage), applied(stage, TARGET)
    at = analysed_at(stage)
    for state in (State.REVERTING, State.REVERT_FAILED):
        stage.ledger.actions.transition(action.action_id, state, actor="ann")
    stage.database.execute("alter table orders alter column customer set statistics -1")
    assert stage.recover() == []
    assert stage.now(action).state == State.REVERT_FAILED
    assert stage.rollback(action).action.state == State.REVERTED
    assert catalogue(stage) == before
    assert analysed_at(stage) > at
