"""Is a gain still there? After FBDetect's went-away check (Berg et al., SOSP 2024), turned to gains.

A verdict that stops at the first proof overstates what it found, so a smaller gain is no news. It is gone where the
whole interval leaves less than half of it, in log units, and no gain of its own is proven.
"""

from __future__ import annotations

import math
from enum import StrEnum

from ooda_dagster.core.verdict import Outcome, Verdict


class Later(StrEnum):
    """What a later look at a kept change says."""

    STILL_BETTER = "still better"
    GONE = "gone"
    WORSE = "worse"
    UNCLEAR = "unclear"  # neither proven there nor proven gone
    UNSEEN = "unseen"  # too little ran to tell


def later(claimed: float, verdict: Verdict) -> Later:
    """claimed: work per call after ÷ before, below 1, as the first verdict told it; verdict: of the newest blocks."""
    if verdict.interval is None:
        return Later.UNSEEN
    if verdict.revert or verdict.outcome == Outcome.WORSE:
        return Later.WORSE
    if verdict.outcome == Outcome.BETTER:
        return Later.STILL_BETTER
    if verdict.outcome != Outcome.INCONCLUSIVE:
        return Later.UNCLEAR  # nothing untouched ran beside it
    return Later.GONE if math.log(verdict.interval[0]) > math.log(claimed) / 2 else Later.UNCLEAR
