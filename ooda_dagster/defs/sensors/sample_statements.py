"""Samples every target's statement statistics into the ledger. A sample is not a cycle: it starts no run."""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

import time

import dagster as dg

from ooda_dagster.collect import sample
from ooda_dagster.config import ConnectionReferenceError
from ooda_dagster.defs.partitions import ensure
from ooda_dagster.defs.running import sensor_status
from ooda_dagster.loop.ooda import Ooda

_EVERY_S = 60


@dg.sensor(
    name="ooda_sample_statements",
    minimum_interval_seconds=_EVERY_S,
    default_status=sensor_status(),
    description="Writes the differences of every target's statement counters into the ledger's rollups.",
)
def ooda_sample_statements(context: dg.SensorEvaluationContext, ooda: dg.ResourceParam[Ooda]) -> dg.SkipReason:
    ensure(context.instance, ooda.config.targets)
    words = []
    # Each tick begins with the target after the last one that it had time for.
    names = sorted(ooda.config.targets)
    start = names.index(context.cursor) + 1 if context.cursor in names else 0
    budget_s = max((t.settings.sampling.tick_budget_s for t in ooda.config.targets.values()), default=20.0)
    deadline = time.monotonic() + budget_s
    for name in names[start:] + names[:start]:
        if words and time.monotonic() > deadline:
            words.append(f"the tick's {budget_s:g} s are used up; {name} is next")
            break
        words.append(_sample(ooda, name))
        context.update_cursor(name)
    return dg.SkipReason("; ".join(words) or "no target is configured")


def _sample(ooda: Ooda, name: str) -> str:
    try:
        loop = ooda.loop(name)
    except ConnectionReferenceError as error:
        return f"{name}: {error}"
    taken = sample(loop.target, loop.ledger, loop.settings.sampling)
    if taken.error:
        return f"{name}: {taken.error}"
    gaps = f", gaps: {'; '.join(taken.gaps)}" if taken.gaps else ""
    return f"{name}: {'first sample' if taken.first else f'{taken.calls} calls of {taken.statements} statements'}{gaps}"
