"""What was learned of ordinary requests - what is usual, the tails, the neighbourhood - and how others look by it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ooda_dagster.core.detection import features
from ooda_dagster.core.detection.conformal import Calibration
from ooda_dagster.core.detection.likelihood import DIRECTIONS, Likelihood, fit_likelihood
from ooda_dagster.core.detection.novelty import Novelty, learn_novelty
from ooda_dagster.core.detection.rows import Bools, Floats, Ints, Rows
from ooda_dagster.core.request_settings import Detect

_FEATURE = np.array([feature for feature, *_ in DIRECTIONS])
_ODDEST = 0.01
#: That the densities are learned again at most.
_ROUNDS = 3


@dataclass(frozen=True)
class Model:
    """learned: rows that it was learned from."""

    usual: features.Usual
    likelihood: Likelihood
    novelty: Novelty
    learned: int

    def extended(self, operation_of: Ints) -> Model:
        """To groups that were not learned of; operation_of: of all groups, those at the end."""
        return replace(self, usual=self.usual.extended(operation_of))


@dataclass(frozen=True)
class Scored:
    """n rows by one model. z: n x features; surprise: of the feature that stands out; feature, log_ratio: which that
    is, and its ratio to what is usual (natural logarithm)."""

    rows: Rows
    model: Model
    z: Floats
    surprise: Floats
    feature: Ints
    log_ratio: Floats
    usual_ms: Floats

    def __len__(self) -> int:
        return len(self.surprise)


def learn(rows: Rows, units: features.Units, settings: Detect, *, seed: int, add_ms: float) -> Model:
    usual = features.learn(rows, units, min_rows=settings.min_rows, add_ms=add_ms)
    seen = features.see(usual, rows)
    likelihood, surprise = _trimmed(seen, settings)
    # Neighbours that are planted hide each other: the oddest are none.
    ordinary = surprise <= np.sort(surprise)[int((1 - _ODDEST) * (len(surprise) - 1))]
    return Model(usual, likelihood, learn_novelty(seen.z[ordinary], settings, seed), len(rows))


def _trimmed(seen: features.Seen, settings: Detect) -> tuple[Likelihood, Floats]:
    """What ordinary rows are like, and the surprise of all: learned again without as many of the oddest as are more
    than the densities lead to expect, while these are more than is tolerated."""
    n, left_out = len(seen.z), 0
    likelihood, surprise, order = _by(seen, np.arange(n), settings)
    for _ in range(_ROUNDS):
        held = Calibration(surprise[order], settings.trust_ratio, settings.trim_share, settings.tolerated_share)
        more = round(n * held.excess)
        if more <= max(n * settings.tolerated_share, left_out):
            break
        left_out = more
        likelihood, surprise, order = _by(seen, np.sort(order[: n - more]), settings)
    return likelihood, surprise


def _by(seen: features.Seen, kept: Ints, settings: Detect) -> tuple[Likelihood, Floats, Ints]:
    """Learned of the rows that are kept; the surprise of all, and their order by that."""
    likelihood = fit_likelihood(seen.z[kept], seen.log_ratio[kept], most_odd=settings.trim_share)
    surprise, _ = likelihood.score(seen.z, seen.log_ratio)
    return likelihood, surprise, np.argsort(surprise, kind="stable")


def see(model: Model, rows: Rows) -> Scored:
    """The rows' groups must be known to the model. Levels are followed within these rows."""
    seen = features.see(model.usual, rows)
    surprise, direction = model.likelihood.score(seen.z, seen.log_ratio)
    feature = _FEATURE[direction]
    log_ratio = seen.log_ratio[np.arange(len(feature)), feature]
    return Scored(rows, model, seen.z, surprise, feature, log_ratio, seen.usual_ms)


def dear(parts: Sequence[Scored], which: Bools) -> tuple[Floats, Floats]:
    """Isolation score and local outlier factor of the rows asked for; NaN for the others."""
    isolation, factor = np.full(len(which), np.nan), np.full(len(which), np.nan)
    start = 0
    for part in parts:
        rows = np.flatnonzero(which[start : start + len(part)])
        if len(rows):
            isolation[start + rows] = part.model.novelty.isolation(part.z[rows])
            factor[start + rows] = part.model.novelty.factor(part.z[rows])
        start += len(part)
    return isolation, factor


def digest(models: Sequence[Model]) -> str:
    """SHA-256 of what is usual and of the tails."""
    found = hashlib.sha256()
    for model in models:
        for values in (model.usual.centre, model.usual.slopes, model.usual.token_slopes, model.usual.scale):
            found.update(np.round(values, 6).tobytes())
        for values in model.likelihood.numbers():
            found.update(np.round(values, 6).tobytes())
    return found.hexdigest()
