"""What did a dead worker, or a person, leave? Compares the journal with the catalogue and makes them agree, once.

A worker that was killed may have left a backend that still builds: it is waited for, then ended - never that of a
worker that lives. Only then the catalogue is read: what is complete is adopted, what is broken and ours by name,
definition and journal is removed. What a person dropped or took over is theirs, and the journal lets go of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from ooda_dagster.actions.agreement import broken, let_go
from ooda_dagster.actions.base import ActionType, Presence, Say
from ooda_dagster.actions.given import knowing
from ooda_dagster.actions.guards import pass_guards
from ooda_dagster.actions.held import with_values
from ooda_dagster.actions.looks import settle_looks
from ooda_dagster.actions.permits import check_permitted
from ooda_dagster.actions.registry import TYPES
from ooda_dagster.actions.tries import Tries, with_statements
from ooda_dagster.core.journal import IN_FLIGHT, State
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.ledger.worker import Worker
from ooda_dagster.targets.base import (
    Acting,
    LoginRefusedError,
    LostLockError,
    RefusedError,
    Target,
    TargetError,
    TargetUnreachableError,
)

#: How long a backend that still works for a dead worker is waited for before it is ended.
WAIT_FOR_BACKEND_S = 20.0
_POLL_S = 0.25
#: So long after an undo failed recovery tries it again.
RETRY_UNDO_AFTER = timedelta(hours=1)
#: States that no process is to be found dead in.
_UNFINISHED = IN_FLIGHT | {State.APPLIED}


def recover(
    target: Target,
    ledger: Ledger,
    settings: Settings,
    *,
    actor: str = "recovery",
    say: Say = lambda _: None,
    types: dict[str, ActionType] = TYPES,
    go_on: bool = True,
) -> list[str]:
    """Finish or take back what dead workers left in a target; returns what was done, a line each.

    go_on: with what has steps left, too; else that waits for the next recovery.
    Raises TargetError where the target cannot be reached, another process acts on it, or something cannot be settled
    now; the rest is settled first.
    """
    with target.primary("recover") as looking:
        done = let_go(target, ledger, looking, actor=actor, types=types)
        invalid = broken(target, ledger, looking, types)
    waiting = [v for v in ledger.verifications.open(target.name) if v.acted_until is None]
    left: list[str] = []
    if ledger.actions.list(target.name, states=_UNFINISHED) or invalid or waiting or _stuck(target, ledger):
        with _acting(target, ledger) as session:
            # The dead worker's backend holds the lock as long as it works: first it, then the lock.
            for action in ledger.actions.list(target.name, states=IN_FLIGHT):
                _end_backend(action, session, ledger, say)
            if not session.try_lock():
                raise RefusedError(f"another process acts on target {target.name} now; recovery waits for it")
            # Read again: until the lock was ours, its holder may have come to an end by itself.
            for action in ledger.actions.list(target.name, states=_UNFINISHED):
                kind = types[action.action_type]
                with _apart(action, left):
                    if action.state == State.APPLYING and kind.presence(action, session) == Presence.PARTIAL:
                        if not go_on:
                            raise RefusedError("it was interrupted; `ooda recover`, or the next cycle, goes on with it")
                        _check_going_on(action, kind, session, target, ledger, settings, say)
                    done.append(_finish(action, kind, session, ledger, settings, actor))
            for action in [*broken(target, ledger, session, types), *_stuck(target, ledger)]:
                with _apart(action, left):
                    done.append(_remove_broken(action, types[action.action_type], session, ledger, settings, actor))
            for verification in ledger.verifications.open(target.name):
                if verification.acted_until is None:
                    settle_looks(ledger, verification.change_set_id, settings.verifying, datetime.now(UTC))
    for line in done:
        say(line)
    if left:
        raise RefusedError("; ".join(left))
    return done


@contextmanager
def _acting(target: Target, ledger: Ledger) -> Iterator[Acting]:
    """An acting session; a role that is not let in is noted, for status and alerts."""
    with ExitStack() as stack:
        try:
            session = stack.enter_context(target.acting("recover"))
        except LoginRefusedError as error:
            ledger.cycles.bar(target.name, str(error))
            raise
        yield session


@contextmanager
def _apart(action: Action, left: list[str]) -> Iterator[None]:
    """What cannot be settled now is named, and keeps nothing else from being settled."""
    try:
        yield
    except TargetUnreachableError:
        raise
    except TargetError as error:
        left.append(f"{action.object_name or action.description}: {error}")


def _check_going_on(
    action: Action, kind: ActionType, session: Acting, target: Target, ledger: Ledger, settings: Settings, say: Say
) -> None:
    """Before hours of work are gone on with: all that is asked before they are begun. Raises RefusedError."""
    session.claim_server()
    check_permitted(action, target, ledger, settings, datetime.now(UTC))
    with target.primary("recover") as looking:
        pass_guards(action, kind, looking, session, settings.acting, say)


def _stuck(target: Target, ledger: Ledger) -> list[Action]:
    """Undos that failed, and that nobody tried for a while: a lock that was held then may be free now."""
    failed = ledger.actions.list(target.name, states=(State.REVERT_FAILED,))
    now = datetime.now(UTC)
    return [a for a in failed if now - ledger.actions.history(a.action_id)[-1]["at"] > RETRY_UNDO_AFTER]


def _finish(action: Action, kind: ActionType, session: Acting, ledger: Ledger, settings: Settings, actor: str) -> str:
    """Bring one action that no process works on any more to where its journal meant to go."""
    if action.state == State.APPLYING:
        why = action.error or "its worker died"
        return settle(action, kind, session, ledger, settings, actor=actor, why=why, finish=True)
    if action.state == State.APPLIED:
        ledger.actions.transition(action.action_id, State.VERIFYING, actor=actor)
        _settle_looks(action, ledger, settings)
        return f"{action.object_name}: its verification was begun"
    return _finish_undo(action, kind, session, ledger, settings, actor)


def _remove_broken(
    action: Action, kind: ActionType, session: Acting, ledger: Ledger, settings: Settings, actor: str
) -> str:
    if action.state == State.REVERTED:
        sent = kind.remove_debris(action, session, settings)
        ledger.audit("debris removed", target=action.target, actor=actor, action_id=action.action_id, statements=sent)
        return f"{action.object_name}: removed what was left broken"
    failed = action.state == State.REVERT_FAILED
    why = "its undo failed, and is tried again" if failed else "it was found invalid"
    action = ledger.actions.transition(
        action.action_id, State.REVERTING, actor=actor, reason=why, revert_reason=why, closed_at=datetime.now(UTC)
    )
    return f"{_finish_undo(action, kind, session, ledger, settings, actor)}: {why}"


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
    detail: dict[str, Any] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> str:
    """Bring an action that is `applying` to an end that the catalogue agrees with.

    finish: adopt a complete object (its worker died after the deed) and go on with one that its type can go on with;
    else it is taken away too (the deed was refused). detail: goes to the journal with a failure.
    Raises TargetError where debris cannot be removed now; the action stays `applying` for the next recovery.
    """
    presence = kind.presence(action, session)
    adopted = None
    if presence in (Presence.COMPLETE, Presence.PARTIAL) and finish:
        try:
            adopted = knowing(action, kind, ledger).adopt(action, session, settings)
        except TargetError as error:
            if presence == Presence.COMPLETE or isinstance(error, LostLockError | TargetUnreachableError):
                raise
            why = f"{why}; going on failed: {error}"
    if adopted is not None:
        how = "the server had finished it" if presence == Presence.COMPLETE else "the rest was done"
        ledger.actions.transition(
            action.action_id,
            State.APPLIED,
            actor=actor,
            reason=f"adopted: {why}, but {how}",
            detail={"statements": adopted.statements, **adopted.detail},
            applied_at=clock(),
            object_oid=adopted.object_oid,
        )
        ledger.actions.transition(action.action_id, State.VERIFYING, actor=actor)
        _settle_looks(action, ledger, settings)
        return f"{action.object_name}: adopted, {how}"
    removed: list[str] = []
    if presence in (Presence.BROKEN, Presence.PARTIAL, Presence.COMPLETE):
        removed = kind.remove_debris(action, session, settings)
        detail = with_statements(detail or {}, removed)
    ledger.actions.transition(
        action.action_id, State.FAILED, actor=actor, reason=why, detail=detail, error=why, closed_at=clock()
    )
    begun = presence in (Presence.BROKEN, Presence.PARTIAL)
    return f"{action.object_name}: {why}; " + (
        f"removed what was begun ({'; '.join(removed)})" if begun else "nothing left"
    )


def _finish_undo(
    action: Action, kind: ActionType, session: Acting, ledger: Ledger, settings: Settings, actor: str
) -> str:
    """An announced undo is finished: it was decided, and doing it twice is doing it once."""
    tries = Tries(settings.acting, lambda _: None)
    try:
        seen = with_values(action, kind, ledger, settings, datetime.now(UTC))
        undone = tries.run(lambda: kind.undo(seen, session, settings))
    except TargetUnreachableError:  # done or not, only the catalogue knows: the next recovery reads it
        raise
    except TargetError as error:
        why = str(error)
        ledger.actions.transition(
            action.action_id, State.REVERT_FAILED, actor=actor, reason=why, detail=tries.detail, error=why
        )
        return f"{action.object_name}: its undo failed: {error}"
    detail = with_statements({**undone.detail, **tries.detail}, undone.statements)
    ledger.actions.transition(
        action.action_id,
        State.REVERTED,
        actor=actor,
        reason=undone.note,
        detail=detail,
        reverted_at=datetime.now(UTC),
    )
    return f"{action.object_name}: its undo was finished"


def _settle_looks(action: Action, ledger: Ledger, settings: Settings) -> None:
    if action.change_set_id is not None:
        settle_looks(ledger, action.change_set_id, settings.verifying, datetime.now(UTC))


def _end_backend(action: Action, session: Acting, ledger: Ledger, say: Say) -> None:
    """Wait for the backend that a dead worker used, then end it. Raises RefusedError where its worker may live."""
    pid, started = action.backend_pid, action.backend_start
    if pid is None or started is None:
        return
    what = f"backend {pid} still works on {action.object_name}"
    deadline = time.monotonic() + WAIT_FOR_BACKEND_S
    told = cancelled = False
    while session.backend_alive(pid, started):
        worker = _worker_of(action, ledger)
        alive = worker.alive() if worker else None
        if worker and alive and worker != Worker.current():
            raise RefusedError(f"{what} for process {worker.pid} on {worker.host}, which lives: it is left to its work")
        if not told:
            say(f"{what}; waiting up to {WAIT_FOR_BACKEND_S:.0f} s")
            told = True
        if time.monotonic() > deadline:
            if alive is not False:
                whose = f"process {worker.pid} on {worker.host}" if worker else "an unknown process"
                raise RefusedError(f"{what} for {whose}; if that is dead: SELECT pg_terminate_backend({pid})")
            if cancelled or not session.cancel(pid):
                raise RefusedError(f"{what} and cannot be ended by this role")
            cancelled, deadline = True, time.monotonic() + WAIT_FOR_BACKEND_S
        time.sleep(_POLL_S)


def _worker_of(action: Action, ledger: Ledger) -> Worker | None:
    """The process that announced the deed that is under way."""
    newest = ledger.actions.history(action.action_id)[-1]
    worker = newest["detail"].get("worker")
    return Worker(**worker) if worker else None
