"""What learning reports beside the verdicts: predictions against what came of them, and the target's global health."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ooda_dagster.core.calibration import calibrate, windows
from ooda_dagster.core.learned import Learned, PredictionPoint
from ooda_dagster.core.learning_report import learned_rows, points
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.context import Loop

#: The document's windows: 24 hours to 5 minutes ago, and the last 5 minutes.
_BASELINE = timedelta(hours=24)
_CURRENT = timedelta(minutes=5)
#: Points of a message: a picture of more is no clearer.
_MOST_POINTS = 30

Source = Literal["statements", "inference requests"]
#: (since, until) → ms per call, calls per minute; None where it is not known.
Rates = Callable[[datetime, datetime], tuple[float | None, float | None]]


@dataclass(frozen=True)
class Lessons:
    """Rows by type and rung, and the newest verdicts one by one."""

    rows: list[Learned]
    points: list[PredictionPoint]


def lessons(
    ledger: Ledger, settings: Settings, now: datetime, target: str, *, since: datetime | None = None, most: int = 500
) -> Lessons:
    """What is known of a target's predictions: within the windows of learning, or of all verdicts since a time.

    The factors are those that correct the next prediction, whatever is shown.
    """
    policy = settings.learning
    remembered = now - timedelta(days=policy.window_d)
    everything = ledger.outcomes.predictions(since=min(since or remembered, remembered), until=now)
    used = calibrate(everything, now, policy)
    own = [p for p in everything if p.target == target]
    if since is None:
        shown, seen = [p for kept in windows(own, now, policy).values() for p in kept], used
    else:
        shown = [p for p in own if p.at > since]
        seen = calibrate([p for p in everything if p.at > since], now, policy.unbounded())
    return Lessons(learned_rows(shown, seen, used), points(shown, most))


def newest_lessons(loop: Loop, now: datetime) -> Lessons:
    """The same for a message."""
    return lessons(loop.ledger, loop.settings, now, loop.name, most=_MOST_POINTS)


def global_health(loop: Loop, now: datetime) -> tuple[dict[str, float | None], Source]:
    """The naive before/after comparison (ms per call, calls per minute). It decides nothing.

    Of inference requests, as in the document, where they are read and counted whole; else of all statements.
    """
    found = _compared(_of_requests(loop), now)
    if found["currentLatencyMs"] is not None:
        return found, "inference requests"
    return _compared(_of_statements(loop), now), "statements"


def _compared(rates: Rates, now: datetime) -> dict[str, float | None]:
    (base_ms, base_rate), (current_ms, current_rate) = (
        rates(now - _BASELINE, now - _CURRENT),
        rates(now - _CURRENT, now),
    )
    return {
        "baselineLatencyMs": base_ms,
        "currentLatencyMs": current_ms,
        "latencyImprovement": None if not base_ms or current_ms is None else 100 * (base_ms - current_ms) / base_ms,
        "throughputChange": None
        if not base_rate or current_rate is None
        else 100 * (current_rate - base_rate) / base_rate,
    }


def _of_statements(loop: Loop) -> Rates:
    def rates(since: datetime, until: datetime) -> tuple[float | None, float | None]:
        totals = loop.ledger.rollups.totals(loop.name, since, until)
        _, covered_s = loop.ledger.rollups.coverage(loop.name, since, until)
        calls = float(totals["n"].sum())
        if not calls or not covered_s:
            return None, None
        return float(totals["sum_ms"].sum()) / calls, 60 * calls / covered_s

    return rates


def _of_requests(loop: Loop) -> Rates:
    def rates(since: datetime, until: datetime) -> tuple[float | None, float | None]:
        found = loop.ledger.requests.totals(loop.name, since, until)
        if found is None:
            return None, None
        count, mean_ms = found
        return mean_ms, count / ((until - since).total_seconds() / 60)

    return rates
