"""Every number that the loop decides by, with its unit in its name.

Two profiles differ in their windows only: `production`, and `short`, whose windows are seconds where production's are
minutes, so that a demonstration closes verdicts in a minute. Short windows carry no production error rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, field_validator

from ooda_dagster.core.cadence_settings import Cadence
from ooda_dagster.core.concept_settings import Concepts
from ooda_dagster.core.evidence_settings import EvidenceFiles
from ooda_dagster.core.learning_settings import Learning
from ooda_dagster.core.patterns import parse_pattern
from ooda_dagster.core.plan_settings import Plans, Regressions
from ooda_dagster.core.request_settings import Detect, History, Requests
from ooda_dagster.core.setting_types import Group, Positive, PositiveInt, Share
from ooda_dagster.core.windows import parse_window


class Mode(StrEnum):
    """What the loop may do to a target; one word in the configuration and in every output."""

    OBSERVE = "observe"  # look
    PROPOSE = "propose"  # look, and say what would help
    APPROVE = "approve"  # act on what a person approved
    AUTO = "auto"  # act on what policy finds safe

    @property
    def acts(self) -> bool:
        return self in (Mode.APPROVE, Mode.AUTO)


class Sampling(Group):
    """How statement statistics become rollups."""

    bucket_s: PositiveInt = 60
    keep_minutes_h: Positive = 24
    keep_blocks_d: Positive = 8
    keep_hours_d: Positive = 400
    max_statements: PositiveInt = 5000
    keep_literals_d: Annotated[float, Field(ge=0)] = 7  # sampled texts, for EXPLAIN; 0: none are kept
    tick_budget_s: Positive = 20


class Advice(Group):
    """Which statements are worth advice, and how far the search goes."""

    lookback_hours: Positive = 24
    max_statements: PositiveInt = 200
    max_width: Annotated[int, Field(ge=1, le=8)] = 3
    min_statement_total_ms: float = 10_000  # over the lookback: below it nothing can be worth an index
    min_saving_share: Share = 0.01  # of the target's statement time, net of writes
    min_statement_gain: Share = 0.2  # on at least one statement that the index serves
    max_candidates: PositiveInt = 400
    time_budget_s: Positive = 60
    index_budget: str = "25%"  # of the heaps' bytes, or a size: 200MB

    @field_validator("index_budget")
    @classmethod
    def _parses(cls, value: str) -> str:
        parse_budget(value, 0)
        return value


class Acting(Group):
    """What may act, how much at once, and how long a statement of ours may wait or run."""

    enabled: bool = True  # the switch: false begins nothing new, and verifying goes on
    windows: tuple[str, ...] = ()  # see core/windows.py; none: always
    approve_threshold: Annotated[int, Field(ge=1, le=5)] = 3
    max_actions_per_cycle: PositiveInt = 3
    max_open_change_sets: PositiveInt = 2
    max_actions_per_hour: PositiveInt = 6
    max_actions_per_day: PositiveInt = 20
    max_indexes_per_table: PositiveInt = 16
    table_index_budget: str = "200%"  # bytes of our indexes on one table: a share of its heap, or a size
    warm_up_h: Annotated[float, Field(ge=0)] = 24
    failure_memory_h: Annotated[float, Field(ge=0, le=1_000_000)] = 168
    max_type_failures: PositiveInt = 3  # within type_memory_h: then policy approves no more of that type
    type_memory_h: Positive = 24
    approval_expires_h: Positive = 168
    protected: tuple[str, ...] = ()  # patterns with * and ?: schema.table, or table in any schema
    deny: tuple[str, ...] = ()  # see core/patterns.py; wins over allow
    allow: tuple[str, ...] = ()  # none of a kind: all of it
    max_disk_share: Share = 0.90
    unknown_disk_max_share: Share = 0.10  # of the database's size, where the free space cannot be seen
    max_active_sessions: PositiveInt = 64
    max_transaction_age_s: Positive = 30
    wait_for_transactions_s: Annotated[float, Field(ge=0)] = 20
    wait_for_others_s: Annotated[float, Field(ge=0)] = 60  # builds, DDL, vacuum, standbys
    max_standby_lag_mb: Positive = 1024
    max_standby_lag_s: Positive = 60
    max_slot_retained_mb: Positive = 10_240  # of WAL, by a slot that nobody reads
    lock_timeout_s: Positive = 60
    brief_lock_s: Annotated[float, Field(gt=0, le=10)] = 0.5  # of statements behind which others would queue
    lock_tries: PositiveInt = 3
    lock_retry_pause_s: Annotated[float, Field(ge=0)] = 60
    lock_budget_s: Positive = 900  # no try begins later
    build_timeout_s: Positive = 4 * 3600
    on_inconclusive: Annotated[str, Field(pattern="^(cost|keep|revert)$")] = "cost"  # see core/keeping.py
    cheap_mb: Annotated[float, Field(ge=0)] = 100
    cheap_write_ms_per_hour: Annotated[float, Field(ge=0)] = 3600  # a thousandth of a core

    @field_validator("table_index_budget")
    @classmethod
    def _is_a_budget(cls, value: str) -> str:
        parse_budget(value, 0)
        return value

    @field_validator("windows")
    @classmethod
    def _are_windows(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_window(text)
        return value

    @field_validator("deny", "allow")
    @classmethod
    def _are_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_pattern(text)
        return value


class Statistics(Group):
    """When the planner's statistics are renewed or extended, and how much of a table may be read to find out."""

    analyze: bool = True  # before PostgreSQL 18, ANALYZE has no undo: its own switch
    max_undo_mb: Annotated[float, Field(ge=0, le=64)] = 4  # of statistics that are held to undo one ANALYZE; 0: none
    extended: bool = True
    targets: bool = True
    stale_rows: PositiveInt = 1000
    stale_share: Share = 0.2  # of the rows, beside stale_rows
    stale_s: Positive = 900  # so long autovacuum is waited for
    min_estimate_ratio: Annotated[float, Field(ge=2)] = 10  # rows returned by rows that the planner expects
    min_estimate_rows: PositiveInt = 100  # fewer returned rows are no reason
    min_sample_ratio: Annotated[float, Field(ge=1.5)] = 3  # that a sample of the table must show as the cause
    sample_rows: PositiveInt = 20_000
    sample_pages: PositiveInt = 5_000
    sample_timeout_s: Positive = 5
    max_samples: PositiveInt = 5  # of tables, in one cycle
    sample_again_h: Annotated[float, Field(ge=0, le=1000)] = 24  # so long the counts of a sample are used
    assumed_gain: Share = 0.2  # of the time of the statements: what a right estimate saves cannot be priced


class Verifying(Group):
    """How a verdict is reached. An e-value of 100 is reached by 1 % of actions without effect; see core/evalue.py."""

    block_s: PositiveInt = 300
    baseline_h: Positive = 72
    min_baseline_h: Annotated[float, Field(ge=0)] = 24
    min_blocks_before: Annotated[int, Field(ge=3)] = 6
    min_blocks_after: Annotated[int, Field(ge=2)] = 3
    min_calls: PositiveInt = 25
    decide_e: Annotated[float, Field(ge=10, le=1_000_000)] = 100
    revert_e: Annotated[float, Field(ge=5, le=1_000_000)] = 20  # enough to undo what probably hurts
    look_every_s: PositiveInt = 300
    settle_s: Annotated[float, Field(ge=0)] = 0
    deadline_s: Positive = 2 * 3600
    low_traffic_deadline_s: Positive = 24 * 3600
    low_traffic_calls_per_minute: Positive = 50
    high_success_ratio: Share = 0.90
    second_look_h: Annotated[float, Field(ge=0, le=24 * 30)] = 24  # after a gain was kept: did it go away? 0: never
    audit_every_h: Annotated[float, Field(ge=0, le=1_000_000)] = 24  # placebos in the target's own history; 0: never
    audit_placebos: Annotated[int, Field(ge=20)] = 300
    audit_cpu_s: Positive = 20
    audit_statements: Annotated[int, Field(ge=4)] = 200  # those with the most calls


class Messaging(Group):
    """How often a message is tried, how long the conversation of a cycle may last, and how long it is kept."""

    max_attempts: PositiveInt = 5
    retry_s: Positive = 5  # before the second attempt of a run
    resume_s: Positive = 300  # before another run takes a broken cycle on; doubled each time
    lifetime_h: Positive = 2
    keep_d: Positive = 90


class Settings(Group):
    """The settings of one target."""

    profile: str = "production"
    mode: Mode = Mode.PROPOSE
    sampling: Sampling = Sampling()
    advice: Advice = Advice()
    acting: Acting = Acting()
    statistics: Statistics = Statistics()
    verifying: Verifying = Verifying()
    learning: Learning = Learning()
    evidence: EvidenceFiles = EvidenceFiles()
    cadence: Cadence = Cadence()
    messages: Messaging = Messaging()
    history: History = History()
    requests: Requests = Requests()
    detect: Detect = Detect()
    plans: Plans = Plans()
    regressions: Regressions = Regressions()
    concepts: Concepts = Concepts()


#: What a profile changes, as keys of the configuration.
PROFILES: dict[str, dict[str, dict[str, object]]] = {
    "production": {},
    "short": {
        "sampling": {"bucket_s": 2},
        "advice": {"lookback_hours": 1, "min_statement_total_ms": 200},
        "statistics": {"stale_s": 5},
        "acting": {
            "warm_up_h": 0,
            "max_transaction_age_s": 5,
            "wait_for_transactions_s": 5,
            "wait_for_others_s": 5,
            "lock_timeout_s": 10,
            "lock_retry_pause_s": 1,
            "lock_budget_s": 45,
        },
        "verifying": {
            "block_s": 3,
            "baseline_h": 1,
            "min_baseline_h": 20 / 3600,
            "min_blocks_before": 6,
            "min_blocks_after": 4,
            "look_every_s": 6,
            "settle_s": 2,
            "deadline_s": 80,
            "low_traffic_deadline_s": 100,
            "second_look_h": 0.25,
            "audit_every_h": 0,
        },
        "messages": {"retry_s": 1, "resume_s": 60},
        "regressions": {"lookback_h": 1, "look_s": 3, "min_extra_s": 0.2},
    },
}

PROFILE_REMARK = {
    "production": "",
    "short": "Windows are seconds instead of minutes: these verdicts carry no production error rate.",
}

_UNITS = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings, the second over the first."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def with_profile(name: str, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Settings of a profile of PROFILES, with `overrides` over it. Raises pydantic's ValidationError."""
    return Settings.model_validate({**merge(PROFILES[name], overrides or {}), "profile": name})


def parse_budget(text: str, heap_bytes: int) -> int:
    """Bytes of an index budget: `25%` of `heap_bytes`, or a size such as `200MB` (powers of 1024).

    Raises ValueError with the accepted forms.
    """
    value = text.strip().upper()
    number = value.rstrip("%KMGTB ")
    unit = value[len(number) :].strip()
    try:
        amount = float(number)
        if not 0 <= amount < math.inf:
            raise ValueError
        return int(heap_bytes * amount / 100) if unit == "%" else int(amount * _UNITS[unit])
    except (KeyError, ValueError):
        raise ValueError(f"budget {text!r} is neither a share (25%) nor a size (200MB, 2GB)") from None
