"""Which actions that were proven to hurt are still in place?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ooda_dagster.core.journal import LIVE, State
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.ledger import Action, Ledger


def still_worse(ledger: Ledger, target: str) -> list[Action]:
    """Actions in place that a verdict, or a second look, proved worse; of the latter with what that look measured.

    A kept action's own outcome stays what its verdict was until its undo begins, which a mode may forbid.
    """
    found = [a for a in ledger.actions.list(target, states=(*LIVE, State.REVERT_FAILED)) if a.outcome == Outcome.WORSE]
    known = {a.action_id for a in found}
    return [*found, *(a for a in _by_second_look(ledger, target) if a.action_id not in known)]


def _by_second_look(ledger: Ledger, target: str) -> Iterator[Action]:
    for change_set in ledger.verifications.watched(target):
        looks = ledger.verifications.looks(change_set.change_set_id)
        if not looks or looks[-1]["evidence"].get("second_look") != Outcome.WORSE:
            continue
        measured = {name: looks[-1][name] for name in ("ratio", "ratio_low", "ratio_high")}
        for action in ledger.actions.list(target, change_set_id=change_set.change_set_id, states=(State.KEPT,)):
            yield replace(action, outcome=str(Outcome.WORSE), **measured)
