"""When did an action last change what a statement costs?"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

import pandas as pd

from ooda_dagster.ledger import Ledger


def last_changes(
    ledger: Ledger, name: str, *, since: datetime, until: datetime | None = None, bystanders: bool = False
) -> dict[str, datetime]:
    """fingerprint → end of the newest build or undo that reached it, of those that ended from `since` to `until`.

    bystanders: statements on the same tables count as reached too.
    """
    ends: dict[str, list[datetime]] = defaultdict(list)
    for action in ledger.actions.list(name, since=since):
        if action.change_set_id:
            moments = (action.applied_at, action.reverted_at)
            ends[action.change_set_id] += [at for at in moments if at and at >= since and (not until or at <= until)]
    changed: dict[str, datetime] = {}
    for verification in ledger.verifications.of(ends):
        reached = {*verification.treated, *(verification.bystanders if bystanders else ())}
        for fingerprint in reached if ends[verification.change_set_id] else ():
            newest = max(ends[verification.change_set_id])
            changed[fingerprint] = max(newest, changed.get(fingerprint, newest))
    return changed


def since_changes(frame: pd.DataFrame, changed: dict[str, datetime]) -> pd.DataFrame:
    """Buckets (columns minute, fingerprint) of each statement since it was changed last; all where it never was."""
    codes, names = pd.factorize(frame["fingerprint"])
    never = pd.Timestamp(0, tz="UTC")
    starts = pd.DatetimeIndex([changed.get(str(name), never) for name in names], tz="UTC")
    if not len(starts):
        return frame
    return frame[pd.DatetimeIndex(pd.to_datetime(frame["minute"], utc=True)) >= starts[codes]]
