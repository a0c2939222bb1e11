"""Has the level of a series moved, and since when? Noise that remembers itself does not count as many observations.

The series of a group is taken as a level that wanders (AR(1)) plus noise; what a Kalman filter does not foresee is
independent. For a step that began at block s, e_s is the likelihood ratio of the step, its size normally distributed,
to no step: an e-value. Their sum over s (Shiryaev, Roberts) has on average grown by no more than the number of
blocks, so that an alarm at c comes on average no more often than every c blocks where nothing changes (Pollak:
Optimal detection of a change in distribution, Annals of Statistics 13, 1985; Shin, Ramdas, Rinaldo: E-detectors,
2024). The noise is fitted to the past, so that this holds as well as the fit: benchmarks/detect.py counts the alarms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ooda_dagster.core.detection.rows import Bools, Floats, Ints

#: Steps that are looked for: standard deviation of the natural logarithm.
_STEP_SD = np.log(1.3)
_MOST_MEMORY = 0.98
#: Standard deviations from the step, so that it is called gone.
_SURE = 3.0


@dataclass(frozen=True)
class Noise:
    """Of each group: memory (of the level from block to block), level_var (its stationary variance), extra_var (of each
    block besides that of its mean), mean_var (of the mean of the past)."""

    memory: Floats
    level_var: Floats
    extra_var: Floats
    mean_var: Floats


@dataclass(frozen=True)
class Step:
    """A change of one group; blocks are numbered from 0. until: where it went away; size and sd: natural logarithm."""

    group: int
    begins: int
    found: int
    until: int | None
    size: float
    sd: float
    log_e: float
    n: int


def fit_noise(past: Floats, var: Floats) -> Noise:
    """past: groups x blocks, differences from the group's mean, NaN where nothing was seen; var: of each block's
    mean."""
    seen = ~np.isnan(past)
    count = np.maximum(seen.sum(axis=1), 1)
    value = np.where(seen, past, 0.0)
    # A few blocks far out are events and no noise.
    spread = 1.4826 * np.array(
        [np.median(np.abs(row[ok])) if ok.any() else 0.0 for row, ok in zip(past, seen, strict=True)]
    )
    value = np.clip(value, -4 * spread[:, None], 4 * spread[:, None])
    whole = (value**2).sum(axis=1) / count
    own = np.where(seen, np.nan_to_num(var), 0).sum(axis=1) / count
    lag = [_lagged(value, seen, k) for k in (1, 2, 3)]
    level = np.maximum(lag[0], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        memory = np.where(
            level > 0,
            (np.maximum(lag[1], 0) + np.maximum(lag[2], 0)) / np.maximum(level + np.maximum(lag[1], 0), 1e-12),
            0.0,
        )
    memory = np.clip(memory, 0.3, _MOST_MEMORY)
    # Few blocks tell little of the memory: then as if there were some.
    level = np.maximum(level / memory, 0.15 * np.maximum(whole, 1e-6))
    extra = np.maximum(whole - level - own, 0.0)
    effective = count * (1 - memory) / (1 + memory)
    mean_var = level / np.maximum(effective, 1) + (own + extra) / count
    return Noise(memory, level, extra, mean_var)


def _lagged(value: Floats, seen: Bools, k: int) -> Floats:
    both = seen[:, k:] & seen[:, :-k]
    return (value[:, k:] * value[:, :-k] * both).sum(axis=1) / np.maximum(both.sum(axis=1), 1)


@dataclass(frozen=True)
class Rules:
    """threshold: of log Σ e; least: of |size|; persist: blocks; window: blocks that a step may have begun ago."""

    threshold: float
    least: float
    persist: int
    window: int


def scan(series: Floats, var: Floats, n: Ints, noise: Noise, rules: Rules) -> list[Step]:
    """Steps in the series (groups x blocks, differences from the past's mean, NaN unknown), oldest first."""
    groups, blocks = series.shape
    level, level_var = np.zeros(groups), noise.level_var.copy()
    # Of each step that may have begun: what the filter makes of it, and its information.
    followed, precision, moment = (np.zeros((groups, rules.window)) for _ in range(3))
    begun = np.full((groups, rules.window), -1, dtype=np.int64)
    open_: dict[int, Step] = {}
    found: list[Step] = []
    drive = noise.level_var * (1 - noise.memory**2)
    for block in range(blocks):
        level, level_var = noise.memory * level, noise.memory**2 * level_var + drive
        followed *= noise.memory[:, None]
        slot = block % rules.window
        followed[:, slot], precision[:, slot], moment[:, slot], begun[:, slot] = 0.0, 0.0, 0.0, block
        seen = ~np.isnan(series[:, block])
        total = level_var + np.where(seen, var[:, block] + noise.extra_var, np.inf)
        gain = np.where(seen, level_var / total, 0.0)
        surprise = np.where(seen, np.nan_to_num(series[:, block]) - level, 0.0)
        response = np.where((begun >= 0) & seen[:, None], 1 - followed, 0.0)
        precision += response**2 / total[:, None]
        moment += response * (surprise / total)[:, None]
        followed += gain[:, None] * response
        level, level_var = level + gain * surprise, level_var * (1 - gain)
        # What the mean of the past is not known by, a step is not known by either.
        sure = 1 / (1 / np.maximum(precision, 1e-12) + noise.mean_var[:, None])
        size = moment / np.maximum(precision, 1e-12)
        log_e = 0.5 * (sure * size) ** 2 / (sure + _STEP_SD**-2) - 0.5 * np.log1p(_STEP_SD**2 * sure)
        log_e = np.where(begun >= 0, log_e, -np.inf)
        top = log_e.max(axis=1)
        evidence = top + np.log(np.exp(log_e - top[:, None]).sum(axis=1))
        best = log_e.argmax(axis=1)
        for group in np.flatnonzero(evidence >= rules.threshold).tolist():
            began = int(begun[group, best[group]])
            step = Step(
                group,
                began,
                block,
                None,
                float(size[group, best[group]]),
                float(sure[group, best[group]] ** -0.5),
                float(evidence[group]),
                int(n[group, began : block + 1].sum()),
            )
            if group in open_:
                first = open_[group]
                same = np.sign(step.size) == np.sign(first.size)
                open_[group] = replace(step, begins=first.begins, found=first.found) if same else first
            elif abs(step.size) >= rules.least and block - began + 1 >= rules.persist:
                open_[group] = step
        for group, step in list(open_.items()):
            back = _back(series[group], var[group], step, block, noise, rules)
            if back is not None:
                found.append(replace(step, until=back))
                del open_[group]
                begun[group], precision[group], moment[group], followed[group] = -1, 0.0, 0.0, 0.0
    return sorted([*found, *open_.values()], key=lambda step: (step.begins, step.group))


def _back(series: Floats, var: Floats, step: Step, block: int, noise: Noise, rules: Rules) -> int | None:
    """The block since which the level is back, where the newest blocks say so: nearer to none than to the step, and
    farther from the step than chance explains."""
    for blocks in (rules.persist, 2 * rules.persist, 4 * rules.persist):
        start = block - blocks + 1
        if start <= step.begins or block <= step.found:
            return None
        last = ~np.isnan(series[start : block + 1])
        if last.sum() < min(rules.persist, 2):
            continue
        level = float(series[start : block + 1][last].mean()) * np.sign(step.size)
        own = float((var[start : block + 1][last] + noise.extra_var[step.group]).mean() / last.sum())
        sd = np.sqrt(noise.level_var[step.group] + own + step.sd**2)
        if level < abs(step.size) / 2 and level < abs(step.size) - _SURE * sd:
            return start
    return None
