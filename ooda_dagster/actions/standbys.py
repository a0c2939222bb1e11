"""Do standbys and replication slots keep up? A build writes as much log as its index is large, and they carry it."""

from __future__ import annotations

from ooda_dagster.core.settings import Acting as Policy
from ooda_dagster.core.text import size
from ooda_dagster.targets.surroundings import Replication


def behind(seen: Replication, needed_bytes: int, policy: Policy) -> str | None:
    """Why a build of `needed_bytes` must not be begun now; None where it may."""
    for slot in seen.slots:
        retained, safe = slot.retained_bytes or 0, slot.safe_bytes
        if safe is not None and safe < 2 * needed_bytes:
            return (
                f"replication slot {slot.name} is lost when {size(max(safe, 0))} more of log are written "
                f"(max_slot_wal_keep_size), and the build writes {size(needed_bytes)} or more"
            )
        if not slot.active and retained > policy.max_slot_retained_mb * (1 << 20):
            return (
                f"replication slot {slot.name} is inactive and keeps {size(retained)} of log on the disk "
                f"(acting.max_slot_retained_mb); if nobody needs it: SELECT pg_drop_replication_slot('{slot.name}')"
            )
    for standby in seen.standbys:
        lag_bytes, lag_s = standby.lag_bytes or 0, standby.lag_s or 0
        if lag_bytes > policy.max_standby_lag_mb * (1 << 20):
            return f"standby {standby.name} is {size(lag_bytes)} behind (acting.max_standby_lag_mb)"
        if lag_bytes and lag_s > policy.max_standby_lag_s:
            return f"standby {standby.name} is {lag_s:.0f} s behind (acting.max_standby_lag_s)"
    return None


def seen_of(seen: Replication) -> list[str]:
    """What the journal is told: how far behind each is, and what could not be seen."""
    if seen.in_recovery:
        return ["we look at a standby: the standbys and slots of its primary cannot be seen"]
    found = []
    for standby in seen.standbys:
        if standby.state is None:
            found.append(f"the lag of the standby of pid {standby.pid} cannot be seen (GRANT pg_monitor)")
            continue
        told = f"standby {standby.name} {size(standby.lag_bytes or 0)} behind"
        if standby.xmin_age is not None:
            told += f", holding up vacuum by {standby.xmin_age} transactions (hot_standby_feedback)"
        found.append(told)
    for slot in seen.slots:
        how = "active" if slot.active else "inactive"
        told = f"slot {slot.name} {how}, keeping {size(slot.retained_bytes or 0)}"
        if slot.xmin_age is not None:
            told += f", holding up vacuum by {slot.xmin_age} transactions"
        found.append(told)
    return found
