"""What was learned of ordinary requests - what is usual, the tails, the neighbourhood - and how others look by it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ooda_dagster.core.detection import features
from ooda_dagster.core.detection.novelty import Novelty, learn_novelty
from ooda_dagster.core.detection.rows import Bools, Floats, Ints, Rows
from ooda_dagster.core.detection.tails import DIRECTIONS, Tails, fit_tails
from ooda_dagster.core.request_settings import Detect

_FEATURE = np.array([feature for feature, *_ in DIRECTIONS])
_ODDEST = 0.01


@dataclass(frozen=True)
class Model:
    """learned: rows that it was learned from."""

    usual: features.Usual
    tails: Tails
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
    tails = fit_tails(seen.z, seen.log_ratio)
    surprise, _ = tails.score(seen.z, seen.log_ratio)
    # Neighbours that are planted hide each other: the oddest are none.
    ordinary = surprise <= np.sort(surprise)[int((1 - _ODDEST) * (len(surprise) - 1))]
    return Model(usual, tails, learn_novelty(seen.z[ordinary], settings, seed), len(rows))


def see(model: Model, rows: Rows) -> Scored:
    """The rows' groups must be known to the model. Levels are followed within these rows."""
    seen = features.see(model.usual, rows)
    surprise, direction = model.tails.score(seen.z, seen.log_ratio)
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
        for tail in (t for pair in model.tails.directions for d in pair for t in (d.deviation, d.ratio, d.mean)):
            found.update(np.round([*tail.grid, tail.begins, tail.share, tail.scale, tail.shape], 6).tobytes())
    return found.hexdigest()
