"""Plans as a target's log tells them, and where the reading of it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class LogPosition:
    """A byte of a log file; `head` is a hash of the file's beginning, as names of files come again."""

    file: str
    byte: int
    head: str


@dataclass(frozen=True)
class LoggedPlan:
    """An execution. plan: the top node of EXPLAIN (FORMAT JSON), with literals: not to be kept.

    text: of the statement; it holds literals, too.
    """

    logged_at: datetime
    duration_ms: float
    query_id: int | None
    text: str
    plan: dict[str, Any]


@dataclass(frozen=True)
class PlanLogPart:
    """What was read, until `position`. behind: bytes that are left; unreadable: entries that are no JSON."""

    position: LogPosition
    plans: list[LoggedPlan] = field(default_factory=list)
    behind: int = 0
    unreadable: int = 0
