"""Days of simulated inference requests, and what is planted in them: for the tests and benchmarks/detect.py.

Each generator draws days of n requests of a service that is the same every day; `plant` makes a share of the rows odd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: The documented mix. Factors are drawn log-uniformly between the two.
MIX = {"spike": 0.4, "runaway": 0.2, "too fast": 0.2, "contextual": 0.2}
FACTORS = {"spike": (8, 40), "runaway": (8, 40), "too fast": (8, 40), "contextual": (3, 5)}
Numbers = NDArray[Any]
DAY_S = 86_400.0
_BEGIN = pd.Timestamp("2026-03-02", tz="UTC")

Day = Callable[[int, int, int], pd.DataFrame]  # n, day, seed


def _frame(
    day: int, at: Numbers, group: Numbers, ms: Numbers, tin: Numbers, tout: Numbers, operations: int
) -> pd.DataFrame:
    order = np.argsort(at)
    models = np.array([f"m{g}" for g in range(int(group.max()) + 1)])
    names = np.array([f"o{g}" for g in range(operations)])
    return pd.DataFrame(
        {
            "requested_at": _BEGIN + pd.to_timedelta(day * DAY_S + at[order], unit="s"),
            "model": models[group[order] // operations],
            "operation": names[group[order] % operations],
            "duration_ms": ms[order],
            "tokens_in": tin[order],
            "tokens_out": tout[order],
        }
    )


def moments(chance: np.random.Generator, n: int, swing: float = 0.6) -> Numbers:
    """Seconds of the day, more of them in the afternoon."""
    at = chance.random(4 * n) * DAY_S
    kept = at[chance.random(4 * n) < 1 + swing * np.sin(2 * np.pi * (at / DAY_S - 0.35))]
    return kept[:n] if len(kept) >= n else np.resize(kept, n)


def wave(at: Numbers, size: float, phase: float = 0.35) -> Numbers:
    return size * np.sin(2 * np.pi * (at / DAY_S - phase))


def steady(n: int, day: int, seed: int) -> pd.DataFrame:
    """Log-normal with a daily wave; 1 % of the rows have a Pareto tail."""
    service, chance = np.random.default_rng(seed), np.random.default_rng((seed, day))
    groups = 12
    base, sd, slope = (
        service.uniform(3, 7, groups),
        service.uniform(0.3, 0.6, groups),
        service.uniform(0.4, 0.9, groups),
    )
    group, at = chance.integers(0, groups, n), moments(chance, n)
    tin, tout = np.exp(chance.normal(5, 0.7, n)).round(), np.exp(chance.normal(4.5, 0.6, n)).round()
    log = base[group] + slope[group] * (np.log1p(tout) - 4.5) + 0.1 * (np.log1p(tin) - 5) + wave(at, 0.25)
    log += chance.normal(0, 1, n) * sd[group]
    ms = np.exp(log) * np.where(chance.random(n) < 0.01, 1 + chance.pareto(1.5, n), 1)
    return _frame(day, at, group, ms, tin, tout, 3)


def heavy(n: int, day: int, seed: int) -> pd.DataFrame:
    """Student's t with 4 degrees of freedom on the logarithm; tokens heavy, too."""
    service, chance = np.random.default_rng(seed), np.random.default_rng((seed, day))
    groups = 8
    base, sd = service.uniform(3, 7, groups), service.uniform(0.2, 0.4, groups)
    group, at = chance.integers(0, groups, n), moments(chance, n)
    tin, tout = np.exp(5 + 0.5 * chance.standard_t(5, n)).round(), np.exp(4.5 + 0.4 * chance.standard_t(5, n)).round()
    log = base[group] + 0.7 * (np.log1p(tout) - 4.5) + wave(at, 0.2) + chance.standard_t(4, n) * sd[group]
    return _frame(day, at, group, np.exp(log), tin, tout, 2)


def unequal(n: int, day: int, seed: int) -> pd.DataFrame:
    """200 groups of very unequal size, whole milliseconds, tokens unknown in 3 of 10 rows and in some groups."""
    service, chance = np.random.default_rng(seed), np.random.default_rng((seed, day))
    groups = 200
    share = 1 / np.arange(1, groups + 1) ** 1.1
    base, sd = service.uniform(1.5, 7, groups), service.uniform(0.2, 0.7, groups)
    group, at = chance.choice(groups, n, p=share / share.sum()), moments(chance, n)
    tin, tout = np.exp(chance.normal(5, 1, n)).round(), np.exp(chance.normal(3.5, 0.8, n)).round()
    log = base[group] + 0.5 * (np.log1p(tout) - 3.5) + wave(at, 0.3, 0.2) + chance.normal(0, 1, n) * sd[group]
    ms = (np.exp(log) * np.where(chance.random(n) < 0.005, 1 + chance.pareto(2, n), 1)).round()
    silent = service.random(groups) < 0.1
    unknown = (chance.random(n) < 0.3) | silent[group]
    return _frame(day, at, group, ms, np.where(unknown, np.nan, tin), np.where(unknown, np.nan, tout), 5)


def drifting(n: int, day: int, seed: int) -> pd.DataFrame:
    """Groups that get slower or faster within a day and from day to day; a common load that wanders by the minute."""
    service, chance = np.random.default_rng(seed), np.random.default_rng((seed, day))
    groups = 20
    base, sd, pace = service.uniform(3, 7, groups), service.uniform(0.25, 0.5, groups), service.normal(0, 0.15, groups)
    phase = service.random(groups)
    group, at = chance.integers(0, groups, n), moments(chance, n)
    tin, tout = np.exp(chance.normal(6, 0.8, n)).round(), np.exp(chance.normal(4, 0.7, n)).round()
    load = np.zeros(1440)
    for minute, step in enumerate(chance.normal(0, 0.04, 1440)):
        load[minute] = 0.97 * load[minute - 1] + step if minute else step
    log = base[group] + 0.6 * (np.log1p(tout) - 4) + pace[group] * (day + at / DAY_S)
    log += 0.2 * np.sin(2 * np.pi * (at / DAY_S - phase[group])) + load[(at // 60).astype(int)]
    log += chance.normal(0, 1, n) * sd[group]
    return _frame(day, at, group, np.exp(log).round(1), tin, tout, 4)


def queueing(n: int, day: int, seed: int) -> pd.DataFrame:
    """A fixed part, a part for each token, and at times a queue; answers short or long; some are cached."""
    service, chance = np.random.default_rng(seed), np.random.default_rng((seed, day))
    groups = 6
    fixed, each = service.uniform(20, 200, groups), service.uniform(2, 15, groups)
    group, at = chance.integers(0, groups, n), moments(chance, n)
    long = chance.random(n) < 0.3
    tin = np.exp(chance.normal(5.5, 0.8, n)).round()
    tout = np.exp(chance.normal(np.where(long, 6, 3.5), 0.4, n)).round()
    ms = fixed[group] * chance.gamma(8, 1 / 8, n) + each[group] * tout * chance.gamma(20, 1 / 20, n) + 0.2 * tin
    busy = 1 + 0.5 * np.sin(2 * np.pi * (at / DAY_S - 0.35))
    ms = ms + np.where(chance.random(n) < 0.1 * busy, chance.exponential(0.5, n) * ms * busy, 0)
    ms = np.where(chance.random(n) < 0.04, chance.uniform(0.5, 3, n), ms)  # from a cache
    return _frame(day, at, group, ms.round(2), tin, tout, 2)


def few(n: int, day: int, seed: int) -> pd.DataFrame:
    """One model, two operations, gamma durations, no wave."""
    chance = np.random.default_rng((seed, day))
    group, at = (chance.random(n) < 0.1).astype(int), np.sort(chance.random(n)) * DAY_S
    tout = chance.geometric(1 / 80, n).astype(float)
    ms = np.array([80.0, 900.0])[group] * (1 + tout / 80) ** 0.8 * chance.gamma(5, 1 / 5, n)
    return _frame(day, at, group, ms.round(), np.full(n, 100.0), tout, 2)


def many(n: int, day: int, seed: int) -> pd.DataFrame:
    """3,000 models, most of them rare."""
    service, chance = np.random.default_rng(seed), np.random.default_rng((seed, day))
    groups = 3000
    base = service.normal(5, 0.8, groups)
    share = service.pareto(1.0, groups) + 0.1
    group, at = chance.choice(groups, n, p=share / share.sum()), moments(chance, n)
    tin, tout = np.exp(chance.normal(5, 0.7, n)).round(), np.exp(chance.normal(4, 0.6, n)).round()
    log = base[group] + 0.6 * (np.log1p(tout) - 4) + wave(at, 0.3) + chance.normal(0, 0.35, n)
    return _frame(day, at, group, np.exp(log), tin, tout, 1)


def bursty(n: int, day: int, seed: int) -> pd.DataFrame:
    """Laplace noise whose spread grows with the load, a Weibull tail, half the tokens unknown."""
    service, chance = np.random.default_rng(seed), np.random.default_rng((seed, day))
    groups = 15
    base, sd = service.uniform(2, 6, groups), service.uniform(0.15, 0.35, groups)
    group, at = chance.integers(0, groups, n), moments(chance, n, 0.9)
    tin = np.exp(chance.normal(5, 1.0, n)).round()
    tout = np.minimum(np.exp(chance.normal(5, 1.0, n)), 1024).round()
    busy = 1 + 0.6 * np.sin(2 * np.pi * (at / DAY_S - 0.35))
    log = base[group] + 0.5 * np.log1p(tout) + 0.3 * busy + chance.laplace(0, 1, n) * sd[group] * (0.7 + 0.4 * busy)
    ms = np.exp(log) + np.where(chance.random(n) < 0.02, 300 * chance.weibull(0.7, n), 0)
    unknown = chance.random(n) < 0.5
    return _frame(day, at, group, ms.round(), tin, np.where(unknown, np.nan, tout), 3)


DAYS: Mapping[str, Day] = {
    "steady": steady,
    "heavy": heavy,
    "unequal": unequal,
    "drifting": drifting,
    "queueing": queueing,
    "few": few,
    "many": many,
    "bursty": bursty,
}


def plant(
    rows: pd.DataFrame, share: float, seed: int, mix: Mapping[str, float] = MIX
) -> tuple[pd.DataFrame, pd.Series]:
    """The rows with a share of them made odd, and the kind of each ("" for ordinary)."""
    chance = np.random.default_rng((seed, 77))
    n = len(rows)
    chosen = chance.choice(n, round(share * n), replace=False)
    kinds = np.array(list(mix))[np.searchsorted(np.cumsum(list(mix.values())), chance.random(len(chosen)) * 0.999999)]
    planted = rows.copy()
    kind = np.full(n, "", dtype=object)
    kind[chosen] = kinds
    ms, tout = planted["duration_ms"].to_numpy(float).copy(), planted["tokens_out"].to_numpy(float).copy()
    usual = planted.groupby(["model", "operation"])["tokens_out"].transform("median").fillna(100).to_numpy()
    for name in mix:
        rows_of = chosen[kinds == name]
        low, high = FACTORS[name]
        factor = np.exp(chance.uniform(np.log(low), np.log(high), len(rows_of)))
        if name == "too fast":
            ms[rows_of] /= factor
        elif name == "runaway":
            tout[rows_of] = np.nan_to_num(tout[rows_of], nan=usual[rows_of]) * factor
            ms[rows_of] *= np.where(chance.random(len(rows_of)) < 0.5, factor**0.5, 1)
        else:
            ms[rows_of] *= factor
    whole = bool((rows["duration_ms"] == rows["duration_ms"].round()).all())
    planted["duration_ms"] = ms.round() if whole else ms
    planted["tokens_out"] = tout.round()
    return planted, pd.Series(kind, index=rows.index)
