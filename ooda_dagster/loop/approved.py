"""What people approved and no cycle applied yet, as decisions that acting can carry out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Decision, Decisions
from ooda_dagster.core.policy import Situation, bar
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.situation import login_refused
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.situation import POLICY


def approved_by_people(ledger: Ledger, name: str | None = None) -> Sequence[Action]:
    """Approved actions, of a target or of all, whose approval is a person's."""
    approved = ledger.actions.list(name, states=(State.APPROVED,))
    return [a for a in approved if a.decided_by not in (None, POLICY) and a.approved_hash == a.statements_hash]


def holds(ledger: Ledger, name: str, settings: Settings, now: datetime) -> str:
    """What keeps all that is approved from being carried out now, by the ledger alone; empty where nothing does."""
    row = ledger.cycles.registered(name) or {}
    seen = Situation(now, warm_h=0.0, paused=bool(row.get("paused_at")))
    seen.barred = login_refused(row["barred"]) if row.get("barred") else None
    return str(bar(None, seen, settings) or "")


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
