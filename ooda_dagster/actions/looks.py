"""When is a change set looked at first? Set once what is done to it is done, by the cycle or by recovery."""

from __future__ import annotations

from datetime import datetime, timedelta

from ooda_dagster.core.journal import IN_FLIGHT, State
from ooda_dagster.core.settings import Verifying
from ooda_dagster.ledger import Ledger


def start_looks(ledger: Ledger, change_set_id: str, policy: Verifying, now: datetime) -> None:
    """Set the clock of a change set's looks, from now."""
    ledger.verifications.update(
        change_set_id,
        acted_until=now,
        next_look_at=now + timedelta(seconds=policy.look_every_s),
        deadline_at=now + timedelta(seconds=policy.deadline_s),
        open=True,
        closed_at=None,
    )


def settle_looks(ledger: Ledger, change_set_id: str, policy: Verifying, now: datetime) -> None:
    """Start the looks of a change set whose worker died, or close it where nothing of it came about."""
    states = {a.state for a in ledger.actions.list(change_set_id=change_set_id)}
    if State.VERIFYING in states:
        start_looks(ledger, change_set_id, policy, now)
    elif not states & (IN_FLIGHT | {State.APPLIED}):
        ledger.verifications.update(change_set_id, acted_until=now, open=False, closed_at=now, next_look_at=None)
