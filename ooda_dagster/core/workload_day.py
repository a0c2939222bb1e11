"""What did a target do on a past day, and what got slower?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple, TypedDict

NO_DATA = "no data"
#: A statement is told as slower from this ratio of its mean times on.
_SLOWER = 1.5
_MOST_SLOWER = 20


class Work(NamedTuple):
    """Of one statement on one day."""

    calls: int
    total_ms: float


class Proposed(TypedDict):
    """What the loop would have proposed; times are of the whole day, `saves_s_per_hour` and `share` net of writes."""

    identity: str
    what: str
    state: str
    rule: str
    remedy: str
    priority: int
    saved_ms: float
    write_ms: float
    saves_s_per_hour: float
    share: float
    bytes: int
    found_at: str
    writes: str


@dataclass(frozen=True)
class WorkloadDay:
    """One target on one day. None: not known from this day's source.

    top_statements: fingerprint, share, mean_ms, calls. slower: see `slower`. decided: how the ruling came about.
    notes: what a reader must know before trusting the numbers.
    """

    target: str
    day: date
    source: str = NO_DATA
    grain: str | None = None
    hours: float = 0.0
    statements: int | None = None
    calls: int | None = None
    total_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    requests: int | None = None
    failed: int | None = None
    avg_ms: float | None = None
    top_statements: list[dict[str, Any]] = field(default_factory=list)
    slower: list[dict[str, Any]] = field(default_factory=list)
    proposals: list[Proposed] = field(default_factory=list)
    decided: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    computed_at: datetime | None = None

    @property
    def has_data(self) -> bool:
        return self.source != NO_DATA

    @property
    def proposed(self) -> list[Proposed]:
        """Without those whose index was there."""
        return [p for p in self.proposals if p["priority"]]


def bounds(day: date) -> tuple[datetime, datetime]:
    """Beginning and end of a day in UTC; the end belongs to the next one."""
    start = datetime.combine(day, time(), UTC)
    return start, start + timedelta(days=1)


def slower(
    work: Mapping[str, Work],
    earlier: Mapping[str, Mapping[str, Work]],
    *,
    min_calls: int,
    floor_ms: float,
) -> list[dict[str, Any]]:
    """Statements whose mean time rose by half and cost at least `floor_ms` more over the day, worst first.

    earlier: words for another day (`the day before`) → its work. Each statement is told once, against its worst.
    """
    found: dict[str, dict[str, Any]] = {}
    for words, before in earlier.items():
        for fingerprint, now in work.items():
            then = before.get(fingerprint)
            if then is None or now.calls < min_calls or then.calls < min_calls or then.total_ms <= 0:
                continue
            mean, was = now.total_ms / now.calls, then.total_ms / then.calls
            lost_ms = (mean - was) * now.calls
            known = found.get(fingerprint)
            if mean >= _SLOWER * was and lost_ms >= floor_ms and (known is None or lost_ms > known["lost_ms"]):
                found[fingerprint] = {
                    "fingerprint": fingerprint,
                    "against": words,
                    "mean_ms": round(mean, 4),
                    "was_ms": round(was, 4),
                    "calls": now.calls,
                    "lost_ms": round(lost_ms, 1),
                }
    return sorted(found.values(), key=lambda row: -row["lost_ms"])[:_MOST_SLOWER]
