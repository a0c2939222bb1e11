"""When does a cycle start? When the delay that learning set is over; a look, when it is due; a past day, after it.

A schedule launches one job, so looks have a schedule of their own. A run key does not keep a schedule from launching
again at its next tick: the run itself is looked for by its tag. A run that ended without moving its due time is not
started again each minute: the time is moved for it.
"""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import RunsFilter

from ooda_dagster.config import ConnectionReferenceError
from ooda_dagster.core.cadence import Delay, due_at
from ooda_dagster.core.wire import iso
from ooda_dagster.defs.due import run_of, run_request
from ooda_dagster.defs.history import HISTORY_JOB
from ooda_dagster.defs.io_manager import root_run_id
from ooda_dagster.defs.jobs import CYCLE_JOB, VERIFY_JOB
from ooda_dagster.defs.partitions import ensure
from ooda_dagster.defs.running import schedule_status
from ooda_dagster.ledger.cycles import Due
from ooda_dagster.ledger.verifications import Verification
from ooda_dagster.loop.history import History
from ooda_dagster.loop.ooda import Ooda

_ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
_RE_ARM_MINUTES = 60


@dg.schedule(
    job_name=CYCLE_JOB,
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
    words = _register_new(ooda, now)
    queue = ooda.ledger.cycles.queue(list(ooda.config.targets))
    requests = [r for due in queue if due.deliver_at <= now and (r := _request(context, ooda, due, now))]
    if requests:
        return requests
    waiting = [f"{due.target} at {iso(due.deliver_at)} ({due.reason})" for due in queue if due.deliver_at > now]
    words += ["next: " + "; ".join(waiting[:5])] if waiting else []
    running = [due.target for due in queue if due.deliver_at <= now]
    words += ["running or just ended: " + ", ".join(running)] if running else []
    return dg.SkipReason(". ".join(words) or "no target")


def _register_new(ooda: Ooda, now: datetime) -> list[str]:
    """Make targets known that the ledger never saw, and due at once; says which of them cannot be opened."""
    known = {row["name"] for row in ooda.ledger.cycles.targets()}
    unusable = []
    for name in sorted(set(ooda.config.targets) - known):
        try:
            ooda.loop(name)
        except ConnectionReferenceError as error:
            unusable.append(f"{name}: {error}")
        else:
            ooda.ledger.cycles.request(name, now, "new target")
    return unusable


def _request(context: dg.ScheduleEvaluationContext, ooda: Ooda, due: Due, now: datetime) -> dg.RunRequest | None:
    """A run for a due time, unless it has one. One that ended without moving the due time is re-armed."""
    run = run_of(context.instance, due)
    began = ooda.ledger.cycles.ran(due.target, due.deliver_at)
    if not run and not began:
        return run_request(ooda, due, trigger="schedule")
    if run is None or run.status in _ENDED:
        _re_arm(ooda, due, run, now)
    elif began and began.run_id == root_run_id(run) and ooda.ledger.cycles.abandoned(began.analysis_id):
        # Of a machine that went down Dagster is not told: the run would stay STARTED, and hold its target's slot.
        context.instance.report_run_failed(run, "its process is gone, and did not say how it ended")
    return None


def _re_arm(ooda: Ooda, due: Due, run: dg.DagsterRun | None, now: datetime) -> None:
    """Move a due time whose run ended without doing so. A cycle that the run left open is taken on by a later run;
    where a person canceled it, it is over."""
    began = ooda.ledger.cycles.ran(due.target, due.deliver_at)
    how = run.tags.get("ooda/skipped") or run.status.value if run else f"{began.state if began else 'begun'} elsewhere"
    delay = Delay(_RE_ARM_MINUTES, f"cycle ended as {how}")
    cycles = ooda.ledger.cycles
    if run and began and began.run_id == root_run_id(run) and began.state == "running":
        if run.status == dg.DagsterRunStatus.CANCELED:
            cycles.end(began.analysis_id, "its run was canceled", now=now)
        else:
            policy = ooda.config.targets[due.target].settings.messages
            cycles.interrupt(began.analysis_id, f"its run ended as {how}", now=now, policy=policy)
    else:
        cycles.request(due.target, due_at(now, delay), delay.reason)


@dg.schedule(
    job_name=VERIFY_JOB,
    cron_schedule="* * * * *",
    name="ooda_due_looks",
    default_status=schedule_status(),
    description="Starts a look at each target whose open verdicts, or gains that were kept, are due for one.",
)
def ooda_due_looks(
    context: dg.ScheduleEvaluationContext, ooda: dg.ResourceParam[Ooda]
) -> list[dg.RunRequest] | dg.SkipReason:
    now = context.scheduled_execution_time
    ensure(context.instance, ooda.config.targets)
    book = ooda.ledger.verifications
    opened, watched = ([v for v in found if v.target in ooda.config.targets] for found in (book.open(), book.watched()))
    due = {v.target: v for v in reversed([*opened, *watched]) if v.next_look_at and v.next_look_at <= now}
    cycles = {d.target for d in ooda.ledger.cycles.queue(list(due)) if d.deliver_at <= now}
    requests = [r for name, v in due.items() if name not in cycles and (r := _look(context, ooda, v, now))]
    if requests:
        return requests
    if left := sorted(cycles & set(due)):
        return dg.SkipReason(f"left to the cycle that is due, which looks itself: {', '.join(left)}")
    opened = [v for v in opened if v.next_look_at]
    words = [f"{len(opened)} verdicts open, none to look at now" if opened else "no verdict is open"]
    words += [f"a gain is looked at again at {iso(v.next_look_at)}" for v in watched[:1] if v.next_look_at]
    return dg.SkipReason("; ".join(words))


def _look(
    context: dg.ScheduleEvaluationContext, ooda: Ooda, verification: Verification, now: datetime
) -> dg.RunRequest | None:
    """A run for a due look, unless it has one. After one that failed, the next look is a step later."""
    assert verification.next_look_at is not None
    target = verification.target
    key = f"{verification.change_set_id}@{verification.next_look_at.isoformat()}"
    records = context.instance.get_run_records(RunsFilter(tags={"ooda/look_key": key}), limit=1)
    if not records:
        tags = {"ooda/look_key": key, "ooda/target": target, "ooda/trigger": "schedule"}
        return dg.RunRequest(run_key=key, partition_key=target, tags=tags)
    if records[0].dagster_run.status in _ENDED:
        step = timedelta(seconds=ooda.config.targets[target].settings.verifying.look_every_s)
        ooda.ledger.verifications.update(verification.change_set_id, next_look_at=now + step)
    return None


@dg.schedule(
    job_name=HISTORY_JOB,
    cron_schedule="20 0 * * *",
    execution_timezone="UTC",
    name="ooda_past_days",
    default_status=schedule_status(),
    description="Rolls yesterday up, and days of the last week that were missed: a run a day, from the ledger.",
)
def ooda_past_days(
    context: dg.ScheduleEvaluationContext, ooda: dg.ResourceParam[Ooda]
) -> list[dg.RunRequest] | dg.SkipReason:
    now = context.scheduled_execution_time
    due = History(ooda).due(now.astimezone(UTC).date())
    return [
        # A day that could not be read is asked for again tomorrow: the key is of this tick.
        dg.RunRequest(f"{day}@{now.date()}", partition_key=day.isoformat(), tags={"ooda/trigger": "schedule"})
        for day in due
    ] or dg.SkipReason("every day of the last week that the ledger knows of is rolled up")


SCHEDULES = [ooda_adaptive_delay, ooda_due_looks, ooda_past_days]
