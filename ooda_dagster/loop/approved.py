"""What people approved and no cycle applied yet, as decisions that acting can carry out."""

from __future__ import annotations

from collections.abc import Sequence

from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Decision, Decisions
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.decide import POLICY


def approved_by_people(ledger: Ledger, name: str | None = None) -> Sequence[Action]:
    """Approved actions, of a target or of all, whose approval is a person's."""
    approved = ledger.actions.list(name, states=(State.APPROVED,))
    return [a for a in approved if a.decided_by not in (None, POLICY) and a.approved_hash == a.statements_hash]


def approved_decisions(loop: Loop, analysis_id: str) -> Decisions:
    """The decisions of people, for a run that does nothing but carry them out."""
    return Decisions(
        analysis_id=analysis_id,
        target=loop.name,
        timestamp=loop.clock(),
        mode=loop.settings.mode,
        decisions=[
            Decision(
                hypothesis_id=a.hypothesis_id,
                action_id=a.action_id,
                state=a.state,
                rule=f"approved by {a.decided_by}",
            )
            for a in approved_by_people(loop.ledger, loop.name)
        ],
    )
