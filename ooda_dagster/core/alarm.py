"""Does a batch of inference requests hold something worth an early cycle?

Several requests of a group must be slow, each by two measures against the group's past: so many times as long as usual,
and so many standard deviations of the logarithm beyond it. One alone is for the next cycle to tell of, and a group that
became slower as a whole for core/detection/groups.py. Failures must be more than the group's share of them explains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from scipy import stats

from ooda_dagster.core.request_settings import Requests

#: Durations of a group that hardly vary: no standard deviation of the logarithm is believed to be smaller.
_LEAST_LOG_SD = 0.1
_MOST = 10


@dataclass(frozen=True)
class Reference:
    """A group's past. mean_log and sd_log are of the natural logarithm of durations in ms, over n_log of them."""

    n: int
    failed: int
    n_log: int
    mean_log: float
    sd_log: float


@dataclass(frozen=True)
class Alarm:
    """What stands out. kind: slow or failures; `ratio` to what is usual; `n` rows of the batch that did."""

    kind: str
    model: str
    operation: str
    n: int
    ratio: float
    sigmas: float
    text: str

    def body(self) -> dict[str, Any]:
        return asdict(self)


def reference_of(n: int, n_zero: int, failed: int, sum_log_ms: float, sum_log_ms_sq: float) -> Reference:
    """From the sums of a rollup."""
    n_log = n - n_zero
    mean = sum_log_ms / n_log if n_log else 0.0
    variance = (sum_log_ms_sq - n_log * mean**2) / (n_log - 1) if n_log > 1 else 0.0
    return Reference(n, failed, n_log, mean, math.sqrt(max(variance, 0.0)))


def alarms(batch: pd.DataFrame, references: Mapping[tuple[str, str], Reference], policy: Requests) -> list[Alarm]:
    """What stands out in a batch, strongest first. A group without enough of a past raises none.

    batch: model, operation, duration_ms, failed and, where a row stands for several alike, n.
    """
    found: list[Alarm] = []
    for (model, operation), rows in batch.groupby(["model", "operation"], sort=True):
        known = references.get((str(model), str(operation)))
        if known is None:
            continue
        name = f"{operation} by model {model}"
        if known.n_log >= policy.alarm_min_n and (slow := _slow(str(model), str(operation), name, rows, known, policy)):
            found.append(slow)
        if known.n >= policy.alarm_min_n and (bad := _failing(str(model), str(operation), name, rows, known, policy)):
            found.append(bad)
    return sorted(found, key=lambda a: -a.sigmas)[:_MOST]


def _slow(
    model: str, operation: str, name: str, rows: pd.DataFrame, known: Reference, policy: Requests
) -> Alarm | None:
    worst = float(rows["duration_ms"].max())
    usual = math.exp(known.mean_log)
    sd = max(known.sd_log, _LEAST_LOG_SD)
    least = max(policy.alarm_min_ms, usual * policy.alarm_ratio, usual * math.exp(min(policy.alarm_sigmas * sd, 50.0)))
    if worst < least:
        return None
    n = _count(rows[rows["duration_ms"] >= least])
    if n < policy.alarm_requests:
        return None
    ratio, sigmas = worst / usual, math.log(worst / usual) / sd
    several = f"{n} requests took up to" if n > 1 else "a request took"
    text = f"{name}: {several} {worst:,.0f} ms, {ratio:,.0f} times the usual {usual:,.0f} ms"
    return Alarm("slow", model, operation, n, ratio, sigmas, text)


def _failing(
    model: str, operation: str, name: str, rows: pd.DataFrame, known: Reference, policy: Requests
) -> Alarm | None:
    n, failed = _count(rows), _count(rows[rows["failed"]])
    usual = (known.failed + 0.5) / (known.n + 1)
    ratio = failed / n / usual
    if failed < policy.alarm_failures or ratio < policy.alarm_failure_ratio:
        return None
    sigmas = float(stats.norm.isf(max(float(stats.binom.sf(failed - 1, n, usual)), 1e-300)))
    if sigmas < policy.alarm_sigmas:
        return None
    text = f"{name}: {failed} of {n} requests failed, usually {usual:.1%}"
    return Alarm("failures", model, operation, failed, ratio, sigmas, text)


def _count(rows: pd.DataFrame) -> int:
    return int(rows["n"].sum()) if "n" in rows else len(rows)
