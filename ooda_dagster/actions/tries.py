"""A deed that lost a lock is tried again: a few times, with pauses, within a budget. The journal is told every try."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ooda_dagster.actions.base import ActionType, Applied, Presence, Say
from ooda_dagster.core.settings import Acting as Policy
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action
from ooda_dagster.targets.base import Acting, LostLockError, TargetError

#: Between two tries of a statement that waits for an instant only; doubled each time, so that others get on.
_BRIEF_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 16.0
#: The server's code for "the statement was cancelled", by its timeout or by a person.
_CANCELED = "57014"


class Stopwatch(Protocol):
    """Of the module `time`; a test may stand in for it."""

    def monotonic(self) -> float: ...
    def sleep(self, seconds: float, /) -> None: ...


class Tries:
    """The tries of one deed, a row each: `after_s` since the first began, `took_s`, and `lost`, why it gave up."""

    def __init__(self, policy: Policy, say: Say, *, clock: Stopwatch = time) -> None:
        self._policy = policy
        self._say = say
        self._clock = clock
        self.rows: list[dict[str, Any]] = []
        #: By which debris was removed between tries.
        self.removed: list[str] = []

    def run(self, work: Callable[[], Applied]) -> Applied:
        """Run `work` until it loses no lock. Raises its last LostLockError when tries or budget are used up."""
        policy, clock = self._policy, self._clock
        began = clock.monotonic()
        while True:
            started = clock.monotonic()
            row: dict[str, Any] = {"after_s": round(started - began, 2)}
            self.rows.append(row)
            try:
                return work()
            except LostLockError as error:
                row["lost"] = str(error)
                next_s = clock.monotonic() - began + policy.lock_retry_pause_s
                if len(self.rows) >= policy.lock_tries or next_s > policy.lock_budget_s:
                    raise
                self._say(f"{error}; tried again in {policy.lock_retry_pause_s:g} s")
            finally:
                row["took_s"] = round(clock.monotonic() - started, 2)
            clock.sleep(policy.lock_retry_pause_s)

    @property
    def detail(self) -> dict[str, Any]:
        """For the journal; nothing where the first try did it."""
        found: dict[str, Any] = {"tries": self.rows} if any("lost" in row for row in self.rows) else {}
        return with_statements(found, self.removed) if self.removed else found


def with_statements(detail: dict[str, Any], sent: Sequence[str]) -> dict[str, Any]:
    """A journal's detail with further statements that were sent."""
    return {**detail, "statements": [*detail.get("statements", ()), *sent]}


def apply_with_tries(action: Action, kind: ActionType, session: Acting, settings: Settings, tries: Tries) -> Applied:
    """Apply, again where a lock was lost. Between two tries what is broken is removed, what is whole is kept."""
    clean = True

    def work() -> Applied:
        nonlocal clean
        try:
            if clean:
                return kind.apply(action, session, settings)
            presence = kind.presence(action, session)
            if presence in (Presence.COMPLETE, Presence.PARTIAL):
                return kind.adopt(action, session, settings)
            if presence == Presence.BROKEN:
                tries.removed += kind.remove_debris(action, session, settings)
            return kind.apply(action, session, settings)
        except LostLockError:
            clean = _clear(action, kind, session, settings, tries)
            raise

    return tries.run(work)


def _clear(action: Action, kind: ActionType, session: Acting, settings: Settings, tries: Tries) -> bool:
    """Remove debris before the pause, so that what stands there after it is somebody else's. False: some is left."""
    presence = kind.presence(action, session)
    if presence == Presence.BROKEN:
        try:
            tries.removed += kind.remove_debris(action, session, settings)
        except LostLockError:
            return False
    return presence in (Presence.ABSENT, Presence.BROKEN, Presence.FOREIGN)


def briefly(session: Acting, statement: str, *, role: str | None, policy: Policy) -> None:
    """Run a statement behind whose waiting others would queue, so that they wait `acting.brief_lock_s` at most.

    The limit is of the whole statement, which may take many locks and holds the first while it waits for the last. It
    gives up and tries again until `acting.lock_budget_s` are over; raises LostLockError then.
    """
    limit_s = policy.brief_lock_s
    deadline, pause_s = time.monotonic() + policy.lock_budget_s, _BRIEF_PAUSE_S
    while True:
        began = time.monotonic()
        try:
            session.execute(statement, role=role, lock_timeout_s=0.9 * limit_s, timeout_s=limit_s)
            return
        except LostLockError as error:
            lost = error
        except TargetError as error:
            in_time = time.monotonic() - began < limit_s
            if getattr(error.__cause__, "sqlstate", None) != _CANCELED or in_time:  # in time: by a person
                raise
            lost = LostLockError(f"{error}; it needs locks that others hold in turn")
        if time.monotonic() + pause_s > deadline:
            raise lost
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
