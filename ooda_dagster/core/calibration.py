"""How far is a prediction to be trusted? By what came of earlier ones of its type, on its rung of evidence.

Each closed verdict gives one number, realised gain ÷ predicted gain, with the verdict's own error. The mean of a group
(type, rung, target) is a random-effects mean: outcomes differ by more than their errors say, by a variance that the
general method of moments estimates (DerSimonian and Kacker, Contemporary Clinical Trials 28, 2007). Groups are few and
small, so their means are shrunk to the mean of their type over all targets, by empirical Bayes (Efron and Morris, JASA
70, 1975; Morris, JASA 78, 1983): the less a group has seen, and the more it wavers, the more the others say for it. The
mean of a type begins at 1, which is to take predictions as they are.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from ooda_dagster.core.learning_settings import Learning
from ooda_dagster.core.predictions import Prediction

Key = tuple[str, str, str]

#: A smaller predicted share is nothing that an outcome could be divided by.
LEAST_PREDICTED = 0.02
#: One outcome says no more than these: a disaster is the failure memory's, not the mean's.
_LOW, _HIGH = -1.0, 2.0
#: What is thought before anything is seen, standard deviations of realised ÷ predicted: of types about 1, of the groups
#: of a type about its mean, of outcomes about their group's. The last two count as so many outcomes.
_TYPE_SD, _GROUP_SD, _OUTCOME_SD, _WORTH = 0.35, 0.25, 0.35, 4.0
_NORMAL_95 = 1.96


@dataclass(frozen=True)
class Factor:
    """What a prediction is multiplied with: `value`, within its bounds; `shrunk` without them.

    raw: the group's own mean; n: its verdicts, parts of change sets as parts; typical, typical_n: of the type over all
    targets.
    """

    value: float = 1.0
    shrunk: float = 1.0
    error: float = _TYPE_SD
    raw: float | None = None
    raw_error: float | None = None
    n: float = 0.0
    typical: float = 1.0
    typical_n: float = 0.0

    @property
    def raw_interval(self) -> tuple[float, float] | None:
        """95 % of the group's own mean."""
        if self.raw is None or self.raw_error is None:
            return None
        return self.raw - _NORMAL_95 * self.raw_error, self.raw + _NORMAL_95 * self.raw_error

    def words(self, predicted: float) -> str:
        """Why a prediction (a share) becomes what it becomes; nothing where nothing is known."""
        if not self.typical_n:
            return ""
        known = (
            f"past predictions of this type on this rung realised {self.raw:.2f}x (n={self.n:.3g})"
            if self.raw is not None
            else f"past predictions of this type, on other rungs or targets, realised {self.typical:.2f}x "
            f"(n={self.typical_n:.3g})"
        )
        shown = self.raw if self.raw is not None else self.typical
        weighed = f", weighed {self.value:.2f}x" if abs(self.value - shown) >= 0.005 else ""
        expected = min(predicted * self.value, 1.0)
        return f"predicted {100 * predicted:.0f} % less; {known}{weighed}, so {100 * expected:.0f} %"


@dataclass(frozen=True)
class Calibration:
    """Factors of all groups that a verdict is known of; of another group of a known type, the type's."""

    groups: Mapping[Key, Factor] = field(default_factory=dict)
    types: Mapping[str, Factor] = field(default_factory=dict)

    def factor(self, target: str, action_type: str, rung: str) -> Factor:
        """What a prediction of a type on a rung of a target is multiplied with."""
        return self.groups.get((target, action_type, rung)) or self.types.get(action_type) or Factor()


def windows(predictions: Iterable[Prediction], now: datetime, policy: Learning) -> dict[Key, list[Prediction]]:
    """What is remembered, by group: within the window of days, the newest of the window of counts, newest first."""
    since = now - timedelta(days=policy.window_d)
    found: dict[Key, list[Prediction]] = defaultdict(list)
    for one in sorted(predictions, key=lambda p: p.at, reverse=True):
        if since < one.at <= now and len(found[one.key]) < policy.window_count:
            found[one.key].append(one)
    return {key: kept for key, kept in found.items() if kept}


def is_comparable(one: Prediction) -> bool:
    """Whether something was predicted and measured."""
    return one.predicted is not None and one.predicted >= LEAST_PREDICTED and one.realised is not None


def calibrate(predictions: Iterable[Prediction], now: datetime, policy: Learning) -> Calibration:
    """Factors as of `now`, from the predictions whose verdicts are within the windows."""
    by_type: dict[str, dict[Key, _Sample]] = defaultdict(dict)
    for key, kept in windows(predictions, now, policy).items():
        comparable = [p for p in kept if is_comparable(p)]
        if comparable:
            by_type[key[1]][key] = _sample(comparable)
    groups: dict[Key, Factor] = {}
    types: dict[str, Factor] = {}
    for action_type, samples in by_type.items():
        types[action_type], found = _of_type(samples, policy)
        groups |= found
    return Calibration(groups, types)


@dataclass(frozen=True)
class _Sample:
    """Numbers with the variances that are known of them, and weights."""

    x: np.ndarray
    v: np.ndarray
    w: np.ndarray

    def mean(self, between: float) -> tuple[float, float]:
        """Random-effects mean and its variance; `between` is the variance beyond the known ones."""
        precision = self.w / (self.v + between)
        return float((precision * self.x).sum() / precision.sum()), float(1 / precision.sum())


def _sample(kept: list[Prediction]) -> _Sample:
    predicted = np.array([p.predicted for p in kept], dtype=float)
    realised = np.array([p.realised for p in kept], dtype=float)
    error = np.array([p.error for p in kept], dtype=float)
    weights = np.array([max(p.weight, 1e-3) for p in kept])
    return _Sample(np.clip(realised / predicted, _LOW, _HIGH), (error / predicted) ** 2, weights)


def _between(samples: Iterable[_Sample], guess: float) -> float:
    """Variance of numbers beyond the known ones, pooled over samples; `guess` is what is thought before."""
    deviance, scale, freedom = 0.0, 0.0, 0
    for s in samples:
        a = s.w / (s.v + guess**2)
        total = a.sum()
        mean = (a * s.x).sum() / total
        deviance += float((a * (s.x - mean) ** 2).sum() - (a * s.v).sum() + (a * a * s.v).sum() / total)
        scale += float(total - (a * a).sum() / total)
        freedom += len(s.x) - 1
    found = max(deviance / scale, 0.0) if freedom and scale > 0 else 0.0
    return (_WORTH * guess**2 + freedom * found) / (_WORTH + freedom)


def _of_type(samples: Mapping[Key, _Sample], policy: Learning) -> tuple[Factor, dict[Key, Factor]]:
    within = _between(samples.values(), _OUTCOME_SD)
    means = {key: s.mean(within) for key, s in samples.items()}
    x, v = (np.array(column) for column in zip(*means.values(), strict=True))
    between = _between([_Sample(x, v, np.ones(len(x)))], _GROUP_SD)
    precision = 1 / _TYPE_SD**2 + float((1 / (v + between)).sum())
    typical = (1 / _TYPE_SD**2 + float((x / (v + between)).sum())) / precision
    count = float(sum(s.w.sum() for s in samples.values()))

    def factor(shrunk: float, variance: float, **own: float) -> Factor:
        value = min(max(shrunk, policy.min_trust_ratio), policy.max_trust_ratio)
        return Factor(value, shrunk, math.sqrt(variance), typical=typical, typical_n=count, **own)

    found = {}
    for key, (mean, variance) in means.items():
        to_type = variance / (variance + between)
        shrunk = (1 - to_type) * mean + to_type * typical
        left = (1 - to_type) * variance + to_type**2 / precision
        own = {"raw": mean, "raw_error": math.sqrt(variance), "n": float(samples[key].w.sum())}
        found[key] = factor(shrunk, left, **own)
    return factor(typical, between + 1 / precision), found
