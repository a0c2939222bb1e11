"""Which rows of a table of inference requests count, and what do they come to per minute?"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from ooda_dagster.core.request_settings import Requests

_NOBODY = "(none)"
_OTHERS = "(others)"
#: Durations beyond ten years, and times beyond what a datetime tells, are no measurements.
_LONGEST_MS = 3.2e11
_LATEST_S = 2.5e11


def judged(found: pd.DataFrame, now: datetime, policy: Requests) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows that count, and how many do not, by reason."""
    if found.empty:
        return found.assign(failed=False), {}
    at = found["requested_s"].astype(float)
    ms = found["duration_ms"].astype(float)
    latest = (now + timedelta(seconds=policy.max_clock_skew_s)).timestamp()
    known = found["status"].isin([*policy.ok, *policy.failed])
    # In this order: a row has one reason.
    reasons = {
        "the same id twice": found["key"].duplicated(),
        "no time of the request": ~np.isfinite(at) | (at.abs() > _LATEST_S) | (at < 0),
        "requested in the future": at > latest,
        "negative duration": ms < 0,
        "no usable duration": ~np.isfinite(ms) | (ms > _LONGEST_MS),
        "unknown status": ~known,
    }
    open_ = pd.Series(True, index=found.index)
    rejected = {}
    for reason, mask in reasons.items():
        hit = open_ & mask.fillna(True)
        if hit.any():
            rejected[reason] = int(hit.sum())
        open_ &= ~hit
    good = found[open_].assign(duration_ms=ms[open_], requested_s=at[open_])
    tokens = good["tokens"].astype(float)
    good = good.assign(
        failed=good["status"].isin(policy.failed),
        tokens=tokens.where(np.isfinite(tokens) & (tokens >= 0), 0.0),
        model=good["model"].fillna(_NOBODY),
        operation=good["operation"].fillna(_NOBODY),
    )
    return _few_groups(good, policy.max_groups), rejected


def _few_groups(good: pd.DataFrame, most: int) -> pd.DataFrame:
    """The most frequent groups; a mapping of many values must not fill the ledger."""
    sizes = good.groupby(["model", "operation"]).size()
    if len(sizes) <= most:
        return good
    kept = set(sizes.nlargest(most).index)
    others = np.array([pair not in kept for pair in zip(good["model"], good["operation"], strict=True)])
    return good.assign(model=good["model"].mask(others, _OTHERS), operation=good["operation"].mask(others, _OTHERS))


def rolled_up(good: pd.DataFrame) -> pd.DataFrame:
    """Sums per minute, model and operation; logs are over durations above zero."""
    if good.empty:
        return pd.DataFrame()
    ms = good["duration_ms"]
    log = np.log(ms.where(ms > 0, 1.0))
    minutes = pd.to_datetime((good["requested_s"] // 60 * 60), unit="s", utc=True)
    frame = pd.DataFrame(
        {
            "minute": minutes,
            "model": good["model"],
            "operation": good["operation"],
            "n": 1,
            "n_zero": (ms == 0).astype(int),
            "failed": good["failed"].astype(int),
            "sum_ms": ms,
            "sum_ms_sq": ms**2,
            "sum_log_ms": log,
            "sum_log_ms_sq": log**2,
            "max_ms": ms,
            "tokens": good["tokens"],
        }
    )
    sums = {c: "max" if c == "max_ms" else "sum" for c in frame.columns[3:]}
    return frame.groupby(["minute", "model", "operation"], as_index=False).agg(sums)
