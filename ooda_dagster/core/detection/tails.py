"""How rare is it to be so far out? Each direction by its own tail, so that a heavy one does not hide a light one.

A direction is a feature and a side. Two distances count: in standard deviations of the group, and as a ratio to what
is usual; the surprise, -log P(as far or farther), is the mean of theirs, scaled to be one again. Within the body that
is by ranks; beyond by a generalised Pareto distribution (Pickands, Annals of Statistics 3, 1975), fitted to two
quantiles of the excesses that are so far in that a few planted rows beyond do not move them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ooda_dagster.core.detection.rows import Bools, Floats, Ints

#: Feature, side, and the share of false alarms that a direction is given, against 1 for slow requests.
DIRECTIONS = (
    (0, 1, 1.0),
    (0, -1, 0.7),
    (3, 1, 0.7),
    (2, 1, 0.2),
    (1, 1, 0.3),
    (1, -1, 0.1),
    (3, -1, 0.05),
    (2, -1, 0.05),
)
WEIGHTS = np.array([weight for *_, weight in DIRECTIONS])
#: Where the tail begins, and the two quantiles: a far one for tails that are smooth, a near one for those that are not.
_FITS = ((0.1, 0.05, 0.02), (0.03, 0.015, 0.007))
#: Directions of less weight than _MAIN count from _NOTICED standard deviations on, the smooth tail from _FAR on.
_MAIN, _NOTICED, _FAR = 0.5, 1.5, 1.9
_CHUNK = 25_000
#: A tail that is lighter than exponential is believed where many rows tell: drawn to that as if by _DOUBTS more.
_SHAPES = (-0.1, 0.5)
_DOUBTS = 150
_GRID = 400
#: Excesses that a tail is fitted to at least.
_LEAST = 20


@dataclass(frozen=True)
class Tail:
    """Survival function of one distance: ranks up to `begins`, then (1 + shape (x - begins) / scale)^(-1 / shape)."""

    grid: Floats
    minus_log: Floats
    begins: float
    share: float
    scale: float
    shape: float

    def surprise(self, x: Floats) -> Floats:
        """-log P(X >= x)."""
        body = np.interp(x, self.grid, self.minus_log)
        over = np.maximum(x - self.begins, 0) / self.scale
        beyond = np.log(np.maximum(1 + self.shape * over, 1e-300)) / self.shape if abs(self.shape) > 1e-6 else over
        return np.where(x > self.begins, -np.log(self.share) + np.minimum(beyond, 1e3), body)


def fit_tail(x: Floats, where: tuple[float, float, float], least_scale: float) -> Tail:
    """Of n values. where: shares of the rows beyond the beginning and the two quantiles."""
    n = len(x)
    share = float(np.clip(_LEAST / n, where[0], 0.3))
    near, far = (share * part / where[0] for part in where[1:])
    begins, at_near, at_far = np.quantile(x, [1 - share, 1 - near, 1 - far])
    first, second = max(at_near - begins, 1e-3), max(at_far - begins, 2e-3)
    shapes = np.linspace(*_SHAPES, 122)  # none of them is 0
    powers = (share / near) ** shapes - 1
    shape = float(np.interp(second / first, ((share / far) ** shapes - 1) / powers, shapes))
    if shape < 0:
        shape *= n * share / (n * share + _DOUBTS)
    if abs(shape) < 1e-3:
        shape = 1e-3
    scale = max(first / (((share / near) ** shape - 1) / shape), least_scale)
    ordered = np.sort(x)
    grid = np.unique(np.quantile(ordered, np.linspace(0, 1 - share, _GRID)))
    # Of equal values, all are at least as far: the share of those not below.
    minus_log = -np.log(np.maximum(1 - np.searchsorted(ordered, grid, "left") / n, share))
    return Tail(grid, minus_log, float(begins), share, scale, shape)


@dataclass(frozen=True)
class Direction:
    """deviation, ratio: tails of the two distances; mean: of the mean of their surprises."""

    deviation: Tail
    ratio: Tail
    mean: Tail

    def surprise(self, z: Floats, log_ratio: Floats) -> Floats:
        return self.mean.surprise((self.deviation.surprise(z) + self.ratio.surprise(log_ratio)) / 2)


@dataclass(frozen=True)
class Tails:
    """For each direction a smooth and a rough fit; the greater surprise counts."""

    directions: tuple[tuple[Direction, Direction], ...]

    def score(self, z: Floats, log_ratio: Floats) -> tuple[Floats, Ints]:
        """Of each row (n x features): the greatest surprise over the directions, each plus log of its weight; and
        which direction that is. What is near the usual, or on the other side, is no surprise: -inf."""
        best, which = np.full(len(z), -np.inf), np.zeros(len(z), dtype=np.int64)
        for start in range(0, len(z), _CHUNK):
            part = slice(start, start + _CHUNK)
            self._score(z[part], log_ratio[part], best[part], which[part])
        return best, which

    def _score(self, z: Floats, log_ratio: Floats, best: Floats, which: Ints) -> None:
        for number, ((feature, side, weight), (smooth, rough)) in enumerate(
            zip(DIRECTIONS, self.directions, strict=True)
        ):
            rows = np.flatnonzero(side * z[:, feature] > (0 if weight >= _MAIN else _NOTICED))
            x, y = side * z[rows, feature], side * log_ratio[rows, feature]
            found = rough.surprise(x, y)
            far = np.flatnonzero(found > _FAR)
            found[far] = np.maximum(found[far], smooth.surprise(x[far], y[far]))
            found += np.log(weight)
            better: Bools = found > best[rows]
            best[rows[better]], which[rows[better]] = found[better], number


def fit_tails(z: Floats, log_ratio: Floats) -> Tails:
    directions = []
    for feature, side, _ in DIRECTIONS:
        x, y = side * z[:, feature], side * log_ratio[:, feature]
        fits = []
        for where in _FITS:
            deviation, ratio = fit_tail(x, where, 0.15), fit_tail(y, where, 0.02)
            mean = fit_tail((deviation.surprise(x) + ratio.surprise(y)) / 2, where, 0.1)
            fits.append(Direction(deviation, ratio, mean))
        directions.append((fits[0], fits[1]))
    return Tails(tuple(directions))


def expected(surprise: Floats) -> Floats:
    """Share of ordinary rows with a score as high, by the tails alone."""
    return np.minimum(WEIGHTS.sum() * np.exp(-surprise), 1.0)
