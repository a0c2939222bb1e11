"""Difference-in-differences of mix-adjusted log work per call, as one series of blocks.

Each statement's log work per call in a block is taken less its own mean of the baseline, so that a change in the mix of
calls moves nothing. The series is the weighted mean of those that the action touches less that of the others: what all
share - load, a noisy neighbour, the hour - cancels. Two weightings are kept:

- *precise*: 1 / (sampling variance + persistent variance), the least variance for an effect that all of them share;
- *work*: each statement by the work that it would have done before, so that the series is the net change of work.

Where requests are seen singly, work per call is the mean of logs: heavy tails hardly move it. From counters it is the
log of the mean, with a variance by the delta method, cv²/n. The cell's own cv² stands in where it is above the
statement's usual one: a cell that a single call dominates tells little, however large n is. cv² does not change when
work is scaled, so this weighting neither favours nor hides an effect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ooda_dagster.core.blocks import Blocks

_DEFAULT_CV2 = 1.0  # of a statement whose squares are not known
_MAX_CV2_RATIO = 25.0  # a cell's own cv² by the statement's: no cell is trusted less than that
_PRIOR_DRIFT = 0.05  # log units: persistent standard deviation of a statement's own level, before any is seen
_PRIOR_PAIRS = 30.0  # pairs of neighbouring blocks that the prior and the pooled drift are worth
_PASSES = 3  # of the alternating fit of statements' means and blocks' common level


@dataclass(frozen=True)
class Series:
    """One value a block, NaN where a side was not called. `noise`: the sampling variance of each value."""

    d: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True)
class Pair:
    """The two weightings of the same blocks, and the work (ms) that the treated would have done in each block."""

    precise: Series
    work: Series
    expected_ms: np.ndarray
    measure: str


def difference(blocks: Blocks, *, has_control: bool) -> Pair:
    """The series of treated less control, or of the treated alone. Shapes: statements × blocks → blocks."""
    treated, before = blocks.treated, blocks.before
    level, noise = _levels(blocks)
    residual, drift = _standardised(level, noise, ~treated if has_control else None, before)
    weight = np.where(blocks.n > 0, 1 / (noise + drift[:, None]), 0.0)
    touched, precise_noise = _mean(residual, weight, noise, treated)
    expected = _expected_ms(blocks)
    net, net_noise = _net(residual, expected, noise, treated)
    if has_control:
        untouched, control_noise = _mean(residual, weight, noise, ~treated)
        touched, net = touched - untouched, net - untouched
        precise_noise, net_noise = precise_noise + control_noise, net_noise + control_noise
    by_logs = bool(blocks.logs.any())
    return Pair(
        Series(touched, precise_noise),
        Series(net, net_noise),
        expected[treated].sum(axis=0),
        "mean of logs" if by_logs and bool(blocks.logs.all()) else "log of means" if not by_logs else "mixed",
    )


def _levels(blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    """Log work per call of each cell (NaN: not called), and its sampling variance."""
    n = np.where(blocks.n > 0, blocks.n, np.nan)
    work = np.where(blocks.sum_ms > 0, blocks.sum_ms, np.nan)
    level, noise = np.log(work / n), _relative_variance(blocks)
    if blocks.logs.any():
        by_logs = blocks.logs[:, None]
        level = np.where(by_logs, blocks.sum_log_ms / n, level)
        noise = np.where(by_logs, _variance_of_logs(blocks)[:, None], noise)
    return level, noise / n


def _variance_of_logs(blocks: Blocks) -> np.ndarray:
    """Variance of one call's log within its cell, by statement."""
    n = np.where(blocks.n > 0, blocks.n, 1.0)
    within = np.maximum(blocks.sum_log_ms_sq - blocks.sum_log_ms**2 / n, 0.0)
    freedom = np.maximum(blocks.n - 1, 0).sum(axis=1)
    return np.maximum((within.sum(axis=1) + 1.0) / (freedom + 2.0), 1e-6)  # two calls' worth of 0.5


def _relative_variance(blocks: Blocks) -> np.ndarray:
    """cv² of one call, by cell: the statement's usual one, or the cell's own where that is larger."""
    with np.errstate(divide="ignore", invalid="ignore"):
        cell = blocks.n * blocks.sum_ms_sq / blocks.sum_ms**2 - 1
    known = blocks.squares[:, None] & (blocks.n > 1) & np.isfinite(cell) & (cell > -1e-6)
    cell = np.where(known, np.maximum(cell, 0.0), 0.0)
    weight = np.where(known, blocks.n, 0.0)[:, : blocks.before]
    total = weight.sum(axis=1)
    logs = (weight * np.log(1 + cell[:, : blocks.before])).sum(axis=1) / np.maximum(total, 1.0)
    usual = np.where(total > 0, np.maximum(np.expm1(logs), 1e-4), _DEFAULT_CV2)[:, None]
    return np.clip(cell, usual, _MAX_CV2_RATIO * usual)


def _standardised(
    level: np.ndarray, noise: np.ndarray, common: np.ndarray | None, before: int
) -> tuple[np.ndarray, np.ndarray]:
    """Levels less each statement's mean of the baseline, and the persistent variance of its own drift.

    common: which statements tell the level that all share; None: there is none to take out.
    """
    called = np.isfinite(level)
    filled = np.where(called, level, 0.0)
    weight = np.where(called, 1 / (np.where(called, noise, 1.0) + _PRIOR_DRIFT**2), 0.0)
    shared = np.zeros(level.shape[1])
    own = np.zeros(len(level))
    past = weight[:, :before]
    known = np.maximum(past.sum(axis=1), 1e-12)
    rest = weight if common is None else weight * common[:, None]
    total = np.maximum(rest.sum(axis=0), 1e-12)
    in_blocks, of_statements = (past * filled[:, :before]).sum(axis=1), (rest * filled).sum(axis=0)
    for _ in range(_PASSES if common is not None else 1):
        own = (in_blocks - np.einsum("ij,j->i", past, shared[:before])) / known
        if common is not None:
            shared = (of_statements - np.einsum("ij,i->j", rest, own)) / total
    residual = np.where(called, level - own[:, None], np.nan)
    drift = _drift(np.where(called, residual - shared, 0.0)[:, :before], past)
    uncertain = 1 / known  # of a statement that was hardly called, its mean too
    return residual, drift + uncertain


def _drift(own: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Long-run variance of each statement's own level, in units of one block's mean.

    Neighbouring blocks share drift and no sampling error: the mean of their products is the drift's variance, shrunk to
    that of all statements. An effect is told from many blocks, in which sampling error averages out and drift hardly
    does; (1 + φ) / (1 - φ) says by how much less (φ: the lag-2 by the lag-1 products).
    """
    pairs = weight[:, 1:] * weight[:, :-1]
    scale = pairs.max() if pairs.size and pairs.max() > 0 else 1.0
    pairs = pairs / scale
    limit = 0.5  # log units: one spoiled block must not become a statement's drift
    own = np.clip(own, -limit, limit)
    product, total = (pairs * own[:, 1:] * own[:, :-1]).sum(axis=1), pairs.sum(axis=1)
    count = (pairs > 0).sum(axis=1)
    pooled = (product.sum() + _prior(total, count) * _PRIOR_DRIFT**2) / (total.sum() + _prior(total, count) + 1e-12)
    pooled = float(np.clip(pooled, 1e-6, 1.0))
    further = weight[:, 2:] * weight[:, :-2] / scale
    lag2 = (further * own[:, 2:] * own[:, :-2]).sum() / max(further.sum(), 1e-12)
    phi = float(np.clip(lag2 / pooled, 0.3, 0.9)) if count.sum() > 100 else 0.6
    each = np.where(count > 0, total / np.maximum(count, 1), 0.0)
    shrunk = (product + each * _PRIOR_PAIRS * pooled) / np.maximum(total + each * _PRIOR_PAIRS, 1e-12)
    shrunk = np.where(count > 0, shrunk, pooled)
    return np.clip(shrunk, pooled / 10, pooled * 10) * (1 + phi) / (1 - phi)


def _prior(total: np.ndarray, count: np.ndarray) -> float:
    return _PRIOR_PAIRS * float(total.sum()) / max(float(count.sum()), 1.0)


def _mean(
    residual: np.ndarray, weight: np.ndarray, noise: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean of some statements in each block, and its sampling variance; NaN where none was called."""
    level, seen = _called(residual[chosen])
    some = np.where(seen, weight[chosen], 0.0)
    total = some.sum(axis=0)
    total = np.where(total > 0, total, np.nan)
    mean = (some * level).sum(axis=0) / total
    return mean, (some**2 * _called(noise[chosen])[0]).sum(axis=0) / total**2


def _net(
    residual: np.ndarray, expected: np.ndarray, noise: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log of observed by expected work of some statements in each block, and its sampling variance."""
    level, seen = _called(residual[chosen])
    some = np.where(seen, expected[chosen], 0.0)
    total = np.where(some.sum(axis=0) > 0, some.sum(axis=0), np.nan)
    observed = some * np.exp(level)
    work = np.where(np.isfinite(total), observed.sum(axis=0), np.nan)
    return np.log(work / total), (observed**2 * _called(noise[chosen])[0]).sum(axis=0) / work**2


def _called(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values with 0 where a cell was not called, and which were."""
    seen = np.isfinite(values)
    return np.where(seen, values, 0.0), seen


def _expected_ms(blocks: Blocks) -> np.ndarray:
    """Work of each cell's calls, had a call taken what it took in the baseline."""
    past = slice(None, blocks.before)
    per_call = blocks.sum_ms[:, past].sum(axis=1) / np.maximum(blocks.n[:, past].sum(axis=1), 1.0)
    return blocks.n * per_call[:, None]
