"""A simulated service for the error rates of verdicts: request by request, rolled up as the ledger does.

30 statements in a Zipf mix whose shares have a phase of the day, drift, and burst in subsets; a load that all share,
AR(1) with an sd of 0.12; a level of each statement's own, AR(1) by the minute with innovations of 0.03 (sd 0.07);
log-normal durations with sigma 0.4 to 0.9, and 1 % of calls with a Pareto tail. `World` varies each of these, so that
no verdict fits one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from scipy.signal import lfilter

ACTED_AT = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
_DAY = 1440


@dataclass(frozen=True)
class World:
    """What the service is like. Times in minutes; standard deviations in log units."""

    calls_per_minute: float = 200
    treated_share: float = 0.3
    statements: int = 30
    load_sd: float = 0.12
    load_phi: float = 0.97
    own_innovation: float = 0.03
    own_phi: float = 0.9035  # sd 0.07
    tail_share: float = 0.01
    tail_index: float = 1.5
    steps: bool = False  # the load jumps by 40 % several times, and once just after the action
    gaps: bool = False  # a tenth of the time is not sampled, in pieces
    uneven: float = 0.0  # sd of how much more or less of the load a statement feels
    days: float = 3.0
    grain_min: int = 5


@dataclass(frozen=True)
class Run:
    """A rollup, and the statements that the action touches. moment: of a recording, the block of the action."""

    rollup: pd.DataFrame
    treated: list[str]
    moment: int | None = None


def simulate(world: World, seed: int, after_min: int = 240) -> Run:
    """One service around an action at ACTED_AT that changes nothing; see `changed`."""
    chance = np.random.default_rng(seed)
    minutes = np.arange(-round(world.days * _DAY), after_min)
    rates = _mix(world, minutes, chance) * world.calls_per_minute
    shares = rates[minutes < 0].sum(axis=0) / rates[minutes < 0].sum()
    treated = touched(shares, world.treated_share, chance)
    shape = rates.shape

    shared = _ar(chance.normal(0, world.load_sd * np.sqrt(1 - world.load_phi**2), (shape[0], 1)), world.load_phi)
    shared += 0.3 * np.sin(2 * np.pi * (minutes / _DAY + chance.random()))[:, None]
    if world.steps:
        for at in (*chance.integers(-3 * _DAY, 0, 4), chance.integers(1, 60)):
            shared[minutes >= at] += chance.choice([-1, 1]) * np.log(1.4)
    level = chance.normal(1.5, 1.0, shape[1]) + shared * (1 + world.uneven * chance.normal(0, 1, shape[1]))
    level = level + _ar(chance.normal(0, world.own_innovation, shape), world.own_phi)
    frame = _requests(world, rates, level, minutes, chance)
    if world.gaps:
        starts = chance.choice(frame["step"].unique(), 20, replace=False)
        lost = np.concatenate([np.arange(s, s + chance.integers(1, 8)) for s in starts])
        frame = frame[~frame["step"].isin(lost)]
    names = np.array([f"q{number:02d}" for number in range(shape[1])])
    rollup = pd.DataFrame(
        {
            "minute": pd.Timestamp(ACTED_AT) + pd.to_timedelta(frame["step"] * world.grain_min, unit="min"),
            "span_s": 60.0 * world.grain_min,
            "fingerprint": names[frame["statement"]],
            **{column: frame[column] for column in ("n", "sum_ms", "sum_ms_sq", "sum_log_ms", "sum_log_ms_sq")},
        }
    )
    return Run(rollup, names[treated].tolist())


def counters(rollup: pd.DataFrame) -> pd.DataFrame:
    """The same as pg_stat_statements would tell it: no logs."""
    return rollup.assign(sum_log_ms=np.nan, sum_log_ms_sq=np.nan)


def _ar(shocks: np.ndarray, phi: float) -> np.ndarray:
    shocks[0] /= np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], shocks, axis=0)


def _mix(world: World, minutes: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Share of each statement in the calls of each minute, by the day's own traffic."""
    count = world.statements
    log = -np.log(np.arange(1, count + 1))[None, :] + 0.5 * np.sin(
        2 * np.pi * (minutes[:, None] / _DAY + chance.random(count))
    )
    log = log + _ar(chance.normal(0, 0.3 * np.sqrt(1 - 0.999**2), (len(minutes), count)), 0.999)
    share = np.exp(log)
    share /= share.sum(axis=1, keepdims=True)
    for _ in range(chance.poisson(4 * world.days)):
        begin, length = chance.integers(0, len(minutes)), chance.integers(5, 40)
        some = chance.random(count) < 0.2
        share[begin : begin + length, some] *= chance.uniform(2, 6)
    return share * np.exp(0.4 * np.sin(2 * np.pi * (minutes / _DAY + chance.random())))[:, None]


def touched(shares: np.ndarray, wanted: float, chance: np.random.Generator) -> np.ndarray:
    """Statements that have about the wanted share of the calls together."""
    best, best_off = np.zeros(len(shares), bool), np.inf
    for _ in range(40):
        order = chance.permutation(len(shares))
        total = np.cumsum(shares[order])
        upto = int(np.argmin(np.abs(total - wanted))) + 1
        if abs(total[upto - 1] - wanted) < best_off and upto < len(shares):
            best_off = abs(total[upto - 1] - wanted)
            best = np.isin(np.arange(len(shares)), order[:upto])
    return best


def _requests(
    world: World, rates: np.ndarray, level: np.ndarray, minutes: np.ndarray, chance: np.random.Generator
) -> pd.DataFrame:
    calls = chance.poisson(rates)
    count = rates.shape[1]
    cell = ((minutes // world.grain_min)[:, None] - minutes[0] // world.grain_min) * count + np.arange(count)
    sigma = chance.uniform(0.4, 0.9, count)
    total = calls.ravel()
    log = np.repeat(level.ravel(), total)
    log += np.repeat(np.broadcast_to(sigma, rates.shape).ravel(), total) * chance.standard_normal(len(log))
    tail = chance.integers(0, len(log), round(world.tail_share * len(log)))
    log[tail] += np.log1p(chance.pareto(world.tail_index, len(tail)))
    where, size = np.repeat(cell.ravel(), total), int(cell.max()) + 1
    ms = np.exp(log)
    sums = {"n": np.bincount(where, minlength=size)}
    for name, values in (("sum_ms", ms), ("sum_ms_sq", ms * ms), ("sum_log_ms", log), ("sum_log_ms_sq", log * log)):
        sums[name] = np.bincount(where, values, minlength=size)
    frame = pd.DataFrame(sums)
    frame["statement"] = frame.index % count
    frame["step"] = frame.index // count + minutes[0] // world.grain_min
    return frame[frame["n"] > 0]


def changed(run: Run, effect: float, spill: float = 0.0) -> pd.DataFrame:
    """The run's rollup, had the action multiplied the work of a call: the same calls, so that cases can be compared."""
    rollup = run.rollup.copy()
    touched = rollup["fingerprint"].isin(run.treated).to_numpy()
    shift = np.log(effect) * np.where(touched, 1.0, spill) * (rollup["minute"] >= ACTED_AT).to_numpy()
    n, logs = rollup["n"].to_numpy(), rollup["sum_log_ms"].to_numpy()
    rollup["sum_log_ms_sq"] += 2 * shift * logs + n * shift**2
    rollup["sum_log_ms"] += n * shift
    rollup["sum_ms"] *= np.exp(shift)
    rollup["sum_ms_sq"] *= np.exp(2 * shift)
    return rollup
