"""Tells a person of each run of ours that failed: which target, why, how to look, and when the loop goes on."""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from ooda_dagster.core.errors import one_line
from ooda_dagster.defs.io_manager import root_run_id
from ooda_dagster.defs.running import sensor_status
from ooda_dagster.ledger import LedgerUnreachableError
from ooda_dagster.loop.alerts import NO_CHANNEL, deliver, run_failed, tell_now
from ooda_dagster.loop.channels import channels
from ooda_dagster.loop.ooda import Ooda


def make_failures(jobs: Sequence[Any]) -> dg.SensorDefinition:
    """The sensor, over these jobs: those of a deployment that we are merged into are not ours to tell of."""

    @dg.run_failure_sensor(
        name="ooda_failures",
        monitored_jobs=list(jobs),
        minimum_interval_seconds=30,
        default_status=sensor_status(),
        description="Tells a person of each failed run: target, job, analysis, error, and when the loop goes on.",
    )
    def ooda_failures(context: dg.RunFailureSensorContext, ooda: dg.ResourceParam[Ooda]) -> None:
        run, alerts, now = context.dagster_run, ooda.config.alerts, datetime.now(UTC)
        target = run.tags.get("ooda/target") or run.tags.get("dagster/partition")
        error = _error(context)
        try:
            cycle = ooda.ledger.cycles.of_run(root_run_id(run))
            new = run_failed(
                ooda.ledger, run_id=run.run_id, job=run.job_name, target=target, cycle=cycle, error=error, now=now
            )
            if new:
                context.log.warning("run %s of %s failed: %s", run.run_id, run.job_name, error)
            lines = deliver(ooda.ledger, alerts, now)
        except LedgerUnreachableError as unreachable:  # nothing can be entered, all the more it is to be told
            text = f"{target or 'no target'}: {run.job_name} failed, and {one_line(unreachable)}"
            lines = tell_now(alerts, target=target, text=text, now=now)
        for line in lines:
            context.log.info(line)
        if not channels(alerts):
            context.log.warning("nobody is told: %s", NO_CHANNEL)

    return ooda_failures


def _error(context: dg.RunFailureSensorContext) -> str:
    """What the first failed step was told by whatever raised first; else what Dagster says of the run."""
    for event in context.get_step_failure_events():
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            # The name of the class, without its module, is how people call it.
            kind, _, words = error.message.partition(": ")
            return f"{kind.rpartition('.')[2]}: {words}" if words and " " not in kind else error.message
    return context.failure_event.message or "no word"
