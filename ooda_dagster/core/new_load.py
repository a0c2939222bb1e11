"""Did a statement that nobody called before come to cost much of the time?"""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

_MIN_CALLS = 3


def new_load(recent: pd.DataFrame, known: Collection[str], *, min_share: float, min_s: float) -> dict[str, float]:
    """Statements that are new, and have a share of all time: fingerprint → share, the heaviest first.

    recent: fingerprint, n (calls) and sum_ms of each statement. known: fingerprints that were called long before.
    min_s: seconds of execution time that such a statement must have taken besides.
    """
    total = float(recent["sum_ms"].sum())
    found = recent[
        ~recent["fingerprint"].isin(list(known))
        & (recent["n"] >= _MIN_CALLS)
        & (recent["sum_ms"] >= max(min_share * total, min_s * 1000))
    ].sort_values("sum_ms", ascending=False)
    return {str(f): float(ms) / total for f, ms in zip(found["fingerprint"], found["sum_ms"], strict=True)}
