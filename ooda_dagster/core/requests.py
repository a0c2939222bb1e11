"""Which rows of a table of inference requests count, and what may a page of them fill the ledger with?

The reasons are the same wherever rows are judged: here those that are scored singly, in SQL those that are summed.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from ooda_dagster.core.request_settings import Requests

NOBODY = "(none)"
OTHERS = "(others)"
#: Durations beyond ten years, and times beyond what a datetime tells, are no measurements.
LONGEST_MS = 3.2e11
LATEST_S = 2.5e11

#: Why a row does not count. In this order: a row has one reason.
TWICE = "the same id twice"
NO_TIME = "no time of the request"
FUTURE = "requested in the future"
NEGATIVE = "negative duration"
NO_DURATION = "no usable duration"
UNKNOWN = "unknown status"
REASONS = (TWICE, NO_TIME, FUTURE, NEGATIVE, NO_DURATION, UNKNOWN)
#: Of rows that are read again until they have one, or are too old.
PENDING = "no duration yet"
#: Rows that count, under a name of many.
FOLDED = "as (others), of too many models and operations (requests.max_groups)"

SUMS = ("n", "n_zero", "failed", "sum_ms", "sum_ms_sq", "sum_log_ms", "sum_log_ms_sq", "tokens")


def judged(found: pd.DataFrame, now: datetime, policy: Requests) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows that count, and how many do not, by reason."""
    if found.empty:
        return found.assign(failed=False), {}
    at = found["requested_s"].astype(float)
    ms = found["duration_ms"].astype(float)
    latest = (now + timedelta(seconds=policy.max_clock_skew_s)).timestamp()
    known = found["status"].isin([*policy.ok, *policy.failed])
    reasons = {
        TWICE: found["key"].duplicated() & found["key"].notna(),
        NO_TIME: ~np.isfinite(at) | (at.abs() > LATEST_S) | (at < 0),
        FUTURE: at > latest,
        NEGATIVE: ms < 0,
        NO_DURATION: ~np.isfinite(ms) | (ms > LONGEST_MS),
        UNKNOWN: ~known,
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
        model=good["model"].fillna(NOBODY),
        operation=good["operation"].fillna(NOBODY),
    )
    return _few_groups(good, policy.max_groups), rejected


def _few_groups(good: pd.DataFrame, most: int) -> pd.DataFrame:
    """The most frequent groups keep their names."""
    sizes = good.groupby(["model", "operation"]).size()
    if len(sizes) <= most:
        return good
    others = _rare(good, sizes, most)
    return good.assign(model=good["model"].mask(others, OTHERS), operation=good["operation"].mask(others, OTHERS))


def folded(sums: pd.DataFrame, most: int) -> tuple[pd.DataFrame, int]:
    """Sums per minute, model and operation with at most `most` groups named, and how many requests lost their name.

    A mapping of many values must not fill the ledger.
    """
    sizes = sums.groupby(["model", "operation"])["n"].sum()
    n = 0
    if len(sizes) > most:
        others = _rare(sums, sizes, most)
        n = int(sums["n"][others].sum())
        sums = sums.assign(model=sums["model"].mask(others, OTHERS), operation=sums["operation"].mask(others, OTHERS))
    # Texts that differed in bytes that are no text are the same now, too.
    if not sums.duplicated(["minute", "model", "operation"]).any():
        return sums, n
    whole = {**dict.fromkeys(SUMS, "sum"), "max_ms": "max"}
    return sums.groupby(["minute", "model", "operation"], as_index=False).agg(whole), n


def _rare(rows: pd.DataFrame, sizes: pd.Series, most: int) -> pd.Series:
    kept = pd.MultiIndex.from_frame(sizes.nlargest(most).index.to_frame(index=False))
    named = pd.MultiIndex.from_frame(rows[["model", "operation"]]).isin(kept)
    return pd.Series(~named, index=rows.index)
