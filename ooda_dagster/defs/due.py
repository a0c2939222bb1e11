"""Which run belongs to a due time? Whoever starts a cycle asks for it here, so that no due time gets two."""

from __future__ import annotations

from datetime import datetime

import dagster as dg
from dagster import RunsFilter

from ooda_dagster.ledger.cycles import Due
from ooda_dagster.loop.ooda import Ooda


def due_key(due: Due) -> str:
    return f"{due.target}@{due.deliver_at.isoformat()}"


def run_of(instance: dg.DagsterInstance, due: Due) -> dg.DagsterRun | None:
    """The newest run that was made for a due time."""
    records = instance.get_run_records(RunsFilter(tags={"ooda/due_key": due_key(due)}), limit=1)
    return records[0].dagster_run if records else None


def run_request(ooda: Ooda, due: Due, *, trigger: str) -> dg.RunRequest:
    mode = ooda.config.targets[due.target].settings.mode
    tags = {
        "ooda/due_key": due_key(due),
        "ooda/due_at": due.deliver_at.isoformat(),
        "ooda/target": due.target,
        "ooda/trigger": trigger,
        "ooda/mode": str(mode),
    }
    return dg.RunRequest(run_key=due_key(due), partition_key=due.target, tags=tags)


def request_if_due(
    instance: dg.DagsterInstance, ooda: Ooda, target: str, now: datetime, *, trigger: str
) -> dg.RunRequest | None:
    """The run for a target that is due by `now`, unless its due time has one or was begun elsewhere."""
    for due in ooda.ledger.cycles.queue([target]):
        if (
            due.deliver_at <= now
            and run_of(instance, due) is None
            and not ooda.ledger.cycles.ran(target, due.deliver_at)
        ):
            return run_request(ooda, due, trigger=trigger)
    return None
