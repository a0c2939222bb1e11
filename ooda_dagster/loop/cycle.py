"""One whole turn of the loop in one call, for those who do not need Dagster to order the phases."""

from __future__ import annotations

from datetime import datetime, timedelta

from ooda_dagster.core.cadence import Delay, due_at
from ooda_dagster.ledger import Cycle
from ooda_dagster.loop.context import Loop

#: After a cycle that ended without learning.
_AFTER_FAILURE = 60


def begin(loop: Loop, *, run_id: str, due: datetime, trigger: str, dry_run: bool = False) -> Cycle:
    """Begin the cycle that is due at `due`, or raise CycleRefusedError, which names what stands in the way."""
    return loop.ledger.cycles.begin(
        loop.name,
        due_at=due,
        run_id=run_id,
        trigger=trigger,
        mode=loop.settings.mode,
        now=loop.clock(),
        dry_run=dry_run,
    )


def fail(loop: Loop, analysis_id: str, error: str) -> None:
    """End a cycle that broke off, and look again in an hour."""
    now = loop.clock()
    delay = Delay(_AFTER_FAILURE, f"cycle ended with an error: {error[:200]}")
    loop.ledger.cycles.finish(analysis_id, now=now, next_due_at=due_at(now, delay), reason=delay.reason, error=error)


def full_minute(moment: datetime) -> datetime:
    """The moment rounded up to a full minute: the schedule's ticks."""
    rounded = moment.replace(second=0, microsecond=0)
    return rounded if rounded == moment else rounded + timedelta(minutes=1)
