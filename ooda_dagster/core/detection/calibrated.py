"""Policy `calibrated`: flags with an error rate, by scores that are ranked among held-out ordinary requests.

1. What is usual is learned from one part of the reference (features.py), how rare a distance is from the same
   (tails.py).
2. Another part is scored and becomes the ranks (conformal.py). Without a reference, the requests are their own: each is
   scored by what was learned from the others, in `folds` turns.
3. Rows that pass a gate, and a sample, also get an isolation score and a local outlier factor, with ranks of their own.
4. The three p-values become one (weighted Bonferroni); Benjamini and Hochberg flag.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

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
from ooda_dagster.core.detection.novelty import Novelty, learn_novelty
from ooda_dagster.core.detection.rows import Bools, Floats, Ints, Rows, read_rows
from ooda_dagster.core.detection.tails import DIRECTIONS, Tails, fit_tails
from ooda_dagster.core.request_settings import Detect

#: Columns, and what is in them where a row was not judged.
_BLANK: dict[str, Any] = {
    "isolation_score": np.nan,
    "lof": np.nan,
    "robust_z": np.nan,
    "p_value": np.nan,
    "usual_ms": np.nan,
    "times_usual": np.nan,
    "feature": "",
    "method": "none",
    "flagged": False,
    "scored": False,
}
COLUMNS = list(_BLANK)
METHODS = ("isolation_forest", "lof", "robust_z")
#: Of a false alarm, in this order: what the two dearer scores add to the third is little.
_WEIGHTS = np.array([0.02, 0.08, 0.9])
#: So many turns where rows are few, so that little is lost to learning; else two.
_FOLDS, _MANY = 3, 4000
_ODDEST = 0.01


@dataclass(frozen=True)
class Evidence:
    """How it was calibrated. learned, held_out: rows; trimmed: the share of the held-out rows that was left out of
    the p-values; excess: the share that is odder than the tail's shape; gated, scored: rows with the dearer scores;
    threshold: the greatest p-value flagged, -1 where none; digest: SHA-256 of what was learned."""

    learned: int = 0
    held_out: int = 0
    trimmed: float = 0.0
    excess: float = 0.0
    gated: int = 0
    scored: int = 0
    threshold: float = -1.0
    seed: int = 0
    digest: str = ""
    unusable: int = 0
    not_judged: int = 0
    further: tuple[Evidence, ...] = field(default=())


@dataclass(frozen=True)
class _Model:
    usual: features.Usual
    tails: Tails
    novelty: Novelty
    learned: int


@dataclass
class _Scored:
    """Rows by one model."""

    rows: Rows
    model: _Model
    z: Floats
    log_ratio: Floats
    usual_ms: Floats
    surprise: Floats
    direction: Ints


def judge(
    requests: pd.DataFrame, reference: pd.DataFrame | None, settings: Detect, seed: int
) -> tuple[pd.DataFrame, Evidence]:
    """The columns of detect(), under 0..n-1, and how they came about."""
    frames = read_rows([requests] if reference is None else [requests, reference])
    rows, known = frames[0], frames[-1]
    count = max((int(f.group.max(initial=-1)) for f in frames), default=-1) + 1
    operation_of = np.full(count, -1, dtype=np.int64)
    for frame in frames:
        operation_of[frame.group] = frame.operation
    add_ms = features.resolution(known.ms)
    result = _empty(len(requests))
    units = features.units_of(known, operation_of, min_rows=settings.min_rows)
    judged = units.of_group[rows.group] >= 0 if len(rows) else np.zeros(0, dtype=bool)
    evidence = Evidence(seed=seed, unusable=len(requests) - len(rows))
    further: tuple[Evidence, ...] = ()
    if judged.any():
        part = rows.take(judged)
        if reference is None:
            parts, calibration, held = _crossed(part, units, operation_of, settings, seed, add_ms)
        else:
            usable = known.take(units.of_group[known.group] >= 0)
            parts, calibration, held = _split(part, usable, units, operation_of, settings, seed, add_ms)
        result, evidence = _decide(
            len(requests), parts, calibration, held, settings, seed, alone=reference is None, evidence=evidence
        )
    left = rows.take(~judged)
    if reference is not None and len(left) >= settings.min_rows:
        # Operations that the reference does not know are their own reference.
        found, own = judge(requests.iloc[left.number].reset_index(drop=True), None, settings, seed)
        for name in COLUMNS:
            result.loc[left.number, name] = found[name].to_numpy()
        further, not_judged = (own,), own.not_judged
    else:
        not_judged = len(left)
    values = {**evidence.__dict__, "not_judged": not_judged, "further": further}
    return result, Evidence(**values)


def _learn(rows: Rows, units: features.Units, operation_of: Ints, settings: Detect, seed: int, add_ms: float) -> _Model:
    usual = features.learn(rows, units, operation_of, min_rows=settings.min_rows, add_ms=add_ms)
    seen = features.see(usual, rows)
    tails = fit_tails(seen.z, seen.log_ratio)
    surprise, _ = tails.score(seen.z, seen.log_ratio)
    # Neighbours that are planted hide each other: the oddest are none.
    ordinary = surprise <= np.sort(surprise)[int((1 - _ODDEST) * (len(surprise) - 1))]
    return _Model(usual, tails, learn_novelty(seen.z[ordinary], settings, seed), len(rows))


def _see(model: _Model, rows: Rows) -> _Scored:
    seen = features.see(model.usual, rows)
    surprise, direction = model.tails.score(seen.z, seen.log_ratio)
    return _Scored(rows, model, seen.z, seen.log_ratio, seen.usual_ms, surprise, direction)


def _split(
    rows: Rows, known: Rows, units: features.Units, operation_of: Ints, settings: Detect, seed: int, add_ms: float
) -> tuple[list[_Scored], Calibration, list[_Scored]]:
    """Learn from one half of the reference, rank among the other; where it is small, take turns."""
    if len(known) < _MANY:
        _, calibration, held = _crossed(known, units, operation_of, settings, seed, add_ms)
        model = _learn(known, units, operation_of, settings, seed, add_ms)
        return [_see(model, rows)], replace(calibration, aside=0), held
    order = np.random.default_rng(seed).permutation(len(known))
    learned = min(len(known) // 2, settings.fit_rows)
    model = _learn(known.take(np.sort(order[:learned])), units, operation_of, settings, seed, add_ms)
    held = _see(model, known.take(np.sort(order[learned : learned + settings.held_out_rows])))
    return [_see(model, rows)], _ranks([held], settings), [held]


def _crossed(
    rows: Rows, units: features.Units, operation_of: Ints, settings: Detect, seed: int, add_ms: float
) -> tuple[list[_Scored], Calibration, list[_Scored]]:
    """Each row by what was learned from the others; all of them are the ranks of each."""
    n = len(rows)
    turns = 2 if n >= _MANY else _FOLDS
    turn = np.random.default_rng(seed).permutation(n) % turns
    parts = []
    for number in range(turns):
        others = np.flatnonzero(turn != number)
        if len(others) > settings.fit_rows:
            others = others[
                np.sort(np.random.default_rng((seed, number)).permutation(len(others))[: settings.fit_rows])
            ]
        model = _learn(rows.take(others), units, operation_of, settings, seed + number, add_ms)
        parts.append(_see(model, rows.take(turn == number)))
    return parts, _ranks(parts, settings, aside=1), parts


def _ranks(held: list[_Scored], settings: Detect, aside: int = 0) -> Calibration:
    surprise = np.sort(np.concatenate([part.surprise for part in held]))
    return Calibration(surprise, settings.trust_ratio, settings.trim_share, settings.tolerated_share, aside)


def _decide(
    n: int,
    parts: list[_Scored],
    calibration: Calibration,
    held: list[_Scored],
    settings: Detect,
    seed: int,
    *,
    alone: bool,
    evidence: Evidence,
) -> tuple[pd.DataFrame, Evidence]:
    number = np.concatenate([part.rows.number for part in parts])
    surprise = np.concatenate([part.surprise for part in parts])
    p, sharp = np.ones((len(number), 3)), np.ones((len(number), 3))
    p[:, 2], sharp[:, 2] = calibration.p_value(surprise), calibration.sharpened(surprise)
    passed = gate(surprise, settings.gate_share)
    scored = passed | _sample(len(number), settings, seed)
    isolation, factor = _dear(parts, scored)
    if passed.any():
        ranks = _gated(parts if alone else held, calibration, settings, (isolation, factor, passed) if alone else None)
        for column, values in enumerate((isolation, factor)):
            own = weighted_p(ranks[column], ranks[2], len(calibration.surprise), values[passed], calibration.aside)
            p[passed, column] = sharp[passed, column] = own
    threshold = benjamini_hochberg(weighted_bonferroni(sharp, _WEIGHTS), settings.false_discovery_share)
    by = sharp / _WEIGHTS <= threshold
    far = _effect(parts)
    flagged = by.any(axis=1) & (far >= np.log(settings.min_ratio))
    late = flagged & ~scored
    if late.any():
        for whole, some in zip((isolation, factor), _dear(parts, late), strict=True):
            whole[late] = some[late]
        scored |= late
    table = _table(n, parts, number, isolation, factor, weighted_bonferroni(p, _WEIGHTS), by, flagged, scored)
    values = {
        **evidence.__dict__,
        "learned": max(part.model.learned for part in parts),
        "held_out": len(calibration.surprise),
        "trimmed": calibration.trimmed,
        "excess": calibration.excess,
        "gated": int(passed.sum()),
        "scored": int(scored.sum()),
        "threshold": threshold,
        "digest": _digest([part.model for part in parts]),
    }
    return table, Evidence(**values)


def _sample(n: int, settings: Detect, seed: int) -> Bools:
    if n <= settings.score_all_rows:
        return np.ones(n, dtype=bool)
    found = np.zeros(n, dtype=bool)
    found[np.random.default_rng((seed, 1)).choice(n, min(n, settings.uniform_rows), replace=False)] = True
    return found


def _dear(parts: list[_Scored], which: Bools) -> tuple[Floats, Floats]:
    """Isolation score and local outlier factor of the rows asked for; NaN for the others."""
    isolation, factor = np.full(len(which), np.nan), np.full(len(which), np.nan)
    start = 0
    for part in parts:
        rows = np.flatnonzero(which[start : start + len(part.surprise)])
        if len(rows):
            isolation[start + rows] = part.model.novelty.isolation(part.z[rows])
            factor[start + rows] = part.model.novelty.factor(part.z[rows])
        start += len(part.surprise)
    return isolation, factor


def _gated(
    held: list[_Scored], calibration: Calibration, settings: Detect, known: tuple[Floats, Floats, Bools] | None
) -> tuple[Floats, Floats, Floats]:
    """Scores of the held-out rows that pass the gate, and how much of each is believed."""
    surprise = np.concatenate([part.surprise for part in held])
    if known is None:
        passed = gate(surprise, settings.gate_share)
        isolation, factor = _dear(held, passed)
    else:
        isolation, factor, passed = known
    weight = calibration.weights(surprise[passed])
    return isolation[passed], factor[passed], weight


def _effect(parts: list[_Scored]) -> Floats:
    """How far each row is from what is usual in the direction that stands out: |log ratio|."""
    feature = np.array([feature for feature, *_ in DIRECTIONS])
    return np.concatenate([np.abs(part.log_ratio[np.arange(len(part.z)), feature[part.direction]]) for part in parts])


def _table(
    n: int,
    parts: list[_Scored],
    number: Ints,
    isolation: Floats,
    factor: Floats,
    p: Floats,
    by: Bools,
    flagged: Bools,
    scored: Bools,
) -> pd.DataFrame:
    """The columns of n rows, of which these numbers were judged."""
    feature = np.array([feature for feature, *_ in DIRECTIONS])
    which = np.concatenate([feature[part.direction] for part in parts])
    at = np.arange(len(which))
    z, ratio = (np.concatenate([getattr(part, name) for part in parts])[at, which] for name in ("z", "log_ratio"))
    method = np.array(METHODS, dtype=object)[by.argmax(axis=1)]
    method[by.sum(axis=1) > 1] = "several"
    method[~flagged] = "none"
    found = {
        "isolation_score": isolation,
        "lof": factor,
        "robust_z": z,
        "p_value": p,
        "usual_ms": np.concatenate([part.usual_ms for part in parts]),
        "times_usual": np.exp(np.clip(ratio, -60, 60)),
        "feature": np.array(features.FEATURES, dtype=object)[which],
        "method": method,
        "flagged": flagged,
        "scored": scored,
    }
    columns = {}
    for name, blank in _BLANK.items():
        columns[name] = np.full(n, blank, dtype=found[name].dtype)
        columns[name][number] = found[name]
    return pd.DataFrame(columns, columns=pd.Index(COLUMNS))


def _empty(n: int) -> pd.DataFrame:
    columns = {
        name: np.full(n, blank, dtype=object if isinstance(blank, str) else None) for name, blank in _BLANK.items()
    }
    return pd.DataFrame(columns, columns=pd.Index(COLUMNS))


def _digest(models: list[_Model]) -> str:
    """SHA-256 of what is usual and of the tails."""
    found = hashlib.sha256()
    for model in models:
        for values in (model.usual.centre, model.usual.slopes, model.usual.token_slopes, model.usual.scale):
            found.update(np.round(values, 6).tobytes())
        for tail in (t for pair in model.tails.directions for d in pair for t in (d.deviation, d.ratio, d.mean)):
            found.update(np.round([*tail.grid, tail.begins, tail.share, tail.scale, tail.shape], 6).tobytes())
    return found.hexdigest()
