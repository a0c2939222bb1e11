"""Settings of learning: what is remembered of predictions that came true or not, and how far it moves the next ones."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ooda_dagster.core.setting_types import Group, Positive, PositiveInt


class Learning(Group):
    """See core/calibration.py. Both windows slide: what leaves either of them counts no more."""

    feed_back: bool = True  # whether predictions are corrected before they become a priority
    window_d: Annotated[float, Field(gt=0, le=3650)] = 90
    window_count: PositiveInt = 50  # newest verdicts of a type, on a rung, of a target
    min_trust_ratio: Annotated[float, Field(gt=0, le=1)] = 0.25  # above 0, so that no type is ever shut out
    max_trust_ratio: Annotated[float, Field(ge=1, le=4)] = 1.5
    severe_regression_pct: Positive = 50  # more work, proven: from here on a regression is an error, below a warning

    def unbounded(self) -> Learning:
        """The same without windows."""
        return self.model_copy(update={"window_d": 36_500, "window_count": 1_000_000_000})
