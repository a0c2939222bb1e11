"""What did a day's requests come to, and by which columns are they read?"""

from __future__ import annotations

from dataclasses import dataclass

from ooda_dagster.core.settings import History


@dataclass(frozen=True)
class RequestColumns:
    """Names of columns; no status column means that nothing is known to have failed."""

    requested_at: str
    duration_ms: str
    status: str
    failed_statuses: tuple[str, ...]

    @classmethod
    def of(cls, settings: History) -> RequestColumns:
        return cls(
            settings.requested_at_column,
            settings.duration_ms_column,
            settings.status_column,
            settings.failed_statuses,
        )


@dataclass(frozen=True)
class RequestDay:
    """Requests of one day. `where` names the table or the files."""

    where: str
    requests: int
    failed: int | None
    avg_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
