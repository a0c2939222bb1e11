"""Which models and operations as a whole became slower or faster, by the ledger's sums of their requests?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from ooda_dagster.core.detect import detect_groups
from ooda_dagster.core.seen import GroupChange
from ooda_dagster.core.text import cut
from ooda_dagster.loop.context import Loop

#: Most changes of a message, the surest.
MOST = 20
_LABEL = 80
#: Rows are written when they complete; the newest minute may still fill.
_SETTLED = timedelta(minutes=1)


def find_group_changes(loop: Loop, *, now: datetime) -> list[GroupChange]:
    """Changes that last or have ended within `detect.group_watch_h`, open ones first, then the surest."""
    policy = loop.settings.detect
    if not policy.enabled or not policy.groups:
        return []
    minutes = max(round(policy.group_block_min), 1)
    until = (now - _SETTLED).replace(second=0, microsecond=0)
    since = until - timedelta(hours=policy.group_watch_h + policy.group_past_h)
    rollup = loop.ledger.requests.blocks(loop.name, since, until, minutes=minutes)
    found = detect_groups(
        rollup, now=pd.Timestamp(until), settings=policy.model_copy(update={"group_block_min": minutes})
    )
    changes = [_change({str(k): v for k, v in row.items()}) for row in found.to_dict("records")]
    return sorted(changes, key=lambda c: (c.state != "open", -c.evidence))[:MOST]


def _change(row: dict[str, Any]) -> GroupChange:
    low, high = row["interval"]
    model, operation = cut(str(row["model"]), _LABEL), cut(str(row["operation"]), _LABEL)
    since = row["since"].to_pydatetime()
    until = None if pd.isna(row["until"]) else row["until"].to_pydatetime()
    ratio = row["ratio"]
    size = f"{ratio:.2f} times as long as usual ({low:.2f} to {high:.2f})"
    begun = f"since {since.astimezone(UTC):%H:%M} UTC"
    if until:
        begun = f"from {since.astimezone(UTC):%H:%M} to {until.astimezone(UTC):%H:%M} UTC, and no more"
    return GroupChange(
        model_id=model,
        operation=operation,
        since=since,
        until=until,
        found_at=row["found_at"].to_pydatetime(),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        evidence=row["evidence"],
        state=row["state"],
        requests=row["n"],
        text=f"{operation} by model {model} takes {size} {begun}"
        if not until
        else f"{operation} by model {model} took {size} {begun}",
    )
