"""How often would an ordinary request score as high? By its rank among held-out ones, and no model of the scores.

Conformal p-value (Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, 2005): of n held-out ordinary rows,
k score at least as high: p = (1 + k) / (n + 1). Where a row is exchangeable with them, P(p <= a) <= a for every a.
Flags: Benjamini and Hochberg (1995); with conformal p-values they keep the false discovery rate (Bates, Candes, Lei,
Romano, Sesia: Testing for outliers with conformal p-values, Annals of Statistics 51, 2023).

Trimming: what is planted in the reference would make all others look ordinary. So no more rows are believed to be as
odd than `trust` times as many as the densities (likelihood.py) lead to expect; where more than a share `tolerated` is
odder than that and chance explain, no more than expected, with at most a share `most` left out. The p-value that is
reported is trimmed only there: then P(p <= a) <= a + what is left out, which is reported; else it is exact. Flags go by
the trimmed one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ooda_dagster.core.detection.likelihood import expected
from ooda_dagster.core.detection.rows import Bools, Floats

#: Below so many rows as odd, the shape of the tail tells the rest.
_RANKED = 10
#: Standard deviations by which more rows than expected may be chance.
_NOISE = 2.5


@dataclass(frozen=True)
class Calibration:
    """surprise: of the held-out rows, ascending; aside: 1 where the judged rows are the held-out ones themselves, so
    that each is among them."""

    surprise: Floats
    trust: float
    most: float
    tolerated: float
    aside: int = 0

    @cached_property
    def excess(self) -> float:
        """Share of the rows that is odder than the tail's shape, and chance, lead to expect."""
        n = len(self.surprise)
        k = np.arange(int(self.most * n), 0, -1.0)
        usual = self._ratio * n * expected(self.surprise[n - len(k) :])
        return float((k - usual - _NOISE * np.sqrt(usual)).max(initial=0.0) / max(n, 1))

    @property
    def trimmed(self) -> float:
        """Share of the rows that is left out of the p-values."""
        return self.excess if self.excess > self.tolerated else 0.0

    def p_values(self, surprise: Floats) -> tuple[Floats, Floats]:
        """That which is reported, and the sharpened one, by which is flagged."""
        k = self._rank(surprise)
        return self._reported(k, surprise), self._sharpened(k, surprise)

    def _reported(self, k: Floats, surprise: Floats) -> Floats:
        """Beyond all that are believed, parts of 1 / (n + 1) by the tail's shape, so that the oddest differ."""
        n = len(self.surprise)
        p = (1 + (self._believed(k, surprise) if self.trimmed else k)) / (n + 1 - self.aside)
        edge = expected(self.surprise[n - 1 - self.aside :][:1]) if n > self.aside else np.ones(1)
        part = np.clip(expected(surprise) / np.maximum(edge, 1e-300), 1e-6, 1.0)
        return np.where(k <= 0, np.minimum(p, part / (n + 1)), p)

    def _sharpened(self, k: Floats, surprise: Floats) -> Floats:
        """The trimmed p-value where enough rows are as odd, and beyond by the tail's shape, scaled to meet it."""
        n = len(self.surprise)
        p = (1 + self._believed(k, surprise)) / (n + 1 - self.aside)
        if not n:
            return p
        if self.trimmed:
            return np.minimum(p, self._ratio * expected(surprise))
        edge = self.surprise[-min(_RANKED, n) :][:1]
        ratio = np.clip(min(_RANKED, n) / n / np.maximum(expected(edge), 1e-300), 1.0, self.trust)
        return np.where(surprise > edge, np.minimum(ratio * expected(surprise), p), p)

    @cached_property
    def _ratio(self) -> float:
        """Times that ordinary rows are as odd as the tail's shape leads to expect, where they are many."""
        n = len(self.surprise)
        k = np.unique((np.array([0.02, 0.025, 0.03]) * n).astype(int))
        k = k[k > 0]
        if not len(k):
            return 1.0
        usual = np.maximum(expected(self.surprise[n - k]), 1e-300)
        return float(np.clip(np.median(k / n / usual), 1.0, self.trust))

    def weights(self, surprise: Floats) -> Floats:
        """How much of a held-out row is believed (0..1)."""
        k = np.maximum(self._rank(surprise), 1.0)
        return np.minimum(self._believed(k, surprise) / k, 1.0)

    def _rank(self, surprise: Floats) -> Floats:
        return (len(self.surprise) - np.searchsorted(self.surprise, surprise, "left") - self.aside).astype(float)

    def _believed(self, k: Floats, surprise: Floats) -> Floats:
        n, times = len(self.surprise), self._ratio if self.trimmed else self.trust
        return np.minimum(k, np.maximum(times * n * expected(surprise), k - self.most * n))


def weighted_p(held_out: Floats, weight: Floats, n: int, x: Floats, aside: int) -> Floats:
    """Conformal p-values of the scores x: n rows were held out, of which these passed the gate; the others are
    lower."""
    order = np.argsort(held_out)
    above = np.r_[np.cumsum(weight[order][::-1])[::-1], 0.0]
    k = above[np.searchsorted(held_out[order], x, "left")]
    return (1 + np.maximum(k - aside, 0)) / (n + 1 - aside)


def weighted_bonferroni(p: Floats, weight: Floats) -> Floats:
    """One p-value of several for the same row (n x tests): the least p / weight; the weights add up to 1.

    Genovese, Roeder, Wasserman: False discovery control with p-value weighting, Biometrika 93 (2006).
    """
    return np.minimum((p / weight).min(axis=1), 1.0)


def benjamini_hochberg(p: Floats, share: float) -> float:
    """The greatest p-value that is flagged, so that at most this share of what is flagged is ordinary; -1 for none."""
    ordered = np.sort(p)
    passed = np.flatnonzero(ordered <= share * np.arange(1, len(p) + 1) / max(len(p), 1))
    return float(ordered[passed[-1]]) if len(passed) else -1.0


def gate(surprise: Floats, share: float) -> Bools:
    """Rows that are odd enough for the dearer scores."""
    return expected(surprise) <= share
