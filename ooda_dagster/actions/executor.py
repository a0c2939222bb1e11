"""Applies and undoes actions. The only caller of `apply` and `undo`; every deed is announced in the journal first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ooda_dagster.actions.base import ActionType, Say, SupersededError
from ooda_dagster.actions.given import check_ready, knowing
from ooda_dagster.actions.guards import pass_guards
from ooda_dagster.actions.held import hold, why_no_undo, with_values
from ooda_dagster.actions.permits import check_permitted
from ooda_dagster.actions.progress import Watch
from ooda_dagster.actions.recovery import recover, settle
from ooda_dagster.actions.registry import TYPES
from ooda_dagster.actions.tries import Tries, apply_with_tries, with_statements
from ooda_dagster.core.chain import statements_hash
from ooda_dagster.core.journal import LIVE, IllegalTransitionError, State
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.ledger.worker import Worker
from ooda_dagster.targets.base import (
    Acting,
    LoginRefusedError,
    RefusedError,
    Target,
    TargetError,
    TargetUnreachableError,
)


@dataclass(frozen=True)
class Outcome:
    """What became of one action: its new row, and a note where it did not go as asked."""

    action: Action
    note: str = ""

    @property
    def done(self) -> bool:
        return not self.note


class Executor:
    """Changes one target, for one actor (a person's name, or `policy`)."""

    def __init__(
        self,
        target: Target,
        ledger: Ledger,
        settings: Settings,
        *,
        actor: str,
        say: Say = lambda _: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        types: dict[str, ActionType] = TYPES,
    ) -> None:
        self._target = target
        self._ledger = ledger
        self._settings = settings
        self._actor = actor
        self._say = say
        self._clock = clock
        self._types = types
        self._session_lost = False
        self._interrupted = False

    # ------------------------------------------------------------------ apply

    def apply(self, actions: Sequence[Action]) -> list[Outcome]:
        """Apply approved actions, one after the other. What may not run now stays approved, with a note."""
        if not actions:
            return []
        outcomes: list[Outcome] = []
        why = "an action before it is not settled yet"
        try:
            with self._locked("act") as session:
                session.claim_server()
                for action in actions:
                    outcomes.append(self._apply(action, session))
                    if outcomes[-1].action.state == State.APPLYING:
                        break  # nothing is built on top of what recovery must look at first
        except TargetError as error:
            why = str(error)
        finally:
            if self._session_lost:
                self._mend()
        notes = [o.note for o in outcomes] + [why] * (len(actions) - len(outcomes))
        return [Outcome(self._ledger.actions.get(a.action_id), note) for a, note in zip(actions, notes, strict=True)]

    def _mend(self) -> None:
        """After a session was lost: the server ends its statement by itself, and then recovery goes on."""
        self._session_lost = False
        try:
            recover(
                self._target,
                self._ledger,
                self._settings,
                actor=self._actor,
                say=self._say,
                types=self._types,
                go_on=not self._interrupted,  # who is told to stop begins no further hours of work
            )
        except TargetError as error:
            self._say(f"{error}. `ooda recover` goes on from here")

    def _apply(self, action: Action, session: Acting) -> Outcome:
        actions = self._ledger.actions
        action = actions.get(action.action_id)  # those before it may have taken hours
        if action.state != State.APPROVED:
            return Outcome(action, f"it is {action.state} by now")
        kind = self._types[action.action_type]
        if action.approved_hash != statements_hash(action.statements, action.undo):
            changed = "the statements are not those that were approved"
            expired = actions.transition(
                action.action_id, State.EXPIRED, actor=self._actor, reason=changed, audit="expired"
            )
            return Outcome(expired, changed)
        try:
            with self._target.primary("act") as looking:
                seen = pass_guards(action, kind, looking, session, self._settings.acting, self._say)
                # Last, as the guards may wait, and close to the deed.
                check_permitted(action, self._target, self._ledger, self._settings, self._clock())
                kind = knowing(action, kind, self._ledger, self._say)
                kind.preflight(action, looking, self._settings)
                check_ready(action, kind, session, self._settings)
                prior = kind.snapshot(action, looking)
                held = self._hold(replace(action, prior_state=prior), kind, session)
        except SupersededError as error:
            return Outcome(
                actions.transition(action.action_id, State.SUPERSEDED, actor=self._actor, reason=str(error)), str(error)
            )
        except TargetError as error:
            self._say(f"not now: {error}")
            return Outcome(action, str(error))

        deed = {"statements": action.statements, "undo": action.undo}
        try:
            action = actions.transition(
                action.action_id,
                State.APPLYING,
                actor=self._actor,
                reason="",
                detail={**deed, "guards": seen, "worker": _worker(), **held},
                prior_state={**prior, **held},
                undo_kind="none" if "no_undo" in held else action.undo_kind,
                applying_at=self._clock(),
                backend_pid=session.backend_pid,
                backend_start=session.backend_start,
                application_name=session.application_name,
            )
        except IllegalTransitionError as error:  # somebody rejected it while the guards waited
            return Outcome(actions.get(action.action_id), f"it is {error.before} by now")
        self._say(f"{action.description} ...")
        return self._watched(action, kind, session)

    def _hold(self, action: Action, kind: ActionType, session: Acting) -> dict[str, Any]:
        held = hold(action, kind, session, self._ledger, self._settings, self._clock())
        if why := held.get("no_undo"):
            self._say(f"{action.description}: it will have no undo: {why}")
        return held

    def _watched(self, action: Action, kind: ActionType, session: Acting) -> Outcome:
        """Run apply while a second session watches what it waits for."""
        started = time.monotonic()
        actions = self._ledger.actions
        tries = Tries(self._settings.acting, self._say)
        kind = knowing(action, kind, self._ledger, self._say)  # as it is known once the deed is announced
        with Watch(self._target, session.backend_pid, self._say) as watch:
            try:
                applied = apply_with_tries(action, kind, session, self._settings, tries)
            except SupersededError as error:  # nothing of ours was made
                failed = actions.transition(
                    action.action_id,
                    State.FAILED,
                    actor=self._actor,
                    reason=str(error),
                    detail=tries.detail,
                    error=str(error),
                    closed_at=self._clock(),
                )
                return Outcome(failed, str(error))
            except BaseException as error:  # Dagster interrupts a run by an exception of its own
                self._failed(action, kind, session, error, tries)
                if not isinstance(error, TargetError):
                    raise
                return Outcome(actions.get(action.action_id), str(error))
        actions.transition(
            action.action_id,
            State.APPLIED,
            actor=self._actor,
            detail=with_statements(
                {**applied.detail, **tries.detail, "phases_ms": watch.phases_ms}, applied.statements
            ),
            object_oid=applied.object_oid,
            applied_at=self._clock(),
            duration_ms=(time.monotonic() - started) * 1000,
            lock_wait_ms=watch.lock_wait_ms,
        )
        return Outcome(actions.transition(action.action_id, State.VERIFYING, actor=self._actor))

    def _failed(self, action: Action, kind: ActionType, session: Acting, error: BaseException, tries: Tries) -> None:
        """Leave nothing behind; what cannot be settled now stays `applying`, for recovery."""
        why = str(error) if isinstance(error, Exception) else "interrupted"
        try:
            settle(
                action,
                kind,
                session,
                self._ledger,
                self._settings,
                actor=self._actor,
                why=why,
                finish=False,
                detail=tries.detail,
            )
        except TargetError as left:
            self._ledger.actions.note(action.action_id, error=why)
            self._session_lost = isinstance(left, TargetUnreachableError)
            self._interrupted = not isinstance(error, Exception)
            self._say(f"{why}; {left}. `ooda recover` goes on from here")

    # ------------------------------------------------------------------ undo

    def undo(
        self,
        action: Action,
        *,
        reason: str,
        told: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Undo what an action did. No switch or policy stands in the way of an undo.

        told, columns: what the journal, and the action, are to hold of the verdict that asks for it.
        """
        actions = self._ledger.actions
        kind = self._types[action.action_type]
        why = why_no_undo(action, kind, self._ledger, self._settings, self._clock())
        if why and action.state in LIVE:
            actions.note(action.action_id, undo_kind="none", prior_state={**action.prior_state, "no_undo": why})
            return Outcome(actions.get(action.action_id), f"there is no undo: {why}")
        try:
            with self._locked("undo") as session:
                action = actions.transition(
                    action.action_id,
                    State.REVERTING,
                    actor=self._actor,
                    reason=reason,
                    detail={"statements": action.undo, "worker": _worker(), **(told or {})},
                    revert_reason=reason,
                    closed_at=self._clock(),
                    backend_pid=session.backend_pid,
                    backend_start=session.backend_start,
                    **(columns or {}),
                )
                self._say(f"undoing: {action.description} ({reason})")
                outcome = self._undo(action, kind, session)
        except (TargetError, IllegalTransitionError) as error:  # the latter: somebody else undoes it just now
            return Outcome(actions.get(action.action_id), str(error))
        if self._session_lost:
            self._mend()
            action = actions.get(action.action_id)
            return Outcome(action, "" if action.state == State.REVERTED else outcome.note)
        return outcome

    def _undo(self, action: Action, kind: ActionType, session: Acting) -> Outcome:
        actions = self._ledger.actions
        tries = Tries(self._settings.acting, self._say)
        try:
            seen = with_values(action, kind, self._ledger, self._settings, self._clock())
            undone = tries.run(lambda: kind.undo(seen, session, self._settings))
        except TargetUnreachableError as lost:  # done or not, only the catalogue knows: it stays `reverting`
            actions.note(action.action_id, error=str(lost))
            self._session_lost = True
            return Outcome(action, f"{lost}. `ooda recover` goes on from here")
        except TargetError as error:
            why = str(error)
            stuck = actions.transition(
                action.action_id, State.REVERT_FAILED, actor=self._actor, reason=why, detail=tries.detail, error=why
            )
            return Outcome(stuck, str(error))
        action = actions.transition(
            action.action_id,
            State.REVERTED,
            actor=self._actor,
            reason=undone.note,
            detail=with_statements({**undone.detail, **tries.detail}, undone.statements),
            reverted_at=self._clock(),
        )
        return Outcome(action)

    # ------------------------------------------------------------------ session

    @contextmanager
    def _locked(self, phase: str) -> Iterator[Acting]:
        """An acting session that holds the target's lock. Raises RefusedError where somebody else holds it."""
        with ExitStack() as stack:
            try:
                session = stack.enter_context(self._target.acting(phase))
            except LoginRefusedError as error:
                self._ledger.cycles.bar(self._target.name, str(error))
                raise
            self._ledger.cycles.bar(self._target.name, None)
            if not session.try_lock():
                raise RefusedError(
                    f"another process acts on target {self._target.name} now: its lock is taken; nothing was done"
                )
            yield session


def _worker() -> dict[str, Any]:
    """This process, for the journal: recovery never ends what a living worker does."""
    return asdict(Worker.current())
