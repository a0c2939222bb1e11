"""Settings of plans: how they are seen, how long they are kept, and when a statement has regressed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ooda_dagster.core.setting_types import Group, Positive, PositiveInt, Share


class Plans(Group):
    """Which plans of statements are looked at. Executed ones need observing level 3; the others are estimates."""

    enabled: bool = True
    max_log_mb: Positive = 32  # of the plan log, in one cycle
    max_explains: Annotated[int, Field(ge=0)] = 50  # in one cycle; 0: no estimates
    max_statements: PositiveInt = 200  # the heaviest, whose plans are estimated
    explain_timeout_s: Positive = 2
    explain_budget_s: Positive = 10  # of all of one cycle
    explain_again_h: Positive = 24  # where nothing that is known to change a plan did
    max_per_statement: PositiveInt = 20  # the newest
    keep_d: Positive = 35


class Regressions(Group):
    """When a statement became slower; see core/regressions.py."""

    enabled: bool = True
    lookback_h: Positive = 48
    look_s: PositiveInt = 300
    looks: Annotated[int, Field(ge=2, le=100)] = 3  # in a row
    min_executions: PositiveInt = 25  # on each side
    min_ratio: Annotated[float, Field(ge=1.1)] = 1.5  # of time per call, beyond what the rest became slower
    min_extra_s: Annotated[float, Field(ge=0)] = 10  # spent since, beyond what it cost before
    sigmas: Positive = 3  # of its looks before
    max_statements: PositiveInt = 50  # that are looked at closely in one cycle
    alarm: bool = True  # a statement that became slower, or a new and heavy one, starts a cycle early
    alarm_new_share: Share = 0.25  # of all time that a new one must take for that
    keep_d: Positive = 400
