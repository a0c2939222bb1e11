"""When to look again: 5, 15, 30 or 60 minutes, from the verdicts that closed since the last cycle.

The delays are the seed document's (sp_Learn): more than 20 % better → 5, better → 15, worse → 60, neutral → 30.
Where it is silent: a failed action counts as worse; nothing closed while a verification is open → 30.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ooda_dagster.core.verdict import Outcome


@dataclass(frozen=True)
class Closed:
    """A verdict that closed since the last cycle; `ratio` is work per call after ÷ before, None where unknown."""

    outcome: Outcome
    ratio: float | None


@dataclass(frozen=True)
class Delay:
    """How long to wait, and why, in words that a person reads."""

    minutes: int
    reason: str


def next_delay(closed: Sequence[Closed], *, failed: int = 0, open_verifications: int = 0) -> Delay:
    """The delay until the next cycle.

    closed: verdicts that closed since the last cycle; failed: actions that failed in it. The worst news wins: one
    regression among gains makes the loop wait.
    """
    if failed:
        return Delay(60, f"{failed} action{'s' if failed > 1 else ''} failed")
    if any(c.outcome == Outcome.WORSE for c in closed):
        return Delay(60, "an action made things worse and was undone")
    gains = [1 - c.ratio for c in closed if c.outcome == Outcome.BETTER and c.ratio is not None]
    if gains and max(gains) > 0.20:
        return Delay(5, f"an action made its statements {max(gains):.0%} faster")
    if gains:
        return Delay(15, f"an action made its statements {max(gains):.0%} faster")
    if closed:
        return Delay(30, "verdicts closed without a difference shown")
    if open_verifications:
        return Delay(30, "verification open")
    return Delay(30, "nothing changed")


def resume_delay(attempts: int, error: str, *, first_s: float, most: int) -> Delay:
    """Until a cycle that broke off is taken on again: doubled with each attempt, an hour at most."""
    minutes = min(math.ceil(first_s / 60 * 2 ** max(attempts - 1, 0)), 60)
    return Delay(minutes, f"goes on with a cycle that broke off at attempt {attempts} of {most}: {error}")


def due_at(now: datetime, delay: Delay) -> datetime:
    """The full minute at which the delay is over."""
    return full_minute(now + timedelta(minutes=delay.minutes))


def full_minute(moment: datetime) -> datetime:
    """The moment rounded up to a full minute: schedules tick on full minutes."""
    rounded = moment.replace(second=0, microsecond=0)
    return rounded if rounded == moment else rounded + timedelta(minutes=1)
