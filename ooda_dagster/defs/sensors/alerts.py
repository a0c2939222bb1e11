"""Watches the ledger for what a person should hear of, and tells it. Starts no run.

The result of the check `loop_is_alive` is reported here, without a run: a loop that stands still can not report it.
"""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from ooda_dagster.defs.checks import alive_evaluations, report
from ooda_dagster.defs.names import Names
from ooda_dagster.defs.partitions import ensure
from ooda_dagster.defs.running import sensor_status
from ooda_dagster.loop.alerts import NO_CHANNEL, deliver, watch
from ooda_dagster.loop.alive import Liveness
from ooda_dagster.loop.channels import channels
from ooda_dagster.loop.ooda import Ooda

_SETTLED = timedelta(seconds=15)


def make_alerts(names: Names) -> dg.SensorDefinition:
    """The sensor, for assets of these names."""

    @dg.sensor(
        name="ooda_alerts",
        minimum_interval_seconds=60,
        default_status=sensor_status(),
        description="Tells a person of stuck undos, regressions in place, dead loops and failures, once each.",
    )
    def ooda_alerts(context: dg.SensorEvaluationContext, ooda: dg.ResourceParam[Ooda]) -> dg.SkipReason:
        now = datetime.now(UTC)
        ensure(context.instance, ooda.config.targets)
        watched = watch(ooda.ledger, sorted(ooda.config.targets), now)
        reported = _report(context, names, watched.liveness, now)
        for text in watched.raised:
            context.log.warning("alert: %s", text)
        if watched.raised and not channels(ooda.config.alerts):
            context.log.warning("nobody is told: %s", NO_CHANNEL)
        told = deliver(ooda.ledger, ooda.config.alerts, now)
        for line in told:
            context.log.info(line)
        words = [*(f"new: {text}" for text in watched.raised), *(f"over: {a.text}" for a in watched.cleared), *told]
        words += [f"reported loop_is_alive of {reported}"] if reported else []
        return dg.SkipReason("; ".join(words) or "nothing new")

    return ooda_alerts


def _report(context: dg.SensorEvaluationContext, names: Names, lives: Sequence[Liveness], now: datetime) -> int:
    """Report the check where its result changed, after each cycle, and once a day; returns how many events that were.

    To Dagster, a check that is older than the newest materialization of its asset was not evaluated.
    """
    before: dict[str, str] = json.loads(context.cursor or "{}")
    after = {life.target: _mark(life, now, before.get(life.target, "")) for life in lives}
    changed = [life for life in lives if after[life.target] != before.get(life.target)]
    if changed:
        report(context.instance, alive_evaluations(names, changed))
    context.update_cursor(json.dumps(after))
    return len(changed)


def _mark(life: Liveness, now: datetime, before: str) -> str:
    """What is to be reported once. A cycle that ended a moment ago counts at the next tick: its events may be on their
    way."""
    cycle = life.last_cycle
    settled = cycle and cycle.finished_at and now - cycle.finished_at > _SETTLED
    newest = cycle.analysis_id if cycle and settled else before.rpartition(" ")[2]
    return f"{'alive' if life.alive else 'dead'} {now:%Y-%m-%d} {newest}"
