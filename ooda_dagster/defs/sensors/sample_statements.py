"""Samples every target's statement statistics into the ledger. A sample is not a cycle: it starts no run."""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from weakref import WeakKeyDictionary

import dagster as dg

from ooda_dagster.collect import sample
from ooda_dagster.config import ConnectionReferenceError
from ooda_dagster.defs.partitions import ensure
from ooda_dagster.defs.running import sensor_status
from ooda_dagster.defs.sensors.pace import Pace
from ooda_dagster.loop.ooda import Ooda

_EVERY_S = 60
#: Targets that are asked at the same time, by one connection each.
_AT_ONCE = 8
#: How long a tick waits, at its end, for the targets that it has asked; a tick of Dagster's may take 60 s.
_GRACE_S = 12.0

_PACES: "WeakKeyDictionary[Ooda, Pace]" = WeakKeyDictionary()


@dg.sensor(
    name="ooda_sample_statements",
    minimum_interval_seconds=_EVERY_S,
    default_status=sensor_status(),
    description="Writes the differences of every target's statement counters into the ledger's rollups.",
)
def ooda_sample_statements(context: dg.SensorEvaluationContext, ooda: dg.ResourceParam[Ooda]) -> dg.SkipReason:
    ensure(context.instance, ooda.config.targets)
    # Each tick begins with the target after the last one that it had time for.
    names = sorted(ooda.config.targets)
    start = names.index(context.cursor) + 1 if context.cursor in names else 0
    budget_s = max((t.settings.sampling.tick_budget_s for t in ooda.config.targets.values()), default=20.0)
    words, last = _sample_all(ooda, names[start:] + names[:start], budget_s)
    if last is not None:
        context.update_cursor(last)
    return dg.SkipReason("; ".join(words) or "no target is configured")


def _sample_all(ooda: Ooda, names: Sequence[str], budget_s: float) -> tuple[list[str], str | None]:
    """A word on each target, in this order, and the last one that there was time for."""
    pace = _PACES.setdefault(ooda, Pace())
    deadline = time.monotonic() + budget_s
    words: dict[str, str] = {}
    asked: dict[Future[str], str] = {}
    last = None
    ooda.ledger  # noqa: B018  migrated once, before several threads ask for it
    # Not as a context: a target that never answers must not keep the tick.
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ooda-sample")
    for name in names:
        if last is not None and time.monotonic() > deadline:
            words["..."] = f"the tick's {budget_s:g} s are used up; {name} is next"
            break
        if why := pace.why_not(name):
            words[name] = f"{name}: {why}"
        else:
            words[name] = f"{name}: it is still being asked"
            asked[pool.submit(_sample, ooda, name, pace)] = name
            _until_one_is_free(asked, deadline)
        last = name
    done, _ = wait(asked, timeout=max(0.0, deadline - time.monotonic()) + _GRACE_S)
    pool.shutdown(wait=False, cancel_futures=True)
    for future, name in asked.items():
        if future.cancelled():
            pace.ended(name)  # it was not asked at all
    words.update({asked[future]: future.result() for future in done})
    return list(words.values()), last


def _until_one_is_free(asked: dict[Future[str], str], deadline: float) -> None:
    """Wait while all threads are busy: who is handed over is then asked at once."""
    while len(running := [f for f in asked if not f.done()]) >= _AT_ONCE and time.monotonic() <= deadline:
        wait(running, timeout=max(0.0, deadline - time.monotonic()), return_when=FIRST_COMPLETED)


def _sample(ooda: Ooda, name: str, pace: Pace) -> str:
    error: str | None = "it could not be sampled"
    try:
        loop = ooda.loop(name)
        taken = sample(loop.target, loop.ledger, loop.settings.sampling)
        error = taken.error
    except ConnectionReferenceError as unresolved:
        error = str(unresolved)
        return f"{name}: {error}"
    finally:
        pace.ended(name, error)
    if error:
        return f"{name}: {error}"
    gaps = f", gaps: {'; '.join(taken.gaps)}" if taken.gaps else ""
    return f"{name}: {'first sample' if taken.first else f'{taken.calls} calls of {taken.statements} statements'}{gaps}"
