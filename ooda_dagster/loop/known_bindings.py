"""Which concepts are bound, or are to be: by the journal alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.journal import LIVE, OPEN, WAITING, State
from ooda_dagster.ledger import Action, Ledger

_WORDS = {
    State.PROPOSED: "proposed",
    State.PENDING_APPROVAL: "waits for approval",
    State.APPROVED: "approved",
    State.APPLYING: "being bound",
    State.REVERTING: "being undone",
    State.REVERT_FAILED: "its undo failed",
}


@dataclass(frozen=True)
class BoundConcept:
    """Actions that bind a concept. live: in the target now; under_way: the newest of the others, if any."""

    live: tuple[Action, ...] = ()
    under_way: Action | None = None

    @property
    def rows(self) -> int:
        """Of `live` together, by what was counted when they were proposed."""
        return sum(a.spec["new_rows"] for a in self.live)

    @property
    def word(self) -> str:
        """What to call it; nothing where no binding of it is known."""
        coming = _WORDS[self.under_way.state] if self.under_way else ""
        if not self.live:
            return coming
        return f"bound; more of it: {coming}" if coming else "bound"

    @property
    def action_id(self) -> str:
        """Of the action to look at, in short."""
        newest = self.under_way or (self.live[-1] if self.live else None)
        return newest.action_id[:8] if newest else ""


def known_bindings(ledger: Ledger, target: str) -> dict[str, BoundConcept]:
    """concept_id → its bindings; only of concepts that have some."""
    found: dict[str, list[Action]] = defaultdict(list)
    for action in ledger.actions.list(target, states=WAITING | OPEN | LIVE | {State.REVERT_FAILED}):
        if action.action_type == HypothesisType.CONCEPT:
            found[action.spec["concept_id"]].append(action)
    return {
        concept_id: BoundConcept(
            tuple(a for a in actions if a.state in LIVE), next((a for a in actions[::-1] if a.state not in LIVE), None)
        )
        for concept_id, actions in found.items()
    }
