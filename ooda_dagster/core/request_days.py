"""What did a day's requests come to?"""

from __future__ import annotations

from dataclasses import dataclass

#: The expressions of `requests.*` that a day needs.
DAY_EXPRESSIONS = ("requested_at", "duration_ms", "status")


@dataclass(frozen=True)
class RequestDay:
    """Requests of one day. `where` names the table or the files. No status in any of them: `failed` is not known."""

    where: str
    requests: int
    failed: int | None
    avg_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
