"""Vectors of embeddings: which can be compared, on which directions they differ most, in which bucket each lies."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]

#: Up to so many dimensions the exact principal directions are cheap: their covariance is decomposed.
_EXACT = 1024
#: Cells of an axis, a power of two; bits of it.
_BITS = 4


def unit(matrix: Floats) -> tuple[Floats, Ints, dict[str, int]]:
    """Rows of length 1 (m, d), the positions in `matrix` (n, d) that they come from, and why others are left out."""
    peaks = np.abs(matrix).max(axis=1)  # divided by it first, no square is too large or too small
    finite = np.isfinite(peaks)
    good = np.flatnonzero(finite & (peaks > 0))
    rows = matrix[good] / peaks[good, None]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rejected = {"not finite": int((~finite).sum()), "zero": int((finite & (peaks == 0)).sum())}
    return rows, good, {why: n for why, n in rejected.items() if n}


def principal(vectors: Floats, dimensions: int, seed: int) -> Floats:
    """Coordinates (n, k) along the directions of largest variance, k = at most `dimensions`; the largest first."""
    n, d = vectors.shape
    k = min(dimensions, d, n - 1)
    if k < 1:
        return np.zeros((n, 1), dtype=np.float32)
    solver = "covariance_eigh" if d <= _EXACT else "randomized"
    return PCA(k, svd_solver=solver, random_state=seed).fit_transform(vectors).astype(np.float32)


def z_order(coordinates: Floats) -> Ints:
    """The spatial bucket of each row: its cell in a grid of 16 a side over the first three coordinates.

    Cells are numbered along a Z-order (Morton) curve, so that near numbers are near cells. The grid spans the 1st to
    the 99th percentile; what lies outside is in its outer cells.
    """
    axes = coordinates[:, :3].astype(np.float64)
    if not len(axes):
        return np.zeros(0, dtype=np.int64)
    low, high = np.percentile(axes, [1, 99], axis=0)
    span = np.where(high > low, high - low, 1.0)
    cells = np.clip(((axes - low) / span * (1 << _BITS)).astype(np.int64), 0, (1 << _BITS) - 1)
    code = np.zeros(len(axes), dtype=np.int64)
    for bit in range(_BITS):
        for axis in range(cells.shape[1]):
            code |= ((cells[:, axis] >> bit) & 1) << (bit * cells.shape[1] + axis)
    return code
