"""Which inference requests are new, and do they, or what statements take by now, call for an early cycle?

A read of the target is exactly once by the ledger (loop/intake.py). A report is one event of the source asset for all
batches since the last one; its id is noted before, so that after a crash the event log tells whether it was made.
"""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from ooda_dagster.core.settings import Settings
from ooda_dagster.core.wire import iso
from ooda_dagster.defs.due import request_if_due
from ooda_dagster.defs.jobs import CYCLE_JOB
from ooda_dagster.defs.names import Names
from ooda_dagster.defs.partitions import ensure
from ooda_dagster.defs.running import sensor_status
from ooda_dagster.defs.sensors.fleet import CONNECT_TIMEOUT_S, Fleet
from ooda_dagster.defs.sensors.group_watch import GroupWatch
from ooda_dagster.defs.sensors.statement_watch import StatementWatch
from ooda_dagster.ledger.requests import Batch
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.intake import Intake, intake
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster.targets.base import TargetUnreachableError

_EVERY_S = 30
_BUDGET_S = 25.0
#: An alarm that no cycle could begin for is forgotten.
_ALARM_LIVES = timedelta(hours=1)
_LOOKED_BACK = 50


def make_new_inferences(names: Names) -> dg.SensorDefinition:
    """The sensor, for a source asset of these names."""
    source = _Source(names.source("inference_requests"), theirs="inference_requests" in names.sources)
    fleet: Fleet[tuple[Loop, Intake]] = Fleet()
    watches = GroupWatch(), StatementWatch()

    @dg.sensor(
        name="ooda_new_inferences",
        job_name=CYCLE_JOB,
        minimum_interval_seconds=_EVERY_S,
        default_status=sensor_status(),
        description="Counts each completed inference request once; starts a cycle early where requests, or statements, "
        "became slow.",
    )
    def ooda_new_inferences(
        context: dg.SensorEvaluationContext, ooda: dg.ResourceParam[Ooda]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        return _tick(context, ooda, source, fleet, *watches)

    return ooda_new_inferences


@dataclass(frozen=True)
class _Source:
    """The asset that stands for the table. Somebody else's gets observations: what materializes it is theirs to say."""

    key: dg.AssetKey
    theirs: bool


def _tick(
    context: dg.SensorEvaluationContext,
    ooda: Ooda,
    source: _Source,
    fleet: Fleet[tuple[Loop, Intake]],
    groups: GroupWatch,
    statements: StatementWatch,
) -> list[dg.RunRequest] | dg.SkipReason:
    targets = ooda.config.targets
    ensure(context.instance, targets)
    assert ooda.ledger  # opened once, before threads ask for it
    wanted = [name for name in sorted(targets) if _has_news(targets[name].settings)]

    def read(name: str) -> tuple[Loop, Intake]:
        loop = ooda.loop(name)
        if not loop.settings.requests.enabled:
            return loop, Intake()
        taken = intake(loop, connect_timeout_s=CONNECT_TIMEOUT_S)
        if taken.unreachable:
            raise TargetUnreachableError(taken.error or "it does not answer")
        return loop, taken

    answers, silent = fleet.ask(wanted, read, _BUDGET_S)
    words, requests = [f"{name}: {why}" for name, why in silent.items()], []
    for name, (loop, taken) in answers.items():
        words.append(f"{name}: {taken}")
        _report(context.instance, loop, source)
        request, why = _early(context, ooda, loop, groups if taken.table else None, statements)
        if request:
            requests.append(request)
        words += [f"{name}: {why}"] if why else []
    if requests:
        context.log.info("; ".join(words))
        return requests
    return dg.SkipReason("; ".join(words) or "no target has inference requests")


def _has_news(settings: Settings) -> bool:
    return settings.requests.enabled or (settings.regressions.enabled and settings.regressions.alarm)


def _report(instance: dg.DagsterInstance, loop: Loop, source: _Source) -> None:
    """One event for what is unreported, unless the last one was a moment ago; an alarm does not wait."""
    book, now = loop.ledger.requests, loop.clock()
    waiting = book.unreported(loop.name)
    # A report that was begun and not noted as made: made or not, it is the same one.
    for report_id in sorted({b.report_id for b in waiting if b.report_id is not None}):
        begun = [b for b in waiting if b.report_id == report_id]
        if not _was_made(instance, source, loop.name, report_id):
            _make(instance, source, loop.name, begun, report_id)
        book.reported(begun, now)
    waiting = [b for b in waiting if b.report_id is None]
    last = book.last_report(loop.name)
    pause = timedelta(seconds=loop.settings.requests.report_every_s)
    if not waiting or (last and now - last < pause and not any(b.alarm for b in waiting)):
        return
    _make(instance, source, loop.name, waiting, book.claim_report(waiting))
    book.reported(waiting, now)


def _make(instance: dg.DagsterInstance, source: _Source, target: str, batches: Sequence[Batch], report_id: int) -> None:
    event = dg.AssetObservation if source.theirs else dg.AssetMaterialization
    partition = None if source.theirs else target
    metadata = {"target": target, **_metadata(batches, report_id)}
    instance.report_runless_asset_event(event(asset_key=source.key, partition=partition, metadata=metadata))


def _metadata(batches: Sequence[Batch], report_id: int) -> dict[str, Any]:
    def known(values: list[Any]) -> list[Any]:
        return [v for v in values if v is not None]

    first, last = known([b.first_id for b in batches]), known([b.last_id for b in batches])
    starts, ends = known([b.window_start for b in batches]), known([b.window_end for b in batches])
    rejected: dict[str, int] = {}
    for reason, n in (item for b in batches for item in b.rejected.items()):
        rejected[reason] = rejected.get(reason, 0) + n
    found: dict[str, Any] = {
        "batch_id": report_id,
        "batches": len(batches),
        "rows": sum(b.rows for b in batches),
        "alarm": "; ".join(a["text"] for b in batches for a in b.alarm)[:2000] or "none",
    }
    if first and last:
        found |= {"first_id": min(first), "last_id": max(last)}
    if starts and ends:
        found |= {"window_start": iso(min(starts)), "window_end": iso(max(ends))}
    if rejected:
        found["rejected"] = rejected
    if notes := [n for b in batches for n in b.notes]:
        found["notes"] = "; ".join(notes)[:2000]
    return found


def _was_made(instance: dg.DagsterInstance, source: _Source, target: str, report_id: int) -> bool:
    """Whether the event log holds the report already."""
    if source.theirs:
        records = instance.fetch_observations(source.key, limit=_LOOKED_BACK).records
        events = [r.asset_observation for r in records]
    else:
        wanted = dg.AssetRecordsFilter(source.key, asset_partitions=[target])
        events = [r.asset_materialization for r in instance.fetch_materializations(wanted, limit=_LOOKED_BACK).records]
    return any(
        e is not None
        and e.metadata.get("batch_id") == dg.MetadataValue.int(report_id)
        and e.metadata.get("target") == dg.MetadataValue.text(target)
        for e in events
    )


def _early(
    context: dg.SensorEvaluationContext,
    ooda: Ooda,
    loop: Loop,
    groups: GroupWatch | None,
    statements: StatementWatch,
) -> tuple[dg.RunRequest | None, str | None]:
    """The run that an alarm calls for, and what stands in its way."""
    cycles, now = ooda.ledger.cycles, loop.clock()
    newest = cycles.latest(loop.name, 1)
    began: datetime | None = newest[0].started_at if newest else None
    found = ooda.ledger.requests.open_alarm(loop.name, now - _ALARM_LIVES, began)
    text = str(found[0]["text"]) if found else groups.slower(loop, now, began) if groups else None
    text = text or statements.worth_a_cycle(loop, now, began)
    if not text:
        return None, None
    floor = timedelta(seconds=loop.settings.requests.alarm_floor_s)
    if held := cycles.held(loop.name, now, floor):
        return None, f"an early cycle waits, as {held} ({text})"
    cycles.pull_forward(loop.name, now, text)
    return request_if_due(context.instance, ooda, loop.name, now, trigger="alarm"), None
