"""Did somebody ask for an analysis from inside a database, by `SELECT ooda.request_analysis(48)`?"""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

from datetime import UTC, datetime, timedelta

import dagster as dg

from ooda_dagster.defs.due import request_if_due
from ooda_dagster.defs.jobs import CYCLE_JOB
from ooda_dagster.defs.partitions import ensure
from ooda_dagster.defs.running import sensor_status
from ooda_dagster.defs.sensors.fleet import CONNECT_TIMEOUT_S, Fleet
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster.targets.base import AnalysisRequest
from ooda_dagster.targets.postgres import PostgresTarget

_EVERY_S = 10
_BUDGET_S = 20.0
#: A target without the function is asked for it again after this.
_NOT_INSTALLED_S = 300.0
_ABSENT = "ooda.request_analysis is not installed, or not ours to read"


def make_requests() -> dg.SensorDefinition:
    """The sensor; it remembers who has no such function, and who did not answer."""
    fleet: Fleet[list[AnalysisRequest] | None] = Fleet()

    @dg.sensor(
        name="ooda_requests",
        job_name=CYCLE_JOB,
        minimum_interval_seconds=_EVERY_S,
        default_status=sensor_status(),
        description="Starts a cycle for each target whose ooda.request_analysis() was called.",
    )
    def ooda_requests(
        context: dg.SensorEvaluationContext, ooda: dg.ResourceParam[Ooda]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        return _tick(context, ooda, fleet)

    return ooda_requests


def _tick(
    context: dg.SensorEvaluationContext, ooda: Ooda, fleet: Fleet[list[AnalysisRequest] | None]
) -> list[dg.RunRequest] | dg.SkipReason:
    ensure(context.instance, ooda.config.targets)
    assert ooda.ledger  # opened once, before threads ask for it

    def read(name: str) -> list[AnalysisRequest] | None:
        target = PostgresTarget(name, ooda.config.target(name).observe.resolve())
        with target.observing("asked", connect_timeout_s=CONNECT_TIMEOUT_S) as session:
            asked = session.analysis_requests(ooda.ledger.requests.seen(name, "analysis"))
        if asked and ooda.ledger.cycles.registered(name) is None:
            ooda.loop(name)  # makes it known; what stands in the way is this target's error alone
        return asked

    answers, silent = fleet.ask(sorted(ooda.config.targets), read, _BUDGET_S)
    words = [f"{name}: {why}" for name, why in silent.items() if why != _ABSENT and not why.startswith(f"{_ABSENT};")]
    requests = []
    for name, asked in answers.items():
        if asked is None:
            fleet.rest(name, _NOT_INSTALLED_S, _ABSENT)
        elif asked:
            request, why = _take_up(context, ooda, name, asked)
            requests += [request] if request else []
            words.append(f"{name}: {why}")
    if requests:
        context.log.info("; ".join(words))
        return requests
    return dg.SkipReason("; ".join(words) or "nobody asked")


def _take_up(
    context: dg.SensorEvaluationContext, ooda: Ooda, name: str, asked: list[AnalysisRequest]
) -> tuple[dg.RunRequest | None, str]:
    """One cycle for all that was asked, over the longest lookback; they wait while one runs or has just begun."""
    cycles, now = ooda.ledger.cycles, datetime.now(UTC)
    who = asked[-1].requested_by
    floor = timedelta(seconds=ooda.config.targets[name].settings.requests.asked_floor_s)
    if held := cycles.held(name, now, floor):
        return None, f"{len(asked)} requests wait, as {held}"
    body = {"lookbackHours": max(a.lookback_hours for a in asked), "requestedBy": who}
    keys = {a.key: a.requested_at for a in asked}
    if not ooda.ledger.requests.take_up(name, keys, at=now, reason=f"{who} asked for it", body=body):
        return None, f"{len(asked)} requests wait, as a cycle runs"
    return request_if_due(context.instance, ooda, name, now, trigger="request"), f"{who} asked for an analysis"
