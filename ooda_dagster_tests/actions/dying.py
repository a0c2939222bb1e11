"""The real action type and the real journal, in a process that dies at one point of a build. All points: crash/."""

from __future__ import annotations

import signal
from typing import Any

from ooda_dagster.actions.base import ActionType, Applied
from ooda_dagster.actions.create_index import CreateIndex
from ooda_dagster.actions.registry import TYPES
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.targets.base import Acting
from ooda_dagster_tests.actions.stage import Stage, die, wait_for, worker


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


class _Counting:
    """A session that takes its process down once `left` statements are done."""

    def __init__(self, session: Acting, left: int) -> None:
        self._session = session
        self._left = left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def execute(self, statement: str, **limits: Any) -> int:
        if not self._left:
            die()
        written = self._session.execute(statement, **limits)
        self._left -= 1
        if not self._left:
            die()
        return written


class _Interrupted:
    """An action type of any kind whose process dies after some of its statements."""

    def __init__(self, kind: ActionType, statements: int) -> None:
        self._kind = kind
        self._statements = statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kind, name)

    def apply(self, action: Action, session: Acting, settings: Settings) -> Applied:
        return self._kind.apply(action, _Counting(session, self._statements), settings)  # type: ignore[arg-type]

    def undo(self, action: Action, session: Acting, settings: Settings) -> Applied:
        return self._kind.undo(action, _Counting(session, self._statements), settings)  # type: ignore[arg-type]


def dying_after(statements: int, stage: Stage, action: Action, *, undo: bool = False) -> None:
    """A worker that applies or undoes an action and dies after so many of its statements (0: before the first)."""

    def work(own: Stage) -> None:
        kind: Any = _Interrupted(TYPES[action.action_type], statements)
        executor = own.executor(types={action.action_type: kind})
        if undo:
            executor.undo(own.now(action), reason="by hand")
        else:
            executor.apply([own.now(action)])

    status = wait_for(worker(stage, work))
    assert status == -signal.SIGKILL, f"the worker did not die after {statements} statements: {status}"
