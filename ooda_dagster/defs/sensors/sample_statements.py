"""Samples every target's statement statistics into the ledger. A sample is not a cycle: it starts no run."""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

import dagster as dg

from ooda_dagster.collect import sample
from ooda_dagster.defs.partitions import ensure
from ooda_dagster.defs.running import sensor_status
from ooda_dagster.defs.sensors.fleet import CONNECT_TIMEOUT_S, Fleet
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster.targets.base import TargetError

_EVERY_S = 60


def make_sample_statements() -> dg.SensorDefinition:
    """The sensor; it remembers who did not answer."""
    fleet: Fleet[str] = Fleet()

    @dg.sensor(
        name="ooda_sample_statements",
        minimum_interval_seconds=_EVERY_S,
        default_status=sensor_status(),
        description="Writes the differences of every target's statement counters into the ledger's rollups.",
    )
    def ooda_sample_statements(context: dg.SensorEvaluationContext, ooda: dg.ResourceParam[Ooda]) -> dg.SkipReason:
        ensure(context.instance, ooda.config.targets)
        assert ooda.ledger  # opened once, before threads ask for it
        budget_s = max((t.settings.sampling.tick_budget_s for t in ooda.config.targets.values()), default=20.0)
        answers, silent = fleet.ask(sorted(ooda.config.targets), lambda name: _sample(ooda, name), budget_s)
        words = [*silent.items(), *answers.items()]
        return dg.SkipReason("; ".join(f"{name}: {word}" for name, word in words) or "no target is configured")

    return ooda_sample_statements


def _sample(ooda: Ooda, name: str) -> str:
    loop = ooda.loop(name)
    taken = sample(loop.target, loop.ledger, loop.settings.sampling, connect_timeout_s=CONNECT_TIMEOUT_S)
    if taken.error:
        raise TargetError(taken.error)
    gaps = f", gaps: {'; '.join(taken.gaps)}" if taken.gaps else ""
    return f"{'first sample' if taken.first else f'{taken.calls} calls of {taken.statements} statements'}{gaps}"
