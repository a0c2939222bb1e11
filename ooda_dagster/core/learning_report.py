"""Predicted against realised, for people: by type and rung, by verdict, and whether it gets better with time."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

import numpy as np
from scipy import stats

from ooda_dagster.core.calibration import Calibration, Factor, Key, is_comparable
from ooda_dagster.core.learned import Learned, PredictionPoint
from ooda_dagster.core.predictions import Prediction
from ooda_dagster.core.verdict import Outcome

#: Verdicts that one point of the learning curve is a mean of, and the worst that one of them counts as, in per cent.
ROLLING, _WORST = 10, -100.0


def learned_rows(predictions: Iterable[Prediction], seen: Calibration, used: Calibration) -> list[Learned]:
    """One row a group, those with the most verdicts first. seen: of these predictions; used: what corrects new ones."""
    groups: dict[Key, list[Prediction]] = defaultdict(list)
    for one in predictions:
        groups[one.key].append(one)
    rows = [_row(key, kept, seen, used) for key, kept in groups.items()]
    return sorted(rows, key=lambda r: (-r.verdicts, r.target, r.hypothesis_type, r.rung))


def _row(key: Key, kept: Sequence[Prediction], seen: Calibration, used: Calibration) -> Learned:
    judged = [p for p in kept if not p.failed]
    better, worse = (sum(p.outcome == o for p in judged) for o in (Outcome.BETTER, Outcome.WORSE))
    found = Learned(
        target=key[0],
        hypothesis_type=key[1],
        rung=key[2],
        verdicts=len(judged),
        better=better,
        worse=worse,
        inconclusive=len(judged) - better - worse,
        failed=len(kept) - len(judged),
        factor=used.factor(*key).value,
        first_at=min(p.at for p in kept),
        last_at=max(p.at for p in kept),
    )
    comparable = [p for p in kept if is_comparable(p)]
    return found.model_copy(update=_compared(comparable, seen.factor(*key))) if comparable else found


def _compared(kept: Sequence[Prediction], factor: Factor) -> dict[str, float | None]:
    predicted, expected, realised, low, high = (
        np.array([getattr(p, name) for p in kept], dtype=float)
        for name in ("predicted", "expected", "realised", "low", "high")
    )
    weights = np.array([p.weight for p in kept])
    weights = weights / weights.sum()
    mean = float(weights @ realised)
    bounds = (mean - (half := _half(realised, weights)), mean + half) if len(kept) > 1 else (low[0], high[0])
    return {
        "n": float(sum(p.weight for p in kept)),
        "predicted_pct": 100 * float(weights @ predicted),
        "realised_pct": 100 * mean,
        "realised_low_pct": 100 * float(bounds[0]),
        "realised_high_pct": min(100 * float(bounds[1]), 100.0),
        "ratio": factor.raw,
        "ratio_low": factor.raw_interval[0] if factor.raw_interval else None,
        "ratio_high": factor.raw_interval[1] if factor.raw_interval else None,
        "held": float(((low <= predicted) & (predicted <= high)).mean()),
        "off_pct": 100 * float(weights @ abs(predicted - realised)),
        "off_corrected_pct": 100 * float(weights @ abs(expected - realised)),
    }


def _half(values: np.ndarray, weights: np.ndarray) -> float:
    """Half of Student's 95 % interval of a weighted mean."""
    count = 1 / float(weights @ weights)  # Kish's effective number
    mean = float(weights @ values)
    variance = float(weights @ (values - mean) ** 2) * len(values) / (len(values) - 1)
    return float(stats.t.ppf(0.975, len(values) - 1)) * math.sqrt(variance / count)


def points(predictions: Iterable[Prediction], most: int) -> list[PredictionPoint]:
    """The newest verdicts that can be compared, oldest first."""
    kept = sorted((p for p in predictions if is_comparable(p)), key=lambda p: p.at)[-most:]
    return [
        PredictionPoint(
            target=p.target,
            hypothesis_type=p.action_type,
            rung=p.rung,
            at=p.at,
            outcome=str(p.outcome),
            **{
                f"{name}_pct": round(100 * float(getattr(p, name)), 2)
                for name in ("predicted", "expected", "realised", "low", "high")
            },
        )
        for p in kept
    ]


def curve(found: Sequence[PredictionPoint]) -> list[tuple[datetime, float, float]]:
    """Learning over time: (moment, mean distance as priced, as corrected) of the last verdicts, in per cent.

    A loss counts as twice the work at most: a mean of a disaster would show nothing else.
    """
    realised = [max(p.realised_pct, _WORST) for p in found]
    priced = [abs(p.predicted_pct - value) for p, value in zip(found, realised, strict=True)]
    corrected = [abs(p.expected_pct - value) for p, value in zip(found, realised, strict=True)]

    def rolling(values: Sequence[float], end: int) -> float:
        return float(np.mean(values[max(0, end + 1 - ROLLING) : end + 1]))

    return [(p.at, rolling(priced, n), rolling(corrected, n)) for n, p in enumerate(found)]
