"""The loop measures its own verdicts: placebos in the target's history, once a day, within a budget of CPU time."""

from __future__ import annotations

import time
from datetime import timedelta

from ooda_dagster.core.placebo import TooLittleHistoryError
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.verdict_bar import MEASURED, audit_verdicts, told


def audit_if_due(loop: Loop) -> bool:
    """Measure how often a verdict would be wrong here, and raise the bar where it needs it; False where it is not due.

    Due: `audit_every_h` after the last time, whoever measured, once the history holds a baseline and a deadline. Of a
    large workload the statements with the most calls take part. What it costs is bounded by `audit_cpu_s`, but for
    reading these statements' rollups.
    """
    policy, now = loop.settings.verifying, loop.clock()
    if not policy.audit_every_h:
        return False
    last = loop.ledger.trail.events(loop.name, events=(MEASURED,), limit=1)
    if last and now - last[-1].at < timedelta(hours=policy.audit_every_h):
        return False
    since = now - timedelta(days=loop.settings.sampling.keep_blocks_d)
    first, _ = loop.ledger.rollups.coverage(loop.name, since, now)
    least = timedelta(hours=policy.min_baseline_h, seconds=policy.deadline_s + policy.settle_s)
    if first is None or now - first <= least:
        return False
    begun = time.process_time()
    try:
        found, moved = audit_verdicts(
            loop.ledger,
            loop.name,
            loop.settings,
            now=now,
            number=policy.audit_placebos,
            seed=now.toordinal(),
            keep=True,
            busiest=policy.audit_statements,
            enough=lambda: time.process_time() - begun > policy.audit_cpu_s,
        )
    except TooLittleHistoryError as error:
        loop.ledger.audit(MEASURED, target=loop.name, error=str(error))
        return True
    bar = "; the bar of its verdicts was moved" if moved else ""
    loop.say(f"verdicts measured on placebos: {told(found)}{bar}")
    return True
