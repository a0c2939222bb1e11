"""How much likelier is a request as an odd one than as an ordinary one?

The density of ordinary requests is learned, that of odd ones is broad and fixed: by what ratio requests are odd, from
some 1.5 times on. Their ratio orders requests best where both are true (Neyman and Pearson, Philosophical
Transactions 231, 1933). How often an ordinary request has as high a ratio is its surprise: -log P. For the oddest that
is not counted but computed, from the same densities: what is odd in the reference does not move it.

What is odd has a direction: a feature and a side. Two distances count: in standard deviations of the group, and as a
ratio to what is usual; the log density is the mean of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ooda_dagster.core.detection.rows import Bools, Floats, Ints
from ooda_dagster.core.detection.tails import Distance, fit_distance

#: Feature, side, share of what is odd, and the log ratios from which that is possible and is as likely as any farther.
DIRECTIONS = (
    (0, 1, 0.55, np.log(1.5), np.log(8)),
    (0, -1, 0.2, np.log(1.8), np.log(8)),
    (3, 1, 0.18, np.log(2), np.log(8)),
    (1, 1, 0.04, np.log(2), np.log(8)),
    (2, 1, 0.01, np.log(2), np.log(8)),
    (3, -1, 0.01, np.log(2), np.log(8)),
    (1, -1, 0.01, np.log(2), np.log(8)),
)
_DURATIONS, _TOKENS_OUT = (0, 1), 3
#: The natural logarithm over which odd ratios become rarer by e.
_DECAY = 3.0
#: Ordinary requests are nowhere denser than so many times what was counted in the tail.
_TRUST_COUNT = 1.5
#: Rows of which the tokens must be known.
_KNOWN = 200
#: Half of the requests with too many tokens took as long as they had usual ones, so many e-folds at most of evidence.
_MOST_EVIDENCE = 8.0
#: A surprise is counted up to this share of the rows, and computed beyond.
_COUNTED = 0.02
#: Of what may be odd, the part that may be in each natural logarithm of a direction.
_EVENLY = 0.1
_GRID = 400
#: Odd rows that are drawn of each direction.
_DRAWN = 1000
_CHUNK = 25_000


@dataclass(frozen=True)
class Densities:
    """Of the features (deviation and ratio), by feature and side; where too little is known of a feature, none."""

    of: Mapping[tuple[int, int], tuple[Distance, Distance]]
    most_odd: float
    floor: float

    def log(self, feature: int, z: Floats, log_ratio: Floats) -> Floats:
        """Log density of ordinary rows (n) in the feature's natural logarithm; z, log_ratio: of the feature."""
        found = np.zeros(len(z))
        for side in (1, -1):
            rows = np.flatnonzero(z > 0 if side > 0 else z <= 0)
            deviation, ratio = self.of[feature, side]
            x, y = np.abs(z[rows]), np.abs(log_ratio[rows])
            log_sd = np.log(np.maximum(y, 1e-9) / np.maximum(x, 1e-9))
            smooth = (deviation.log_density(x) - log_sd + ratio.log_density(y)) / 2
            counted = np.maximum(deviation.log_counted(x) - log_sd, ratio.log_counted(y)) + np.log(_TRUST_COUNT)
            if deviation.lump or ratio.lump:
                # What may be odd, evenly from twice the usual on, is no part of it.
                odd = self.most_odd * _EVENLY * (y > np.log(2))
                counted = np.log(np.maximum(np.exp(counted) - odd, self.floor))
                smooth = np.where(x > deviation.begins, counted, smooth)
            found[rows] = np.where(x > deviation.begins, np.minimum(smooth, counted), smooth)
        return found


@dataclass(frozen=True)
class Likelihood:
    """grid, minus_log: log ratios, ascending, and -log of the share of ordinary rows that have as high a one."""

    densities: Densities
    grid: Floats
    minus_log: Floats

    def score(self, z: Floats, log_ratio: Floats) -> tuple[Floats, Ints]:
        """Of each row (n x features): its surprise, and which direction it is odd in most. What is near the usual is
        no surprise: -inf."""
        odds, which = self.odds(z, log_ratio)
        return self.surprise(odds), which

    def surprise(self, odds: Floats) -> Floats:
        """-log P(as high a log ratio) of ordinary rows; beyond the grid P falls as it does for any likelihood ratio."""
        beyond = odds - self.grid[-1]
        found = np.where(beyond > 0, self.minus_log[-1] + beyond, np.interp(odds, self.grid, self.minus_log))
        return np.where(np.isfinite(odds), found, -np.inf)

    def numbers(self) -> Iterator[Floats]:
        """All that was learned."""
        yield from (self.grid, self.minus_log)
        for distance in (d for pair in self.densities.of.values() for d in pair):
            yield from (*distance.body, *distance.counted)
            for tail in distance.tails:
                yield np.array([tail.begins, tail.share, tail.scale, tail.shape])

    def odds(self, z: Floats, log_ratio: Floats) -> tuple[Floats, Ints]:
        """Log likelihood ratio of each row, and the direction that it owes most of it to."""
        odds, which = np.full(len(z), -np.inf), np.zeros(len(z), dtype=np.int64)
        for start in range(0, len(z), _CHUNK):
            part = slice(start, start + _CHUNK)
            _odds(self.densities, z[part], log_ratio[part], odds[part], which[part])
        return odds, which


def _odds(by: Densities, z: Floats, log_ratio: Floats, odds: Floats, which: Ints) -> None:
    best = np.full(len(z), -np.inf)
    for number, (feature, side, share, possible, usual) in enumerate(DIRECTIONS):
        if (feature, side) not in by.of:
            continue
        rows = np.flatnonzero(side * log_ratio[:, feature] > possible)
        if not len(rows):
            continue
        found = np.log(share) + _odd(side * log_ratio[rows, feature], possible, usual)
        found -= by.log(feature, z[rows, feature], log_ratio[rows, feature])
        if (feature, side) == (_TOKENS_OUT, 1):
            # Either the duration has grown with the tokens, or it is the usual one, which for its tokens is too short.
            grown, as_ever = (by.log(f, z[rows, f], log_ratio[rows, f]) for f in _DURATIONS)
            found += np.logaddexp(0.0, np.clip(as_ever - grown, -20, _MOST_EVIDENCE)) - np.log(2)
        odds[rows] = np.logaddexp(odds[rows], found)
        better: Bools = found > best[rows]
        best[rows[better]], which[rows[better]] = found[better], number


def _odd(y: Floats, possible: float, usual: float) -> Floats:
    """Log density of odd rows at the log ratio y: a ramp, then an exponential that falls slowly."""
    rise = np.log(np.maximum(np.minimum((y - possible) / (usual - possible), 1.0), 1e-9))
    return rise - np.maximum(y - usual, 0) / _DECAY - np.log(_DECAY + (usual - possible) / 2)


def fit_likelihood(z: Floats, log_ratio: Floats, *, most_odd: float) -> Likelihood:
    """Of ordinary rows (n x features); 0 where unknown. most_odd: the share that may be odd at most."""
    found = {}
    for feature in range(z.shape[1]):
        known = np.flatnonzero(z[:, feature] != 0)
        if feature in _DURATIONS:
            known = np.arange(len(z))
        elif len(known) < min(_KNOWN, len(z) / 2):
            continue
        x, y = z[known, feature], log_ratio[known, feature]
        away = x != 0
        width = 1 / max(float(np.median(np.abs(y[away] / x[away]))), 0.1) if away.any() else 1.0
        for side in (1, -1):
            found[feature, side] = (
                fit_distance(side * x, least_scale=0.15, width=width, most_odd=most_odd),
                fit_distance(side * y, least_scale=0.02, width=1.0, most_odd=most_odd),
            )
    densities = Densities(found, most_odd, 1 / max(len(z), 1))
    bare = Likelihood(densities, np.zeros(1), np.zeros(1))
    grid, share = _by_counting(np.sort(bare.odds(z, log_ratio)[0]))
    beyond, rarer = _by_weighing(bare, z, log_ratio)
    kept = beyond > grid[-1]
    grid, share = np.r_[grid, beyond[kept]], np.r_[share, rarer[kept]]
    return Likelihood(densities, grid, np.maximum.accumulate(-np.log(np.maximum(share, 1e-300))))


def _by_counting(odds: Floats) -> tuple[Floats, Floats]:
    """Of n ascending log ratios: some of them, and the share of the rows as high; up to a share of _COUNTED."""
    n = len(odds)
    at = ((1 - np.exp(np.linspace(0, np.log(_COUNTED), _GRID))) * n).astype(int)
    grid = np.unique(odds[np.minimum(at, n - 1)]) if n else np.zeros(0)
    grid = grid[np.isfinite(grid)]
    if not len(grid):
        grid = np.zeros(1)
    # Of equal values, all are at least as far: the share of those not below.
    return grid, 1 - np.searchsorted(odds, grid, "left") / max(n, 1)


def _by_weighing(by: Likelihood, z: Floats, log_ratio: Floats) -> tuple[Floats, Floats]:
    """Ascending log ratios, and how often an ordinary row's is as high: odd rows are drawn and weighed by how much less
    likely they are as ordinary ones (importance sampling), as no sample of ordinary ones holds so rare rows."""
    odds, weight = [], []
    known = log_ratio[:, _TOKENS_OUT] != 0
    by_tokens, tokens = (log_ratio[known, 1] - log_ratio[known, 0]), log_ratio[known, _TOKENS_OUT]
    slope = float((by_tokens * tokens).sum() / max((tokens**2).sum(), 1e-9))
    used = [direction for direction in DIRECTIONS if direction[:2] in by.densities.of]
    for feature, side, share, possible, usual in used:
        rows = np.flatnonzero(side * z[:, feature] > 0)
        rows = rows[:: max(1, len(rows) // _DRAWN)]
        if not len(rows):
            continue
        x, y = z[rows].copy(), log_ratio[rows].copy()
        sd = np.where(x != 0, y / np.where(x != 0, x, 1), 1.0)
        order = np.random.default_rng(feature).permutation(len(rows))
        y[:, feature] = side * _drawn((order + 0.5) / len(rows), possible, usual)
        moved = y[:, feature] - log_ratio[rows, feature]
        if feature in _DURATIONS:
            y[:, 1 - feature] += moved
        elif (feature, side) == (_TOKENS_OUT, 1):
            grown = np.arange(len(rows)) % 2 == 0
            y[grown, 1] += slope * moved[grown]
            y[~grown, 0] -= slope * moved[~grown]
        found = by.odds(y / sd, y)[0]
        odds.append(found)
        weight.append(np.exp(-np.maximum(found, -20)) * share / len(rows))
    if not odds:
        return np.zeros(0), np.zeros(0)
    every, weights = np.concatenate(odds), np.concatenate(weight)
    order = np.argsort(every)
    shares = np.cumsum(weights[order][::-1])[::-1]
    return every[order], shares / sum(direction[2] for direction in used)


def _drawn(u: Floats, possible: float, usual: float) -> Floats:
    """Quantiles u of _odd()."""
    rising = (usual - possible) / 2 / ((usual - possible) / 2 + _DECAY)
    ramp = possible + (usual - possible) * np.sqrt(np.minimum(u / rising, 1))
    return np.where(u < rising, ramp, usual - _DECAY * np.log(np.maximum((1 - u) / (1 - rising), 1e-12)))


def expected(surprise: Floats) -> Floats:
    """Share of ordinary rows with a surprise as high."""
    return np.minimum(np.exp(-surprise), 1.0)
