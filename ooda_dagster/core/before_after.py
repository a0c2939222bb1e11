"""Before and after by statement, for people: work per call on both sides, and its change, each with an interval.

A side's work per call is a ratio of sums over blocks, Σ ms / Σ calls, and blocks, not calls, are what is counted as
independent: calls of one block share a load level. Its variance is the ratio estimator's (Cochran, Sampling Techniques,
3rd ed., 1977, section 6.4), told on the logarithm, with Student's t. No control, no drift: the verdict is not this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

_LEVEL = 0.95


def before_after(kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a statement of a question as `core.question` keeps it, the touched first, those with most work first.

    Each of before, after: n calls, ms_per_call, its 95 % interval (None below two blocks), blocks. change: ratio and
    interval of ms per call, after ÷ before; None where one side was not called.
    """
    acted = np.datetime64(_utc(kept["acted_from"]))
    past = np.array([np.datetime64(_utc(start)) < acted for start in kept["block_start"]], bool)
    rows = [_row(statement, past) for statement in kept["statements"]]
    return sorted(rows, key=lambda r: (r["side"] != "touched", -r["before"]["n"] * (r["before"]["ms_per_call"] or 0)))


def _row(statement: Mapping[str, Any], past: np.ndarray) -> dict[str, Any]:
    n = np.array(statement["n"], float)
    work = np.array([value or 0.0 for value in statement["sum_ms"]], float)
    before, after = (_side(n[chosen], work[chosen]) for chosen in (past, ~past))
    return {
        "fingerprint": statement["fingerprint"],
        "side": statement["side"],
        "before": _told(before),
        "after": _told(after),
        "change": _change(before, after),
    }


def _side(n: np.ndarray, work: np.ndarray) -> tuple[float, float, float, int]:
    """Calls, ms per call (NaN: none), relative standard error (NaN: unknown), blocks."""
    n, work = n[n > 0], work[n > 0]
    calls, blocks = float(n.sum()), len(n)
    if not calls or not work.sum():
        return calls, math.nan, math.nan, blocks
    ratio = float(work.sum()) / calls
    if blocks < 2:
        return calls, ratio, math.nan, blocks
    variance = blocks / (blocks - 1) * float(((work - ratio * n) ** 2).sum()) / calls**2
    return calls, ratio, math.sqrt(variance) / ratio, blocks


def _told(side: tuple[float, float, float, int]) -> dict[str, Any]:
    calls, ratio, error, blocks = side
    interval = _interval(ratio, error, blocks - 1)
    return {"n": int(calls), "ms_per_call": _known(ratio), "interval": interval, "blocks": blocks}


def _change(before: tuple[float, float, float, int], after: tuple[float, float, float, int]) -> dict[str, Any] | None:
    if not (before[1] > 0 and after[1] > 0):
        return None
    ratio, parts = after[1] / before[1], [(side[2] ** 2, side[3] - 1) for side in (before, after)]
    variance = sum(v for v, _ in parts)
    # Welch and Satterthwaite's degrees of freedom.
    freedom = variance**2 / sum(v**2 / f for v, f in parts) if variance > 0 and all(f > 0 for _, f in parts) else 0.0
    return {"ratio": ratio, "interval": _interval(ratio, math.sqrt(variance), freedom)}


def _interval(ratio: float, error: float, freedom: float) -> Sequence[float] | None:
    if not (freedom > 0 and math.isfinite(error)):
        return None
    reach = min(float(stats.t.ppf((1 + _LEVEL) / 2, freedom)) * error, 50.0)
    return [ratio * math.exp(-reach), ratio * math.exp(reach)]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _utc(text: str) -> str:
    """A UTC time as numpy reads it."""
    return text.removesuffix("+00:00").removesuffix("Z")
