"""Settings of inference requests: where they are read, what of them is odd, and what of past days may be read."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ooda_dagster.core.setting_types import Expression, Group, Positive, PositiveInt, Share


class History(Group):
    """Past days: how far they go back, and what may be read of a day that the ledger has nothing of.

    `requests.*` maps what is read.
    """

    start_day: date | None = None  # of the asset's partitions, the earliest of all targets; none: 400 days back
    requests: bool = False  # read `requests.table`, one query a day
    reads_per_minute: PositiveInt = 10  # over all days and processes
    timeout_s: Positive = 30
    parquet: str = ""  # files of requests: a path with * and **; needs ooda-dagster[lake]


class Requests(Group):
    """The target's table of inference requests, and what in it is worth an early cycle.

    `id` to `tenant` are SQL expressions over the columns of `table`; they run in the read-only session. Over the
    columns of Parquet files they run in DuckDB.
    """

    enabled: bool = True
    table: str = "inference_requests"  # or schema.table; without a schema, the first that we may read
    parquet: str = ""  # files instead of the table: a path with * and **; needs ooda-dagster[lake]
    id: Expression = "inference_id"
    requested_at: Expression = "request_timestamp"
    duration_ms: Expression = "total_duration_ms"
    status: Expression = "status"
    model: Expression = "model_id"
    operation: Expression = "task_type"
    tokens_in: Expression = "input_tokens"
    tokens_out: Expression = "output_tokens"
    tenant: Expression = "tenant_id"  # needed only where somebody asks for one tenant
    ok: tuple[str, ...] = ("completed", "succeeded", "success", "ok")
    failed: tuple[str, ...] = ("failed", "error", "timeout", "canceled", "cancelled")
    late_s: Positive = 3600  # so long after a row was first in reach it may be committed or completed
    max_rows: PositiveInt = 100_000  # of one read; a cycle goes on reading
    max_remembered: Annotated[int, Field(ge=1000)] = 100_000  # ranges of ids that were consumed within late_s
    max_groups: PositiveInt = 500  # of model and operation, in one read
    max_clock_skew_s: Annotated[float, Field(ge=0)] = 300
    keep_d: Positive = 35
    report_every_s: Positive = 60
    alarm_reference_h: Positive = 24
    alarm_fresh_s: Positive = 900
    alarm_min_n: PositiveInt = 30
    alarm_min_ms: Annotated[float, Field(ge=0)] = 100
    alarm_ratio: Annotated[float, Field(ge=1)] = 5
    alarm_sigmas: Positive = 6
    alarm_requests: PositiveInt = 3  # of a group, in one read, that are so slow
    alarm_group_ratio: Annotated[float, Field(ge=1)] = 1.2  # of a group that became slower (detect.group_*)
    alarm_failures: PositiveInt = 5
    alarm_failure_ratio: Annotated[float, Field(ge=1)] = 3
    alarm_floor_s: Annotated[float, Field(ge=0)] = 300
    asked_floor_s: Annotated[float, Field(ge=0)] = 60

    @field_validator("ok", "failed")
    @classmethod
    def _lower(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(word.lower() for word in value)

    def expression(self, name: str) -> str:
        """The SQL of `id` to `tenant` in brackets; on a line of its own, as it may end with a comment."""
        return f"({getattr(self, name)}\n)"


class Detect(Group):
    """Which inference requests are odd; see core/detect.py. Thresholds of policy `fixed` are the document's."""

    enabled: bool = True
    policy: Literal["calibrated", "fixed"] = "calibrated"
    false_discovery_share: Annotated[float, Field(gt=0, le=0.5)] = 0.12  # of what is flagged, that may be ordinary
    min_ratio: Annotated[float, Field(ge=1)] = 1.5  # of what is flagged to what is usual, or the reverse
    trust_ratio: Annotated[float, Field(ge=1, le=100)] = 1.5  # times the tail's shape that the reference is believed
    trim_share: Annotated[float, Field(ge=0, le=0.1)] = 0.01  # most of the reference that is left out
    tolerated_share: Annotated[float, Field(ge=0, le=0.1)] = (
        0.001  # heavier than that by so much, p-values are not trimmed
    )
    gate_share: Annotated[float, Field(gt=0, le=1)] = 0.01  # share of the rows that get the two dearer scores
    uniform_rows: Annotated[int, Field(ge=0, le=100_000)] = 2_000  # and a sample of all rows
    score_all_rows: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000  # or all, where they are no more
    fit_rows: Annotated[int, Field(ge=100, le=1_000_000)] = (
        60_000  # of the reference that what is usual is learned from
    )
    held_out_rows: Annotated[int, Field(ge=100, le=1_000_000)] = 200_000  # and that ranks are taken among
    sample_rows: Annotated[int, Field(ge=100, le=100_000)] = 10_000  # of the forest and the neighbours
    method: Literal["either", "both"] = "either"  # fixed: which scores must pass their threshold
    if_threshold: Share = 0.7
    lof_threshold: Annotated[float, Field(ge=1)] = 1.5
    neighbours: Annotated[int, Field(ge=1, le=200)] = 20
    trees: Annotated[int, Field(ge=1, le=1000)] = 100
    tree_rows: Annotated[int, Field(ge=2)] = 256
    min_rows: Annotated[int, Field(ge=10)] = 50  # of a model and operation; else of an operation
    max_rows: Annotated[int, Field(ge=10, le=200_000)] = 10_000  # the newest
    reference_d: Annotated[float, Field(gt=0, le=35)] = 7  # days before those, that a sample is compared with
    reference_rows: Annotated[int, Field(ge=0, le=200_000)] = 20_000  # of that sample; 0: only among themselves
    groups: bool = True  # whether whole groups are watched, too
    group_min_ratio: Annotated[float, Field(ge=1)] = 1.15
    group_persist_min: Positive = 15
    group_block_min: Annotated[float, Field(ge=1, le=60)] = 5
    group_watch_h: Annotated[float, Field(ge=0.5, le=48)] = 6  # a change may have begun so long ago
    group_past_h: Annotated[float, Field(ge=2, le=840)] = 72  # and the past before that
    group_false_alarm_d: Positive = 30  # days between false alarms, over all groups
