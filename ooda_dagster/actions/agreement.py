"""Do journal and catalogue agree? Where a person dropped or took over what was ours, the journal lets go of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ooda_dagster.actions.base import ActionType, Presence
from ooda_dagster.actions.registry import TYPES
from ooda_dagster.core.journal import IN_FLIGHT, LIVE, IllegalTransitionError, State
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.targets.base import Acting, Observing, Target


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
    for action in ledger.actions.list(target.name, states=LIVE | IN_FLIGHT | {State.REVERTED}):
        kind = types.get(action.action_type)
        if kind is None:
            continue
        presence = kind.presence(action, session)
        if action.state in IN_FLIGHT:
            found.append(Mismatch(action, presence, "a worker announced it and did not come back"))
        elif action.state in LIVE and presence != Presence.COMPLETE:
            found.append(Mismatch(action, presence, "it should be there"))
        elif action.state == State.REVERTED and presence == Presence.BROKEN:
            found.append(Mismatch(action, presence, "it should be gone"))
    return found


def let_go(
    target: Target,
    ledger: Ledger,
    looking: Observing,
    *,
    actor: str = "recovery",
    types: dict[str, ActionType] = TYPES,
) -> list[str]:
    """Close in the journal what a person dropped, changed or replaced. Touches the ledger only.

    Not where another database answers under the target's name: what is missing there was never in it.
    """
    known = (ledger.cycles.registered(target.name) or {}).get("identity") or {}
    seen = looking.capabilities().identity
    if any(known.get(key) not in (None, seen[key]) for key in ("system_identifier", "database_oid")):
        return []
    done = []
    for action in ledger.actions.list(target.name, states=LIVE | {State.REVERT_FAILED}):
        kind = types.get(action.action_type)
        presence = kind.presence(action, looking) if kind else Presence.COMPLETE
        if presence not in (Presence.ABSENT, Presence.FOREIGN):
            continue
        gone = presence == Presence.ABSENT
        why = "somebody dropped it" if gone else "somebody changed or replaced it: it is theirs now, and left alone"
        now = datetime.now(UTC)
        try:
            ledger.actions.transition(
                action.action_id, State.REVERTING, actor=actor, reason=why, revert_reason=why, closed_at=now
            )
        except IllegalTransitionError:  # another process undoes it just now
            continue
        ledger.actions.transition(action.action_id, State.REVERTED, actor=actor, reason=why, reverted_at=now)
        done.append(f"{action.object_name}: {why}")
    return done


def broken(target: Target, ledger: Ledger, session: Observing | Acting, types: dict[str, ActionType]) -> list[Action]:
    """Actions whose object was finished or gone, and is invalid now: somebody's DROP CONCURRENTLY gave up."""
    ended = ledger.actions.list(target.name, states=LIVE | {State.REVERTED})
    kinds = [(action, types.get(action.action_type)) for action in ended]
    return [action for action, kind in kinds if kind and kind.presence(action, session) == Presence.BROKEN]
