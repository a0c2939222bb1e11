"""How dense are ordinary requests at a distance? Within the body by counting, beyond by the shape of the tail.

The tail is a generalised Pareto distribution (Pickands, Annals of Statistics 3, 1975), fitted to two quantiles of the
excesses that are so far in that a few planted rows beyond do not move them. Where fewer rows are than the tail's shape
leads to expect - a gap before a lump of rows that came from a cache, say - what is counted tells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ooda_dagster.core.detection.rows import Floats

#: Where the tail begins, and the two quantiles: a far one for tails that are smooth, a near one for those that are not.
_FITS = ((0.1, 0.05, 0.02), (0.03, 0.015, 0.007))
#: A tail that is lighter, or heavier, than exponential is believed where many rows tell: drawn to that as if by so many
#: more excesses.
_SHAPES = (-0.1, 0.5)
_DOUBTS = (150, 40)
#: Excesses that a tail is fitted to at least.
_LEAST = 20
_BINS = 40
#: Half the width of the windows that rows are counted in, rows that are added to each, and windows at most.
_WINDOW, _ADDED, _MOST_WINDOWS = 0.25, 0.7, 2000
#: Standard deviations of a count by which a lump is more than chance.
_NOISE = 3.0
#: A density is not taken as less than this.
_LEAST_DENSITY = 1e-9


@dataclass(frozen=True)
class Tail:
    """Survival function of what is beyond: share (1 + shape (x - begins) / scale)^(-1 / shape)."""

    begins: float
    share: float
    scale: float
    shape: float

    def log_density(self, x: Floats) -> Floats:
        over = np.maximum(1 + self.shape * np.maximum(x - self.begins, 0) / self.scale, 1e-300)
        return np.log(self.share / self.scale) - (1 / self.shape + 1) * np.log(over)


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
    shape *= n * share / (n * share + (_DOUBTS[0] if shape < 0 else _DOUBTS[1]))
    if abs(shape) < 1e-3:
        shape = 1e-3
    scale = max(first / (((share / near) ** shape - 1) / shape), least_scale)
    return Tail(float(begins), share, float(scale), shape)


@dataclass(frozen=True)
class Distance:
    """Log density of one distance on one side.

    body: at which x, and what; counted: the same, in windows beyond; lump: whether far more rows are beyond than the
    tail's shape has room for, so that they are a lump apart.
    """

    body: tuple[Floats, Floats]
    counted: tuple[Floats, Floats]
    tails: tuple[Tail, Tail]
    lump: bool

    @property
    def begins(self) -> float:
        """From where on the tail tells."""
        return self.tails[0].begins

    def log_density(self, x: Floats) -> Floats:
        body = np.interp(x, *self.body)
        smooth, rough = (np.where(x > tail.begins, tail.log_density(x), body) for tail in self.tails)
        return (smooth + rough) / 2

    def log_counted(self, x: Floats) -> Floats:
        return np.interp(x, *self.counted)


def fit_distance(x: Floats, *, least_scale: float, width: float, most_odd: float) -> Distance:
    """Of n values, of which those above 0 are on this side.

    width: of a natural logarithm in units of x; most_odd: share of the rows that may be odd: where more are beyond what
    the tail's shape has room for, they are a lump.
    """
    n = len(x)
    smooth, rough = (fit_tail(x, where, least_scale) for where in _FITS)
    edges = np.unique(np.quantile(x, np.linspace(0.02, 1 - smooth.share, _BINS)))
    if len(edges) < 2:
        edges = np.array([edges[0] - width, edges[0] + width])
    count = np.histogram(x, edges)[0] / n / np.diff(edges)
    body = (edges[1:] + edges[:-1]) / 2, np.log(np.maximum(count, _LEAST_DENSITY))
    half = _WINDOW * width
    last = min(float(x.max()), smooth.begins + _MOST_WINDOWS / 2 * half) + 4 * half
    at = np.arange(smooth.begins - half, last, half / 2)
    ordered = np.sort(x)
    inside = np.searchsorted(ordered, at + half, "right") - np.searchsorted(ordered, at - half, "left")
    counted = (inside + _ADDED) / n / (2 * half)
    distance = Distance(body, (at, np.log(counted)), (smooth, rough), False)
    denser = np.maximum(inside / n / (2 * half) - np.exp(distance.log_density(at)), 0)[at > smooth.begins + half]
    chance = _NOISE * np.sqrt(smooth.share / n)
    return replace(distance, lump=bool(denser.sum() * half / 2 > most_odd + chance))
