"""May a statement that changes the schema run now?

Load, disks, standbys, others' work and old transactions are looked at first. What may pass is waited for; what stays is
refused by name.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ooda_dagster.actions.base import ActionType, Say
from ooda_dagster.actions.neighbours import told
from ooda_dagster.actions.standbys import behind, seen_of
from ooda_dagster.core.settings import Acting as Policy
from ooda_dagster.ledger import Action
from ooda_dagster.targets.base import Acting, Activity, Observing, RefusedError
from ooda_dagster.targets.surroundings import Tablespace, Work

_POLL_S = 0.5
#: Smaller than this fits where the free space cannot be seen.
_SMALL_BYTES = 64 << 20


def pass_guards(action: Action, kind: ActionType, looking: Observing, session: Acting, policy: Policy, say: Say) -> str:
    """Wait until the action may be applied; returns what was found, for the journal. Raises RefusedError by name."""
    activity = looking.activity()
    check_load(activity, policy)
    needed_bytes = int(action.predicted.get("bytes") or 0)
    found = [check_disk(activity, needed_bytes, policy, session.tablespaces())]
    found += wait_for_standbys(looking, needed_bytes, policy, say)
    found += wait_for_others(action, kind, looking, session, policy, say)
    if kind.waits_for_snapshots:
        wait_for_transactions(looking, policy, say)
    return "; ".join(found)


def check_load(activity: Activity, policy: Policy) -> None:
    """Raise RefusedError where the server is busy."""
    if activity.active_sessions > policy.max_active_sessions:
        raise RefusedError(
            f"{activity.active_sessions} sessions are active; {policy.max_active_sessions} are allowed while we act "
            "(acting.max_active_sessions)"
        )


def check_disk(activity: Activity, needed_bytes: int, policy: Policy, tablespaces: tuple[Tablespace, ...] = ()) -> str:
    """Raise RefusedError where `needed_bytes` more would fill a disk; returns what was found, for the journal.

    tablespaces: where the index is written or sorted outside the server's directory. Each disk is given twice the
    index's size: a build sorts on disk before it writes, and its log takes room too.
    """
    disks = [("disk", activity.disk_free_bytes, activity.disk_total_bytes)]
    disks += [(f"disk of tablespace {t.name}", t.free_bytes, t.total_bytes) for t in tablespaces]
    found = []
    for name, free, total in dict.fromkeys(disks):
        if free is None or total is None:
            allowed = policy.unknown_disk_max_share * activity.database_bytes
            if needed_bytes > max(allowed, _SMALL_BYTES):
                raise RefusedError(
                    f"the free space of the server's {name} cannot be seen, and {needed_bytes >> 20} MB are more than "
                    f"{policy.unknown_disk_max_share:.0%} of the database (acting.unknown_disk_max_share)"
                )
            found.append(f"{name}: free space unknown")
            continue
        after = (total - free + 2 * needed_bytes) / total
        if after > policy.max_disk_share:
            raise RefusedError(
                f"the {name} would be {after:.0%} full; {policy.max_disk_share:.0%} is the limit "
                "(acting.max_disk_share)"
            )
        found.append(f"{name} {after:.0%} full afterwards")
    return "; ".join(found)


def wait_for_standbys(looking: Observing, needed_bytes: int, policy: Policy, say: Say) -> list[str]:
    """Wait until standbys and slots keep up; returns what was seen of them."""
    wait_while(lambda: behind(looking.replication(), needed_bytes, policy), policy.wait_for_others_s, say)
    return seen_of(looking.replication())


def wait_for_others(
    action: Action, kind: ActionType, looking: Observing, session: Acting, policy: Policy, say: Say
) -> list[str]:
    """Wait until nobody builds an index on the server, and nobody changes or vacuums the action's table.

    Autovacuum is waited for as well; where it goes on, the server ends it for a build, which the journal is told. For
    statistics it is not ended: it may be about to make them.
    """
    schema, table = action.spec.get("schema"), action.spec.get("table")
    tables = {(schema, table), *(p.key for p in looking.partitions(schema, table))} if schema and table else set()

    def work() -> tuple[Work, ...]:
        return looking.work_on(sorted(tables), own=[session.backend_pid])

    try:
        wait_while(lambda: next(iter(told(work())), None), policy.wait_for_others_s, say)
    except RefusedError:
        left = work()
        if not left or not kind.waits_for_snapshots or not all(w.yields for w in left):
            raise
        return [f"{line}; the server ends it for us" for line in told(left)]
    return []


def wait_for_transactions(
    session: Observing, policy: Policy, say: Say, *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Wait until no transaction is older than allowed; raise RefusedError where one stays.

    CREATE INDEX CONCURRENTLY waits for every older snapshot of its database, on whichever table, and a lock_timeout
    counts that wait: it would give up half-way and leave an invalid index.
    """

    def old() -> str | None:
        found = [t for t in session.activity().transactions if t.age_s > policy.max_transaction_age_s]
        if not found:
            return None
        oldest = max(found, key=lambda t: t.age_s)
        who = f"pid {oldest.pid} ({oldest.application_name or 'no application name'}, {oldest.state})"
        return (
            f"a transaction is open for {oldest.age_s:.0f} s: {who}; a build would wait for it "
            "(acting.max_transaction_age_s)"
        )

    wait_while(old, policy.wait_for_transactions_s, say, sleep=sleep)


def wait_while(
    blocked: Callable[[], str | None], limit_s: float, say: Say, *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Poll until `blocked` says None; raise RefusedError with what it says once `limit_s` are over."""
    deadline = time.monotonic() + limit_s
    waiting = False
    while why := blocked():
        if time.monotonic() >= deadline:
            raise RefusedError(why)
        if not waiting:
            say(f"waiting: {why}")
            waiting = True
        sleep(_POLL_S)
