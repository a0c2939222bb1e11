"""Regression that a few odd rows do not bend, with small groups drawn to what is common to all.

Huber: Robust Estimation of a Location Parameter, Annals of Mathematical Statistics 35 (1964), by iteratively reweighted
least squares. Groups: a ridge towards the common slopes, which is the posterior mean under a normal prior of theirs.
"""

from __future__ import annotations

import numpy as np

from ooda_dagster.core.detection.rows import Floats, Ints

_TUNING = 1.345  # 95 % efficient where the noise is normal
_MAD_TO_SD = 1.4826
_ROUNDS = 5
_LEAST_SD = 1e-3


def mad_sd(values: Floats) -> float:
    """Standard deviation of normal values with the same median absolute deviation (from their median)."""
    return float(_MAD_TO_SD * np.median(np.abs(values - np.median(values)))) if len(values) else 0.0


def huber(x: Floats, y: Floats, ridge: Floats) -> Floats:
    """Slopes b (k) of y (n) on x (n x k) that minimise Huber's loss plus sd² Σ ridge b².

    ridge: one over the prior variance of each slope, 0 for none.
    """
    b: Floats = np.zeros(x.shape[1])
    left: Floats = y
    for _ in range(_ROUNDS):
        sd = max(mad_sd(left), _LEAST_SD)
        size = np.abs(left - np.median(left)) / sd
        weight = np.minimum(1.0, _TUNING / np.maximum(size, 1e-12))
        weighted = x * weight[:, None]
        normal = weighted.T @ x
        normal[np.diag_indices_from(normal)] += sd**2 * ridge + 1e-9 * len(y)
        b = np.linalg.solve(normal, weighted.T @ y).astype(np.float64)
        left = y - x @ b
    return b


def slices(unit: Ints, order: Ints) -> list[tuple[int, Ints]]:
    """Rows of each unit; order: argsort of unit. Negative units are left out."""
    found = unit[order]
    starts = np.flatnonzero(np.r_[True, found[1:] != found[:-1]]) if len(found) else np.array([], dtype=np.int64)
    ends = np.r_[starts[1:], len(found)]
    return [(int(found[a]), order[a:b]) for a, b in zip(starts, ends, strict=True) if found[a] >= 0]


def fit_units(x: Floats, y: Floats, unit: Ints, units: int, prior_sd: Floats, pooled_rows: int = 30_000) -> Floats:
    """Slopes of each unit (units x (1 + k)), the intercept first.

    y: n, in about the same unit everywhere; prior_sd: how far a unit's slopes usually are from the common ones.
    """
    k = x.shape[1]
    order = np.argsort(unit, kind="stable")
    parts = slices(unit, order)
    middle = np.zeros(units)
    for number, rows in parts:
        middle[number] = np.median(y[rows])
    used = order[unit[order] >= 0]
    used = used[:: max(1, len(used) // pooled_rows)]
    common = huber(x[used], y[used] - middle[unit[used]], np.full(k, 1.0)) if len(used) else np.zeros(k)
    slopes = np.zeros((units, 1 + k))
    slopes[:, 1:] = common
    ridge = np.r_[0.0, 1 / prior_sd**2]
    left = y - x @ common
    for number, rows in parts:
        design = np.column_stack([np.ones(len(rows)), x[rows]])
        slopes[number] += huber(design, left[rows], ridge)
    return slopes
