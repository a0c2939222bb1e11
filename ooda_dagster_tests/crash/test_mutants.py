"""Does the matrix turn red where the product is broken? Bugs that a journal must not have, put into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ooda_dagster.actions import recovery
from ooda_dagster.actions.base import ActionType, Presence
from ooda_dagster.actions.create_index import CreateIndex
from ooda_dagster.core.journal import State
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.targets.base import Acting
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.crash.crash import crash
from ooda_dagster_tests.crash.ground import Ground
from ooda_dagster_tests.crash.lives import Kind, lives
from ooda_dagster_tests.crash.points import Cell, Direction, Fault, Point, When
from ooda_dagster_tests.crash.recorded import LifeCell, crash_in, record
from ooda_dagster_tests.crash.scenarios import SCENARIOS

_INDEX = next(scenario for scenario in SCENARIOS if scenario.action_type == "IndexOptimization")
#: The index stands, and its worker died before it knew.
BUILT = Cell(_INDEX, Point(Direction.APPLY, 0, When.UNANSWERED), Fault.WORKER)
#: It is signed too, and the journal does not know.
SIGNED = Cell(_INDEX, Point(Direction.APPLY, 1, When.UNANSWERED), Fault.WORKER)


@pytest.fixture(scope="module")
def green(ground: Ground) -> None:
    """What the mutants are put into is sound."""
    for cell in (BUILT, SIGNED):
        assert crash(ground, cell) == State.VERIFYING


def undo_stored_late(own: Stage) -> None:
    """The undo is in the journal only once the deed is done."""

    def transition(write: Callable[..., Action], action_id: str, to: State, **options: Any) -> Action:
        undo = own.ledger.actions.get(action_id).undo
        if to == State.APPLYING:
            planned[action_id] = undo
            return replace(write(action_id, to, undo=[], **options), undo=undo)
        if to == State.APPLIED:
            options["undo"] = planned[action_id]
        return write(action_id, to, **options)

    planned: dict[str, list[str]] = {}
    _wrap(own.ledger, transition)


def announced_late(own: Stage) -> None:
    """The deed is done first, and then announced."""

    def transition(write: Callable[..., Action], action_id: str, to: State, **options: Any) -> Action:
        if to == State.APPLYING:
            held[action_id] = options
            return replace(own.ledger.actions.get(action_id), state=to, prior_state=options["prior_state"])
        if to == State.APPLIED:
            write(action_id, State.APPLYING, **held[action_id])
        return write(action_id, to, **options)

    held: dict[str, dict[str, Any]] = {}
    _wrap(own.ledger, transition)


def _wrap(ledger: Ledger, transition: Callable[..., Action]) -> None:
    write = ledger.actions.transition
    ledger.actions.transition = lambda *args, **options: transition(write, *args, **options)


@pytest.mark.usefixtures("green")
@pytest.mark.parametrize("cell", [BUILT, SIGNED], ids=str)
def test_the_matrix_sees_an_undo_that_is_not_stored_before_the_deed(ground: Ground, cell: Cell) -> None:
    with pytest.raises(AssertionError, match=r"half done|the journal says|does not lead back"):
        crash(ground, cell, undo_stored_late)


@pytest.mark.usefixtures("green")
@pytest.mark.parametrize("cell", [BUILT, SIGNED], ids=str)
def test_the_matrix_sees_a_deed_that_is_announced_after_it(ground: Ground, cell: Cell) -> None:
    with pytest.raises(AssertionError, match=r"half done|the journal says"):
        crash(ground, cell, announced_late)


@pytest.mark.usefixtures("green")
@pytest.mark.parametrize("cell", [BUILT, SIGNED], ids=str)
def test_the_matrix_sees_a_recovery_that_drops_first(
    ground: Ground, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = recovery.settle

    def drop_first(action: Action, kind: ActionType, session: Acting, ledger: Ledger, settings: Any, **how: Any) -> str:
        if kind.presence(action, session) != Presence.ABSENT:
            kind.remove_debris(action, session, settings)
        return settle(action, kind, session, ledger, settings, **how)

    monkeypatch.setattr(recovery, "settle", drop_first)
    with pytest.raises(AssertionError, match="the server had"):
        crash(ground, cell)


def debris_removed_late(own: Stage) -> None:
    """A recovery calls an action failed, and then removes what was begun."""

    def remember(kind: CreateIndex, *what: Any) -> list[str]:
        owed.append(lambda: remove(kind, *what))
        return []

    def transition(write: Callable[..., Action], action_id: str, to: State, **options: Any) -> Action:
        written = write(action_id, to, **options)
        while owed:
            owed.pop()()
        return written

    owed: list[Callable[[], object]] = []
    remove = CreateIndex.remove_debris
    CreateIndex.remove_debris = remember  # type: ignore[method-assign]
    _wrap(own.ledger, transition)


def test_the_matrix_sees_a_recovery_that_dies_before_it_did_what_it_wrote(ground: Ground) -> None:
    life = next(x for x in lives(Kind.RECOVERY, _INDEX) if x.name.endswith("create index concurrently, running"))
    recorded = record(ground, life, thoroughly=False)
    assert [step.what for step in recorded.steps][1:] == [State.FAILED]
    assert crash_in(ground, LifeCell(recorded, 1, When.AFTER, Fault.WORKER)) == State.FAILED
    with pytest.raises(AssertionError, match="half done"):
        # With the mutant, the journal's word comes first.
        crash_in(ground, LifeCell(recorded, 0, When.AFTER, Fault.WORKER), debris_removed_late)
