"""The real action type and the real journal, in a process that dies at one point of an action's life."""

from __future__ import annotations

from typing import Any

from ooda_dagster.actions.base import Applied
from ooda_dagster.actions.create_index import CreateIndex
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.targets.base import Acting
from ooda_dagster_tests.actions.stage import die

#: Points of a build and of an undo, in order.
BUILD_POINTS = ("announced", "built", "signed", "applied")
UNDO_POINTS = ("reverting", "dropped")


class Deadly(CreateIndex):
    """CreateIndex until its point."""

    def __init__(self, point: str) -> None:
        self._point = point

    def _at(self, point: str) -> None:
        if self._point == point:
            die()

    def apply(self, action: Action, session: Acting, settings: Settings) -> Applied:
        self._at("announced")
        applied = super().apply(action, session, settings)
        self._at("signed")
        return applied

    def adopt(self, action: Action, session: Acting, settings: Settings) -> Applied:
        self._at("built")
        return super().adopt(action, session, settings)

    def undo(self, action: Action, session: Acting, settings: Settings) -> Applied:
        self._at("reverting")
        undone = super().undo(action, session, settings)
        self._at("dropped")
        return undone


def deadly(point: str, ledger: Ledger) -> Deadly:
    """The action type that dies at `point`; at "applied", the journal does, once that is written."""
    if point == "applied":
        write = ledger.actions.transition

        def transition(action_id: str, to: State, **options: Any) -> Action:
            moved = write(action_id, to, **options)
            if to == State.APPLIED:
                die()
            return moved

        ledger.actions.transition = transition
    return Deadly(point)
