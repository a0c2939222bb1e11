"""Which actions that were proven to hurt are still in place?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ooda_dagster.core.change_types import changes_statements
from ooda_dagster.core.journal import LIVE, State
from ooda_dagster.core.verdict import Outcome, OutcomeClass
from ooda_dagster.ledger import Action, Ledger

#: What cannot be undone now is looked at again much sooner.
_LOOKED_BACK = timedelta(days=3)
_MEASURED = ("ratio", "ratio_low", "ratio_high")


def still_worse(ledger: Ledger, target: str, now: datetime) -> list[Action]:
    """Actions in place that a verdict, or a second look, proved worse; of the latter with what that look measured.

    A kept action's own outcome stays what its verdict was until its undo begins, which a mode may forbid.
    """
    found = [a for a in ledger.actions.list(target, states=(*LIVE, State.REVERT_FAILED)) if a.outcome == Outcome.WORSE]
    known = {a.action_id for a in found}
    for action, look in _lost(ledger, target, now):
        if action.action_id not in known:
            found.append(replace(action, **outcome_of(look), closed_at=look["looked_at"]))
    return found


def lost_since(ledger: Ledger, action: Action, now: datetime) -> Mapping[str, Any] | None:
    """The second look that proved a kept action worse; None where none did."""
    return next((look for a, look in _lost(ledger, action.target, now) if a.action_id == action.action_id), None)


def outcome_of(look: Mapping[str, Any]) -> dict[str, Any]:
    """What an action is to hold of a look that proved it worse."""
    measured = {name: look[name] for name in _MEASURED}
    return {"outcome": Outcome.WORSE, "outcome_class": OutcomeClass.REGRESSED, **measured}


def _lost(ledger: Ledger, target: str, now: datetime) -> list[tuple[Action, Mapping[str, Any]]]:
    """Kept actions with the newest look at their change set, where that one said worse and nothing was undone since."""
    newest = {look["change_set_id"]: look for look in ledger.verifications.final_looks(target, now - _LOOKED_BACK)}
    found = []
    for change_set_id, look in newest.items():
        if look["evidence"].get("second_look") != Outcome.WORSE:
            continue
        actions = ledger.actions.list(target, change_set_id=change_set_id)
        if any(a.reverted_at and a.reverted_at > look["looked_at"] for a in actions):
            continue  # what is left is judged anew
        found += [(a, look) for a in actions if a.state == State.KEPT and changes_statements(a.action_type)]
    return found
