"""How likely is each row as a planted one, by one who knows the service: what no detector can be better than.

Of three of the simulated days; the services of request_family.py bring theirs. Rounding, and tokens that were unknown
before they ran away, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from scipy import special, stats

from ooda_dagster_tests.core.request_days import DAY_S, Numbers, wave
from ooda_dagster_tests.core.request_family import Truth, likelihood, mixed, tailed


def steady(rows: pd.DataFrame, seed: int) -> Numbers:
    """Log of the likelihood as planted over that as ordinary, of each row (n); so are those below."""
    service = np.random.default_rng(seed)
    base, sd, slope = service.uniform(3, 7, 12), service.uniform(0.3, 0.6, 12), service.uniform(0.4, 0.9, 12)
    group = _group(rows, 3)
    mid = base[group] - slope[group] * 4.5 + 0.1 * (np.log1p(rows["tokens_in"].to_numpy(float)) - 5)
    mid += wave(_at_s(rows), 0.25)
    found = np.empty(len(rows))
    for number in range(12):
        own = group == number
        n = int(own.sum())
        truth = Truth(mid[own], np.full(n, sd[number]), np.full(n, slope[number]), 4.5, 0.6)
        found[own] = likelihood(rows[own], truth, tailed(0.01, 1.5, sd[number]).density)
    return found


def heavy(rows: pd.DataFrame, seed: int) -> Numbers:
    service = np.random.default_rng(seed)
    base, sd = service.uniform(3, 7, 8), service.uniform(0.2, 0.4, 8)
    group = _group(rows, 2)
    mid = base[group] - 0.7 * 4.5 + wave(_at_s(rows), 0.2)
    log, out = _logs(rows)

    def row(by_ms: float, by_out: float) -> Numbers:
        tokens = stats.t.logpdf((out - by_out - 4.5) / 0.4, 5)
        return stats.t.logpdf((log - by_ms - mid - 0.7 * (out - by_out)) / sd[group], 4) + tokens

    return mixed(row) - row(0.0, 0.0)


def queueing(rows: pd.DataFrame, seed: int) -> Numbers:
    """The sum of two gammas by one with the same mean and variance, the queue by its quantiles."""
    service = np.random.default_rng(seed)
    fixed, each = service.uniform(20, 200, 6), service.uniform(2, 15, 6)
    group, tin = _group(rows, 2), rows["tokens_in"].to_numpy(float)
    log, out = _logs(rows)
    busy = 1 + wave(_at_s(rows), 0.5)
    queues = -0.5 * np.log1p(-(np.arange(40) + 0.5) / 40)

    def row(by_ms: float, by_out: float) -> Numbers:
        x, by_tokens = log - by_ms, each[group] * np.exp(out - by_out)
        mean, var = fixed[group] + by_tokens + 0.2 * tin, fixed[group] ** 2 / 8 + by_tokens**2 / 20
        shape, scale = mean**2 / var, var / mean

        def base(y: Numbers) -> Numbers:
            return np.exp(shape * (y - np.log(scale)) - np.exp(y) / scale - special.gammaln(shape))

        queued = sum(base(x - np.log1p(q * busy)) for q in queues) / len(queues)
        cached = np.where((np.exp(x) > 0.5) & (np.exp(x) < 3), np.exp(x) / 2.5, 0)
        every = 0.96 * ((1 - 0.1 * busy) * base(x) + 0.1 * busy * queued) + 0.04 * cached
        long, short = (stats.norm.logpdf(out - by_out, mid, 0.4) for mid in (6, 3.5))
        return np.log(np.maximum(every, 1e-300)) + np.logaddexp(np.log(0.3) + long, np.log(0.7) + short)

    return mixed(row) - row(0.0, 0.0)


ORACLES: Mapping[str, Callable[[pd.DataFrame, int], Numbers]] = {
    "steady": steady,
    "heavy": heavy,
    "queueing": queueing,
}


def _group(rows: pd.DataFrame, operations: int) -> Numbers:
    model, operation = (rows[name].str[1:].astype(int).to_numpy() for name in ("model", "operation"))
    return model * operations + operation


def _at_s(rows: pd.DataFrame) -> Numbers:
    at = rows["requested_at"]
    return (at - at.dt.normalize()).dt.total_seconds().to_numpy() % DAY_S


def _logs(rows: pd.DataFrame) -> tuple[Numbers, Numbers]:
    ms, out = rows["duration_ms"].to_numpy(float), rows["tokens_out"].to_numpy(float)
    return np.log(np.maximum(ms, 0.1)), np.log(np.maximum(out, 1))
