"""Did it help? Better, worse, inconclusive or unattributed - with a ratio, an interval and the evidence.

Difference-in-differences over rollups. For each statement, work per call before the action is its expectation. In each
block of time, a group's log ratio is ln(observed ms / expected ms at that block's calls): a change in the mix of calls
moves both sides and cancels (indirect standardisation). The series d = treated − control takes out what all statements
share: load, a noisy neighbour, the hour. The effect is the trimmed mean of d after, less that of d before: a stall of
the machine spoils a block or two, and they must not decide.

The error comes from the spread of the series itself, never from the number of calls: calls in one block share a load
level. Yuen's interval for trimmed means (Biometrika 61, 1974: winsorised variances, Welch-Satterthwaite degrees of
freedom) is widened by (1+ρ)/(1−ρ) for the series' own correlation (ρ: lag 1, within the winsorised baseline), and every
look uses the same bound of `sigmas` (3.3 by default: two-sided 0.1 % for one look) to pay for looking more than once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ooda_dagster.core.settings import Verifying

_MIN_SD = 0.01  # 1 %: a series that seems quieter has too few blocks to know
_MAX_RHO = 0.8
_TRIM = 0.2  # of the blocks, at each end
DEFAULT_POLICY = Verifying()


class Outcome(StrEnum):
    """What a verdict says."""

    BETTER = "better"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"
    UNATTRIBUTED = "unattributed"  # it changed, but nothing untouched ran beside it


class OutcomeClass(StrEnum):
    """The seed document's classes, derived from the verdict."""

    HIGH_SUCCESS = "HighSuccess"
    SUCCESS = "Success"
    REGRESSED = "Regressed"
    FAILED = "Failed"
    NEUTRAL = "Neutral"


@dataclass(frozen=True)
class Verdict:
    """Outcome of one look. `ratio` is work per call after ÷ before (0.4: 60 % less); `interval` its bounds."""

    outcome: Outcome
    ratio: float | None
    interval: tuple[float, float] | None
    reason: str
    n: dict[str, int] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def effect_pct(self) -> float | None:
        """Change in work per call, in per cent; negative is faster."""
        return None if self.ratio is None else (self.ratio - 1) * 100


def classify(verdict: Verdict | None, policy: Verifying) -> OutcomeClass:
    """The document's class. None stands for an action that failed."""
    if verdict is None:
        return OutcomeClass.FAILED
    if verdict.outcome == Outcome.BETTER and verdict.ratio is not None:
        return OutcomeClass.HIGH_SUCCESS if verdict.ratio < policy.high_success_ratio else OutcomeClass.SUCCESS
    return OutcomeClass.REGRESSED if verdict.outcome == Outcome.WORSE else OutcomeClass.NEUTRAL


def judge(
    rollup: pd.DataFrame,
    *,
    acted_at: datetime,
    treated: Collection[str],
    now: datetime,
    control: Collection[str] | None = None,
    excluded: Sequence[tuple[datetime, datetime]] = (),
    acted_until: datetime | None = None,
    policy: Verifying = DEFAULT_POLICY,
) -> Verdict:
    """Judge an action by the work per call of the statements it touches.

    rollup: columns `minute` (aware start of the bucket), `fingerprint`, `n`, `sum_ms`, and optionally `span_s` (length
        of the bucket in seconds, else 60). Other columns are ignored.
    acted_at, acted_until: when the deed began and ended; buckets that overlap it are left out.
    treated: fingerprints that the action can reach; control: those it cannot (None: all others).
    excluded: times to leave out, such as gaps and other actions' builds.

    Statements that were not called before the action have no expectation and are left out of both sides.
    """
    ended = acted_until or acted_at
    treated = set(treated)
    frame = _usable(rollup, acted_at, ended, now, excluded, policy)
    if control is not None:
        frame = frame[frame["fingerprint"].isin(treated | set(control))]
    is_treated = frame["fingerprint"].isin(treated)

    counts = _counts(frame, is_treated)
    sides = {name: _log_ratios(frame[mask], policy) for name, mask in (("t", is_treated), ("c", ~is_treated))}
    has_control = len(sides["c"]) > 0 and {"before", "after"} <= set(sides["c"]["side"])
    series = _difference(sides["t"], sides["c"]) if has_control else sides["t"]
    before = series.loc[series["side"] == "before", "d"].to_numpy()
    after = series.loc[series["side"] == "after", "d"].to_numpy()
    evidence: dict[str, Any] = {
        "method": "difference-in-differences" if has_control else "before-after without control",
        "blocks_before": len(before),
        "blocks_after": len(after),
        "block_s": policy.block_s,
        "sigmas": policy.sigmas,
        "control_statements": int(frame.loc[~is_treated, "fingerprint"].nunique()),
        "treated_statements": int(frame.loc[is_treated, "fingerprint"].nunique()),
    }

    missing = _missing(before, after, counts, policy)
    if missing:
        return Verdict(Outcome.INCONCLUSIVE, None, None, missing, counts, evidence)

    effect, half_width, detail = _interval(before, after, policy)
    evidence |= detail
    ratio = float(np.exp(effect))
    interval = (float(np.exp(effect - half_width)), float(np.exp(effect + half_width)))
    evidence["saved_ms_per_hour"] = _saved(frame[is_treated], ratio, policy)
    outcome, reason = _outcome(interval, has_control, frame[is_treated], acted_at, policy)
    return Verdict(outcome, ratio, interval, reason, counts, evidence)


def _usable(
    rollup: pd.DataFrame,
    acted_at: datetime,
    ended: datetime,
    now: datetime,
    excluded: Sequence[tuple[datetime, datetime]],
    policy: Verifying,
) -> pd.DataFrame:
    """Rows of the baseline and of the time after the action, labelled with side and block; expectations added."""
    frame = rollup.loc[rollup["n"] > 0].copy()
    start = pd.to_datetime(frame["minute"], utc=True)
    spans = frame["span_s"] if "span_s" in frame else pd.Series(60.0, index=frame.index)
    end = start + pd.to_timedelta(spans.astype(float), unit="s")
    settled = ended + timedelta(seconds=policy.settle_s)
    side = pd.Series("", index=frame.index)
    side[(end <= acted_at) & (start >= acted_at - timedelta(hours=policy.baseline_h))] = "before"
    side[(start >= settled) & (end <= now)] = "after"
    for since, until in excluded:
        side[(start < until) & (end > since)] = ""
    # Blocks are counted outwards from the action, so that a partial one is the farthest from it or the newest.
    middle = start + (end - start) / 2
    offset = np.where(side == "before", (middle - acted_at).dt.total_seconds(), (middle - settled).dt.total_seconds())
    block = np.floor(offset / policy.block_s).astype(int)
    filling = (side == "after") & ((block + 1) * policy.block_s > (now - settled).total_seconds())
    frame["side"], frame["block"] = side, block
    frame = frame[(side != "") & ~filling]
    base = frame[frame["side"] == "before"].groupby("fingerprint")[["n", "sum_ms"]].sum()
    per_call = base["sum_ms"] / base["n"]
    frame["expected_ms"] = frame["n"] * frame["fingerprint"].map(per_call)
    return frame[frame["expected_ms"] > 0]


def _counts(frame: pd.DataFrame, is_treated: pd.Series) -> dict[str, int]:
    before = frame["side"] == "before"
    return {
        "calls_before": int(frame.loc[is_treated & before, "n"].sum()),
        "calls_after": int(frame.loc[is_treated & ~before, "n"].sum()),
        "control_calls_before": int(frame.loc[~is_treated & before, "n"].sum()),
        "control_calls_after": int(frame.loc[~is_treated & ~before, "n"].sum()),
    }


def _log_ratios(frame: pd.DataFrame, policy: Verifying) -> pd.DataFrame:
    """Per block: side, d = ln(observed / expected)."""
    blocks = frame.groupby(["side", "block"], as_index=False)[["sum_ms", "expected_ms"]].sum()
    blocks = blocks[blocks["sum_ms"] > 0]
    blocks["d"] = np.log(blocks["sum_ms"] / blocks["expected_ms"])
    return blocks.sort_values(["side", "block"])


def _difference(treated: pd.DataFrame, control: pd.DataFrame) -> pd.DataFrame:
    both = treated.merge(control, on=["side", "block"], suffixes=("", "_control"))
    both["d"] -= both["d_control"]
    return both.sort_values(["side", "block"])


def _missing(before: np.ndarray, after: np.ndarray, counts: dict[str, int], policy: Verifying) -> str:
    """What is missing for a verdict, or nothing."""
    if counts["calls_before"] < policy.min_calls:
        return f"only {counts['calls_before']} calls before the action; {policy.min_calls} are needed"
    if len(before) < policy.min_blocks_before:
        return f"only {_blocks(before)} before the action; {policy.min_blocks_before} are needed"
    if counts["calls_after"] < policy.min_calls:
        return f"only {counts['calls_after']} calls since the action; {policy.min_calls} are needed"
    if len(after) < policy.min_blocks_after:
        return f"only {_blocks(after)} since the action; {policy.min_blocks_after} are needed"
    return ""


def _blocks(side: np.ndarray) -> str:
    return f"{len(side)} block{'' if len(side) == 1 else 's'}"


def _interval(before: np.ndarray, after: np.ndarray, policy: Verifying) -> tuple[float, float, dict[str, Any]]:
    """Effect in log units, half the width of its interval, and what they were computed from."""
    calm = _winsorised(before)
    residual = calm - calm.mean()
    spread = float(residual @ residual)
    rho = float(np.clip(residual[1:] @ residual[:-1] / spread, 0, _MAX_RHO)) if spread > 0 else 0.0
    widen = (1 + rho) / (1 - rho)
    var_before = max(float(calm.var(ddof=1)), _MIN_SD**2)
    # A few blocks can agree by chance: the time after is never taken to be quieter than the baseline.
    var_after = max(float(_winsorised(after).var(ddof=1)), var_before)
    parts = [_error(var, len(side), widen) for var, side in ((var_before, before), (var_after, after))]
    total = sum(error for error, _ in parts)
    df = total**2 / sum(error**2 / freedom for error, freedom in parts)
    quantile = float(stats.t.isf(stats.norm.sf(policy.sigmas), df))
    effect = float(stats.trim_mean(after, _TRIM) - stats.trim_mean(before, _TRIM))
    detail = {
        "effect_log": effect,
        "standard_error": float(np.sqrt(total)),
        "degrees_of_freedom": float(df),
        "rho": rho,
        "quantile": quantile,
    }
    return effect, quantile * float(np.sqrt(total)), detail


def _saved(treated: pd.DataFrame, ratio: float, policy: Verifying) -> float:
    """ms per hour that the action saves: what its calls since would have taken before, times the share that is gone."""
    since = treated[treated["side"] == "after"]
    hours = since["block"].nunique() * policy.block_s / 3600
    return float(since["expected_ms"].sum()) * (1 - ratio) / hours


def _winsorised(values: np.ndarray) -> np.ndarray:
    """The values with the share _TRIM at each end pulled in to the nearest that stays."""
    cut = int(_TRIM * len(values))
    ordered = np.sort(values)
    return np.clip(values, ordered[cut], ordered[len(values) - 1 - cut])


def _error(variance: float, n: int, widen: float) -> tuple[float, float]:
    """Squared standard error of a trimmed mean of n values, and its degrees of freedom."""
    kept = n - 2 * int(_TRIM * n)
    return widen * variance * (n - 1) / (kept * (kept - 1)), kept - 1.0


def _outcome(
    interval: tuple[float, float], has_control: bool, frame: pd.DataFrame, acted_at: datetime, policy: Verifying
) -> tuple[Outcome, str]:
    low, high = interval
    if low <= 1 <= high:
        return Outcome.INCONCLUSIVE, "no difference shown: the interval holds 1"
    if not has_control:
        return Outcome.UNATTRIBUTED, "it changed, but no untouched statement ran beside it to compare with"
    if low > 1:
        return Outcome.WORSE, "work per call rose, and the whole interval is above 1"
    first = pd.to_datetime(frame.loc[frame["side"] == "before", "minute"], utc=True).min()
    baseline_h = (pd.Timestamp(acted_at) - first).total_seconds() / 3600
    if baseline_h < policy.min_baseline_h:
        return (
            Outcome.INCONCLUSIVE,
            f"better, but from a baseline of {baseline_h:.1f} h; {policy.min_baseline_h:g} h are needed to claim it",
        )
    return Outcome.BETTER, "work per call fell, and the whole interval is below 1"
