"""What did a dead worker leave? Compares the journal with the catalogue and makes them agree, once.

A worker that was killed may have left a backend that still builds: it is waited for, then ended. Only then the
catalogue is read: what is complete is adopted, what is broken and ours by name, definition and journal is removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from ooda_dagster.actions.base import ActionType, Presence, Say
from ooda_dagster.actions.registry import TYPES
from ooda_dagster.core.journal import IN_FLIGHT, LIVE, State
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.targets.base import Acting, Observing, RefusedError, Target, TargetError

#: How long a backend that still works for a dead worker is waited for before it is ended.
WAIT_FOR_BACKEND_S = 20.0
_POLL_S = 0.25


@dataclass(frozen=True)
class Mismatch:
    """The journal and the catalogue disagree about an action."""

    action: Action
    found: Presence
    expected: str

    def __str__(self) -> str:
        what = self.action.object_name or self.action.description
        return f"{what}: the journal says {self.action.state} ({self.expected}), the catalogue says {self.found}"


def mismatches(
    target: Target, ledger: Ledger, session: Observing, types: dict[str, ActionType] = TYPES
) -> list[Mismatch]:
    """Where journal and catalogue disagree; empty where all is as written."""
    found = []
    for action in ledger.actions.list(target.name):
        kind = types.get(action.action_type)
        if kind is None:
            continue
        if action.state in LIVE and (presence := kind.presence(action, session)) != Presence.COMPLETE:
            found.append(Mismatch(action, presence, "it should be there"))
        elif action.state in IN_FLIGHT:
            found.append(
                Mismatch(action, kind.presence(action, session), "a worker announced it and did not come back")
            )
        elif action.state in (State.FAILED, State.REVERTED):
            presence = kind.presence(action, session)
            if presence == Presence.BROKEN:
                found.append(Mismatch(action, presence, "it should be gone"))
    return found


def recover(
    target: Target,
    ledger: Ledger,
    settings: Settings,
    *,
    actor: str = "recovery",
    say: Say = lambda _: None,
    types: dict[str, ActionType] = TYPES,
) -> list[str]:
    """Finish or take back what dead workers left in a target; returns what was done, a line each.

    Raises TargetError where the target cannot be reached or another process acts on it.
    """
    actions = ledger.actions
    pending = actions.list(target.name, states=IN_FLIGHT)
    done: list[str] = []
    with target.observing("recover") as looking:
        broken = [
            a
            for a in actions.list(target.name, states=(State.FAILED, State.REVERTED))
            if types[a.action_type].presence(a, looking) == Presence.BROKEN
        ]
    if not pending and not broken:
        return done
    with target.acting("recover") as session:
        # The dead worker's backend holds the lock as long as it works: first it, then the lock.
        for action in pending:
            _end_backend(action, session, say)
        if not session.try_lock():
            raise RefusedError(f"another process acts on target {target.name} now; recovery waits for it")
        for action in pending:
            kind = types[action.action_type]
            if action.state == State.APPLYING:
                why = action.error or "its worker died"
                done.append(settle(action, kind, session, ledger, settings, actor=actor, why=why, finish=True))
            else:
                done.append(_finish_undo(action, kind, session, ledger, settings, actor))
        for action in broken:
            kind = types[action.action_type]
            if kind.presence(action, session) == Presence.BROKEN:
                kind.remove_debris(action, session, settings)
                done.append(f"{action.object_name}: removed what a failed build left")
    for line in done:
        say(line)
    return done


def settle(
    action: Action,
    kind: ActionType,
    session: Acting,
    ledger: Ledger,
    settings: Settings,
    *,
    actor: str,
    why: str,
    finish: bool,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> str:
    """Bring an action that is `applying` to an end that the catalogue agrees with.

    finish: adopt a complete object (its worker died after the deed); else it is taken away too (the deed was refused).
    Raises TargetError where debris cannot be removed now; the action stays `applying` for the next recovery.
    """
    presence = kind.presence(action, session)
    if presence == Presence.COMPLETE and finish:
        adopted = kind.adopt(action, session, settings)
        ledger.actions.transition(
            action.action_id,
            State.APPLIED,
            actor=actor,
            reason=f"adopted: {why}, but the server had finished",
            detail={"statements": adopted.statements, **adopted.detail},
            applied_at=clock(),
            object_oid=adopted.object_oid,
        )
        ledger.actions.transition(action.action_id, State.VERIFYING, actor=actor)
        return f"{action.object_name}: adopted, the server had finished it"
    if presence in (Presence.BROKEN, Presence.COMPLETE):
        kind.remove_debris(action, session, settings)
    ledger.actions.transition(action.action_id, State.FAILED, actor=actor, reason=why, error=why, closed_at=clock())
    return f"{action.object_name}: {why}; " + (
        "removed what was begun" if presence == Presence.BROKEN else "nothing left"
    )


def _finish_undo(
    action: Action, kind: ActionType, session: Acting, ledger: Ledger, settings: Settings, actor: str
) -> str:
    """An announced undo is finished: it was decided, and doing it twice is doing it once."""
    try:
        undone = kind.undo(action, session, settings)
    except TargetError as error:
        ledger.actions.transition(
            action.action_id, State.REVERT_FAILED, actor=actor, reason=str(error), error=str(error)
        )
        return f"{action.object_name}: its undo failed: {error}"
    detail = {"statements": undone.statements, **undone.detail}
    ledger.actions.transition(
        action.action_id, State.REVERTED, actor=actor, detail=detail, reverted_at=datetime.now(UTC)
    )
    return f"{action.object_name}: its undo was finished"


def _end_backend(action: Action, session: Acting, say: Say) -> None:
    """Wait for the backend that a dead worker used, then end it."""
    pid, started = action.backend_pid, action.backend_start
    if pid is None or started is None:
        return
    deadline = time.monotonic() + WAIT_FOR_BACKEND_S
    told = cancelled = False
    while session.backend_alive(pid, started):
        if not told:
            say(f"backend {pid} still works on {action.object_name}; waiting up to {WAIT_FOR_BACKEND_S:.0f} s")
            told = True
        if time.monotonic() > deadline:
            if cancelled or not session.cancel(pid):
                raise RefusedError(
                    f"backend {pid} still works on {action.object_name} and cannot be ended by this role"
                )
            cancelled, deadline = True, time.monotonic() + WAIT_FOR_BACKEND_S
        time.sleep(_POLL_S)
