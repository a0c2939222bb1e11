"""The real action type and the real journal, in a process that dies at one point of a build. All points: crash/."""

from __future__ import annotations

from typing import Any

from ooda_dagster.actions.base import Applied
from ooda_dagster.actions.create_index import CreateIndex
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.targets.base import Acting
from ooda_dagster_tests.actions.stage import die


class Deadly(CreateIndex):
    """CreateIndex until its point."""

    def __init__(self, point: str) -> None:
        self._point = point

    def _at(self, point: str) -> None:
        if self._point == point:
            die()

    def apply(self, action: Action, session: Acting, settings: Settings) -> Applied:
        self._at("announced")
        return super().apply(action, session, settings)

    def adopt(self, action: Action, session: Acting, settings: Settings) -> Applied:
        self._at("built")
        return super().adopt(action, session, settings)


def deadly(point: str, ledger: Ledger) -> Deadly:
    """The action type that dies once "announced" or "built"; at "applied", the journal does, once that is written."""
    if point == "applied":
        write = ledger.actions.transition

        def transition(action_id: str, to: State, **options: Any) -> Action:
            moved = write(action_id, to, **options)
            if to == State.APPLIED:
                die()
            return moved

        ledger.actions.transition = transition
    return Deadly(point)
