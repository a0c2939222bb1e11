"""The failure memory, for people: what is not tried again, which types policy approves no more, and until when.

Both are windows that slide (acting.failure_memory_h, acting.type_memory_h); a person's approval stands above them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ooda_dagster.core.journal import State
from ooda_dagster.core.prioritise import failures
from ooda_dagster.core.settings import Acting
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.situation import OVER, ended_actions


@dataclass(frozen=True)
class Remembered:
    """One thing that is remembered: of an action, or of a type. until: when it is forgotten, or approved again."""

    target: str
    what: str
    why: str
    at: datetime
    until: datetime
    shut: bool = True  # of a type: whether so many are remembered that policy approves no more


def remembered(ledger: Ledger, name: str, acting: Acting, now: datetime) -> list[Remembered]:
    """What the target's memory holds now: types first, then actions, newest first."""
    return _types(ledger, name, acting, now) + _actions(ledger, name, acting, now)


def _types(ledger: Ledger, name: str, acting: Acting, now: datetime) -> list[Remembered]:
    memory = timedelta(hours=acting.type_memory_h)
    found = []
    for action_type, moments in failures(ended_actions(ledger, name, since=now - memory)).items():
        recent = sorted((at for at in moments if now - at < memory), reverse=True)
        if recent:
            shut = len(recent) >= acting.max_type_failures
            why = f"{len(recent)} of {acting.max_type_failures} failed or did harm within {acting.type_memory_h:g} h"
            until = recent[acting.max_type_failures - 1 if shut else 0] + memory
            found.append(Remembered(name, action_type, why, recent[0], until, shut))
    return found


def _actions(ledger: Ledger, name: str, acting: Acting, now: datetime) -> list[Remembered]:
    memory = timedelta(hours=acting.failure_memory_h)
    newest: dict[str, Remembered] = {}
    for action in ledger.actions.list(name, states=OVER, since=now - memory):
        at = action.reverted_at or action.closed_at
        if at is None or now - at >= memory:
            continue
        ended = {State.REVERTED: "undone", State.FAILED: "failed", State.REJECTED: "rejected"}[action.state]
        reason = action.revert_reason or action.error or action.rule or ""
        known = newest.get(action.identity)
        if known is None or known.at < at:
            what = action.description.split(":")[0]
            why = f"{ended}: {reason}" if reason else ended
            newest[action.identity] = Remembered(name, what, why, at, at + memory)
    return sorted(newest.values(), key=lambda r: r.at, reverse=True)
