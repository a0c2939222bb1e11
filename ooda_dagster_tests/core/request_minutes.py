"""Rollups of simulated requests per minute, with a load that wanders, for tests of whole groups."""

from __future__ import annotations

import numpy as np
import pandas as pd

END = pd.Timestamp("2026-03-04", tz="UTC")
SD = 0.5


def _wander(chance: np.random.Generator, n: int, memory: float, step: float) -> np.ndarray:
    found, level = np.zeros(n), 0.0
    for at, move in enumerate(chance.normal(0, step, n)):
        level = memory * level + move
        found[at] = level
    return found


def minutes(
    groups: int,
    days: float,
    seed: int,
    *,
    ratio: float = 1.0,
    ago_h: float = 3,
    lasts_h: float | None = None,
    rate: float = 4,
    common: float = 0.02,
) -> pd.DataFrame:
    """groups models until END, `rate` requests a minute each on average; model m0 takes `ratio` times as long from
    `ago_h` before the end on. common: step of the load that all share (natural logarithm, per minute, memory 0.97)."""
    chance = np.random.default_rng(seed)
    n = int(days * 1440)
    turn = 2 * np.pi * np.arange(n) / 1440
    load = _wander(chance, n, 0.97, common)
    at = END - pd.to_timedelta(np.arange(n, 0, -1), unit="min")
    parts = []
    for group in range(groups):
        log = 5 + 0.2 * group + load + _wander(chance, n, 0.95, 0.015) + 0.2 * np.sin(turn - chance.random())
        if group == 0:
            begin = n - int(ago_h * 60)
            log[begin : n if lasts_h is None else begin + int(lasts_h * 60)] += np.log(ratio)
        count = chance.poisson(rate * (1 + 0.6 * np.sin(turn)) * chance.uniform(0.7, 1.4))
        total = count * log + np.sqrt(count) * SD * chance.normal(size=n)
        squares = total**2 / np.maximum(count, 1) + SD**2 * chance.chisquare(np.maximum(count - 1, 1e-9))
        parts.append(
            pd.DataFrame(
                {
                    "minute": at,
                    "model": f"m{group}",
                    "operation": "o",
                    "n": count,
                    "n_zero": 0,
                    "sum_log_ms": total,
                    "sum_log_ms_sq": squares,
                }
            )[count > 0]
        )
    return pd.concat(parts, ignore_index=True)
