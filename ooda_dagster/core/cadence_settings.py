"""Settings of the cadence: how long the loop waits after each kind of cycle."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ooda_dagster.core.setting_types import Group, PositiveInt, Share


class Cadence(Group):
    """Minutes until the next cycle. The first four, and the bound of a high gain, are the seed document's."""

    high_gain_minutes: PositiveInt = 5
    gain_minutes: PositiveInt = 15
    neutral_minutes: PositiveInt = 30
    regressed_minutes: PositiveInt = 60
    failed_minutes: PositiveInt = 60
    high_gain_share: Share = 0.20  # of work per call that was saved: more than that is a high gain
    neutral_cycles: PositiveInt = 3  # in a row: from then on the delay doubles with each
    neutral_most_minutes: PositiveInt = 4 * 60
    regressed_cycles: PositiveInt = 2  # the same of cycles that regressed or failed
    regressed_most_minutes: PositiveInt = 24 * 60
    ease_ratio: Annotated[float, Field(ge=1)] = 4  # a delay that had grown falls by no more than this, a cycle
    jitter_share: Annotated[float, Field(ge=0, le=0.5)] = 0.1  # of the delay, to either side
