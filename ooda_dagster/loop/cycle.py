"""A cycle's begin and its breaking off, as every door to the loop asks for them."""

from __future__ import annotations

from datetime import datetime

from ooda_dagster.ledger import Cycle
from ooda_dagster.ledger.worker import Worker
from ooda_dagster.loop.context import Loop


def begin(
    loop: Loop,
    *,
    run_id: str,
    due: datetime,
    trigger: str,
    dry_run: bool = False,
    fresh: bool = False,
    analysis_id: str | None = None,
    worker: Worker | None = None,
) -> Cycle:
    """Begin the cycle that is due at `due`, or go on with one that broke off, unless it is to be `fresh`.

    Raises CycleRefusedError, which names what stands in the way.
    """
    return loop.ledger.cycles.begin(
        loop.name,
        due_at=due,
        run_id=run_id,
        trigger=trigger,
        mode=loop.settings.mode,
        now=loop.clock(),
        dry_run=dry_run,
        fresh=fresh,
        analysis_id=analysis_id,
        worker=worker,
        policy=loop.settings.messages,
    )


def interrupt(loop: Loop, analysis_id: str, error: str) -> None:
    """A run broke off: a later one goes on with its cycle."""
    loop.ledger.cycles.interrupt(analysis_id, error, now=loop.clock(), policy=loop.settings.messages)
