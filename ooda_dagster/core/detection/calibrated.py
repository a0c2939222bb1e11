"""Policy `calibrated`: flags with an error rate, by scores that are ranked among held-out ordinary requests.

1. What is usual is learned from one part of the reference (features.py), and from the same how much likelier a distance
   is for an odd request than for an ordinary one (likelihood.py, tails.py).
2. Another part is scored and becomes the ranks (conformal.py). Without a reference, the requests are their own: each is
   scored by what was learned from the others, in `folds` turns.
3. Rows that pass a gate, and a sample, also get an isolation score and a local outlier factor, with ranks of their own.
4. The three p-values become one (weighted Bonferroni); Benjamini and Hochberg flag.

Here: requests that are their own reference, and the steps that these share with reference.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ooda_dagster.core.detection import features
from ooda_dagster.core.detection.conformal import (
    Calibration,
    benjamini_hochberg,
    gate,
    weighted_bonferroni,
    weighted_p,
)
from ooda_dagster.core.detection.model import Scored, dear, digest, learn, see
from ooda_dagster.core.detection.rows import Bools, Floats, Rows, read_rows
from ooda_dagster.core.detection.table import Evidence, empty, table
from ooda_dagster.core.request_settings import Detect

#: Of a false alarm, in this order: what the two dearer scores add to the third is little.
_WEIGHTS = np.array([0.02, 0.08, 0.9])
#: So many turns where rows are few, so that little is lost to learning; else two.
_FOLDS, MANY = 3, 4000


@dataclass(frozen=True)
class Ranks:
    """Held-out rows that passed the gate: their dearer scores, and how much of each row is believed."""

    isolation: Floats
    factor: Floats
    weight: Floats


def judge_alone(requests: pd.DataFrame, settings: Detect, seed: int) -> tuple[pd.DataFrame, Evidence]:
    """The columns of detect() where the requests are their own reference, under 0..n-1, and how they came about."""
    rows, names = read_rows(requests)
    units = features.units_of(rows, names.operation_of, min_rows=settings.min_rows)
    part = rows.take(units.of_group[rows.group] >= 0)
    evidence = Evidence(seed=seed, unusable=len(requests) - len(rows), not_judged=len(rows) - len(part))
    if not len(part):
        return empty(len(requests)), evidence
    parts = crossed(part, units, settings, seed=seed, add_ms=features.resolution(rows.ms))
    return decide(len(requests), parts, calibrated(parts, settings, aside=1), None, settings, evidence)


def crossed(rows: Rows, units: features.Units, settings: Detect, *, seed: int, add_ms: float) -> list[Scored]:
    """Each row by what was learned from the others."""
    n = len(rows)
    turns = 2 if n >= MANY else _FOLDS
    turn = np.random.default_rng(seed).permutation(n) % turns
    parts = []
    for number in range(turns):
        others = np.flatnonzero(turn != number)
        if len(others) > settings.fit_rows:
            others = others[
                np.sort(np.random.default_rng((seed, number)).permutation(len(others))[: settings.fit_rows])
            ]
        model = learn(rows.take(others), units, settings, seed=seed + number, add_ms=add_ms)
        parts.append(see(model, rows.take(turn == number)))
    return parts


def calibrated(held: Sequence[Scored], settings: Detect, *, aside: int = 0) -> Calibration:
    """aside: 1 where the held-out rows are those that are judged."""
    surprise = np.sort(np.concatenate([part.surprise for part in held]))
    return Calibration(surprise, settings.trust_ratio, settings.trim_share, settings.tolerated_share, aside)


def ranks_of(held: Sequence[Scored], calibration: Calibration, settings: Detect) -> Ranks:
    surprise = np.concatenate([part.surprise for part in held])
    passed = gate(surprise, settings.gate_share)
    isolation, factor = dear(held, passed)
    return Ranks(isolation[passed], factor[passed], calibration.weights(surprise[passed]))


def decide(
    n: int,
    parts: Sequence[Scored],
    calibration: Calibration,
    ranks: Ranks | None,
    settings: Detect,
    evidence: Evidence,
) -> tuple[pd.DataFrame, Evidence]:
    """The columns of n rows, of which the parts are judged. ranks: None where the parts are the held-out rows."""
    surprise = np.concatenate([part.surprise for part in parts])
    p, sharp = (np.ones((len(surprise), 3), order="F") for _ in range(2))
    p[:, 2], sharp[:, 2] = calibration.p_values(surprise)
    passed = gate(surprise, settings.gate_share)
    scored = passed | _sample(len(surprise), settings, evidence.seed)
    isolation, factor = dear(parts, scored)
    if passed.any():
        ranks = ranks or Ranks(isolation[passed], factor[passed], calibration.weights(surprise[passed]))
        for column, (held, values) in enumerate(((ranks.isolation, isolation), (ranks.factor, factor))):
            own = weighted_p(held, ranks.weight, len(calibration.surprise), values[passed], calibration.aside)
            p[passed, column] = sharp[passed, column] = own
    threshold = benjamini_hochberg(weighted_bonferroni(sharp, _WEIGHTS), settings.false_discovery_share)
    by = sharp / _WEIGHTS <= threshold
    far = np.abs(np.concatenate([part.log_ratio for part in parts]))
    flagged = by.any(axis=1) & (far >= np.log(settings.min_ratio))
    late = flagged & ~scored
    if late.any():
        for whole, some in zip((isolation, factor), dear(parts, late), strict=True):
            whole[late] = some[late]
        scored |= late
    return table(n, parts, isolation, factor, weighted_bonferroni(p, _WEIGHTS), by, flagged, scored), replace(
        evidence,
        learned=max(part.model.learned for part in parts),
        held_out=len(calibration.surprise),
        trimmed=calibration.trimmed,
        excess=calibration.excess,
        gated=int(passed.sum()),
        scored=int(scored.sum()),
        threshold=threshold,
        digest=digest([part.model for part in parts]),
    )


def _sample(n: int, settings: Detect, seed: int) -> Bools:
    if n <= settings.score_all_rows:
        return np.ones(n, dtype=bool)
    found = np.zeros(n, dtype=bool)
    found[np.random.default_rng((seed, 1)).choice(n, min(n, settings.uniform_rows), replace=False)] = True
    return found
