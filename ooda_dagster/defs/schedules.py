"""When does a cycle start? When the delay that learning set is over; a look, when it is due.

A schedule launches one job, so looks have a schedule of their own. A run key does not keep a schedule from launching
again at its next tick: the run itself is looked for by its tag.
"""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

from datetime import datetime

import dagster as dg
from dagster import RunsFilter

from ooda_dagster.core.cadence import Delay, due_at
from ooda_dagster.core.messages import iso
from ooda_dagster.defs.jobs import ooda_cycle, ooda_verify
from ooda_dagster.defs.partitions import ensure
from ooda_dagster.defs.running import schedule_status
from ooda_dagster.ledger.cycles import Due
from ooda_dagster.loop.ooda import Ooda

_ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
_RE_ARM_MINUTES = 60


@dg.schedule(
    job=ooda_cycle,
    cron_schedule="* * * * *",
    name="ooda_adaptive_delay",
    default_status=schedule_status(),
    description="Starts each target's next cycle in the minute in which its delay of 5, 15, 30 or 60 minutes ends.",
)
def ooda_adaptive_delay(
    context: dg.ScheduleEvaluationContext, ooda: dg.ResourceParam[Ooda]
) -> list[dg.RunRequest] | dg.SkipReason:
    now = context.scheduled_execution_time
    ensure(context.instance, ooda.config.targets)
    for name, target in ooda.config.targets.items():
        ooda.ledger.cycles.register(name, kind=target.kind, mode=target.settings.mode, now=now)
    queue = ooda.ledger.cycles.queue(list(ooda.config.targets))
    requests = [r for due in queue if due.deliver_at <= now and (r := _request(context, ooda, due, now))]
    if requests:
        return requests
    waiting = [f"{due.target} at {iso(due.deliver_at)} ({due.reason})" for due in queue[:5]]
    return dg.SkipReason("next: " + "; ".join(waiting) if waiting else "no target")


def _request(context: dg.ScheduleEvaluationContext, ooda: Ooda, due: Due, now: datetime) -> dg.RunRequest | None:
    """A run for a due time, unless it has one. One that ended without moving the due time is re-armed."""
    key = f"{due.target}@{due.deliver_at.isoformat()}"
    records = context.instance.get_run_records(RunsFilter(tags={"ooda/due_key": key}), limit=1)
    began = ooda.ledger.cycles.ran(due.target, due.deliver_at)
    if records or began:
        status = records[0].dagster_run.status if records else None
        if status in _ENDED or (status is None and began and began.state != "running"):
            word = status.value if status else began.state if began else "ended"
            delay = Delay(_RE_ARM_MINUTES, f"cycle ended as {word}")
            ooda.ledger.cycles.request(due.target, due_at(now, delay), delay.reason)
        return None
    mode = ooda.config.targets[due.target].settings.mode
    return dg.RunRequest(
        run_key=key,
        partition_key=due.target,
        tags={
            "ooda/due_key": key,
            "ooda/due_at": due.deliver_at.isoformat(),
            "ooda/target": due.target,
            "ooda/trigger": "schedule",
            "ooda/mode": mode,
        },
    )


@dg.schedule(
    job=ooda_verify,
    cron_schedule="* * * * *",
    name="ooda_due_looks",
    default_status=schedule_status(),
    description="Starts a look at each target whose open verdicts are due for one.",
)
def ooda_due_looks(
    context: dg.ScheduleEvaluationContext, ooda: dg.ResourceParam[Ooda]
) -> list[dg.RunRequest] | dg.SkipReason:
    now = context.scheduled_execution_time
    opened = [v for v in ooda.ledger.verifications.open() if v.target in ooda.config.targets and v.next_look_at]
    due = {v.target: v for v in reversed(opened) if v.next_look_at and v.next_look_at <= now}
    requests = []
    for name, verification in due.items():
        key = f"{verification.change_set_id}#{verification.looks + 1}"
        if context.instance.get_runs_count(RunsFilter(tags={"ooda/look_key": key})):
            continue
        tags = {"ooda/look_key": key, "ooda/target": name, "ooda/trigger": "schedule"}
        requests.append(dg.RunRequest(run_key=key, partition_key=name, tags=tags))
    if requests:
        return requests
    return dg.SkipReason(f"{len(opened)} verdicts open, none due" if opened else "no verdict is open")
