"""Rollups of a service as it might be: statements with noise of their own under a load that all of them share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

ACTED_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TREATED = ("t1", "t2")
CONTROL = ("c1", "c2", "c3", "c4")


def rollup(
    seed: int,
    *,
    effect: float = 1.0,
    slowdown: float = 1.0,
    before_h: float = 26,
    after_h: float = 2,
    calls_per_minute: float = 20,
    noise: float = 0.2,
    drift: float = 0.9,
    control: tuple[str, ...] = CONTROL,
) -> pd.DataFrame:
    """Minutes around ACTED_AT. effect: on the treated after it, slowdown: on all after it.

    noise: log standard deviation of a statement's minute; drift: correlation of the shared load from minute to minute.
    """
    source = np.random.default_rng(seed)
    minutes = np.arange(-round(before_h * 60), round(after_h * 60))
    shocks = source.normal(0, 0.1, len(minutes))
    load = np.zeros(len(minutes))
    for n in range(1, len(minutes)):
        load[n] = drift * load[n - 1] + shocks[n]
    load += 0.3 * np.sin(minutes / (24 * 60) * 2 * np.pi)  # the hour of the day
    after = minutes >= 0
    frames = []
    for number, fingerprint in enumerate((*TREATED, *control)):
        calls = source.poisson(calls_per_minute, len(minutes))
        factor = np.where(after, slowdown * (effect if fingerprint in TREATED else 1.0), 1.0)
        per_call = (number + 1) * np.exp(load + source.normal(0, noise, len(minutes))) * factor
        frames.append(
            pd.DataFrame(
                {
                    "minute": pd.Timestamp(ACTED_AT) + pd.to_timedelta(minutes, unit="min"),
                    "fingerprint": fingerprint,
                    "n": calls,
                    "sum_ms": calls * per_call,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def at(hours: float) -> datetime:
    """Hours after the action."""
    return ACTED_AT + timedelta(hours=hours)
