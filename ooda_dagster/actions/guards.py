"""May a statement that changes the schema run now? Old transactions, load and disk are looked at first."""

from __future__ import annotations

import time
from collections.abc import Callable

from ooda_dagster.actions.base import Say
from ooda_dagster.core.settings import Acting as Policy
from ooda_dagster.targets.base import Activity, Observing, RefusedError

_POLL_S = 0.5


def check_load(activity: Activity, policy: Policy) -> None:
    """Raise RefusedError where the server is busy."""
    if activity.active_sessions > policy.max_active_sessions:
        raise RefusedError(
            f"{activity.active_sessions} sessions are active; {policy.max_active_sessions} are allowed while we act "
            "(acting.max_active_sessions)"
        )


def check_disk(activity: Activity, needed_bytes: int, policy: Policy) -> str:
    """Raise RefusedError where `needed_bytes` more would fill the disk; returns what was found, for the journal."""
    free, total = activity.disk_free_bytes, activity.disk_total_bytes
    if free is None or total is None:
        allowed = policy.unknown_disk_max_share * activity.database_bytes
        if needed_bytes > max(allowed, 64 << 20):
            raise RefusedError(
                f"the server's free disk space cannot be seen, and {needed_bytes >> 20} MB are more than "
                f"{policy.unknown_disk_max_share:.0%} of the database (acting.unknown_disk_max_share)"
            )
        return "free disk space unknown"
    # Twice: a build sorts on disk before it writes.
    after = (total - free + 2 * needed_bytes) / total
    if after > policy.max_disk_share:
        raise RefusedError(
            f"the disk would be {after:.0%} full; {policy.max_disk_share:.0%} is the limit (acting.max_disk_share)"
        )
    return f"disk {after:.0%} full afterwards"


def wait_for_transactions(
    session: Observing, policy: Policy, say: Say, *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Wait until no transaction is older than allowed; raise RefusedError where one stays.

    CREATE INDEX CONCURRENTLY waits for every older snapshot of its database, on whichever table, and a lock_timeout
    counts that wait: it would give up half-way and leave an invalid index.
    """
    deadline = time.monotonic() + policy.wait_for_transactions_s
    told = False
    while True:
        old = [t for t in session.activity().transactions if t.age_s > policy.max_transaction_age_s]
        if not old:
            return
        oldest = max(old, key=lambda t: t.age_s)
        who = f"pid {oldest.pid} ({oldest.application_name or 'no application name'}, {oldest.state})"
        if time.monotonic() >= deadline:
            raise RefusedError(
                f"a transaction is open for {oldest.age_s:.0f} s: {who}; a build would wait for it "
                "(acting.max_transaction_age_s)"
            )
        if not told:
            say(f"waiting for a transaction of {oldest.age_s:.0f} s: {who}")
            told = True
        sleep(_POLL_S)
