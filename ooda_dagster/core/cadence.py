"""When to look again: 5, 15, 30 or 60 minutes, from the verdicts that closed since the last cycle.

The delays are the seed document's (sp_Learn): more than 20 % better → 5, better → 15, worse → 60, neutral → 30.
Where it is silent: a failed action counts as worse; nothing closed while a verification is open → 30. Beyond it:

- *Back-off*: after three neutral cycles in a row the delay doubles with each, to four hours; after two that regressed
  or failed, to a day. An open verification ends a quiet time, and is no good cycle: bad ones count on.
- *Hysteresis*: a delay that had grown beyond the table comes down by a factor of four a cycle, so that one good cycle
  neither makes a quiet loop a hasty one nor, being over, a hasty one quiet: to go up takes as many cycles as ever.
- *Wake*: a cycle that an alarm started begins the count anew, without easing: something is the matter.
- *Jitter*: each cycle's own share of ±10 %, so that the targets of one ledger do not come due together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ooda_dagster.core.cadence_settings import Cadence
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.core.wire import Body

_POLICY = Cadence()


class Pace(Body):
    """Where the cadence stands after a cycle: what the delay after the next one is reckoned from.

    minutes: the delay, without its jitter; 0 before the first. neutral, bad: cycles of that kind in a row.
    """

    minutes: int = 0
    neutral: int = 0
    bad: int = 0


_FIRST = Pace()


class Woken(StrEnum):
    """What started a cycle, as far as the cadence is concerned."""

    TIMER = "timer"
    ALARM = "alarm"
    HAND = "hand"  # of its own: how often people ask says nothing about how quiet it is


@dataclass(frozen=True)
class Closed:
    """A verdict that closed since the last cycle; `ratio` is work per call after ÷ before, None where unknown."""

    outcome: Outcome
    ratio: float | None


@dataclass(frozen=True)
class Delay:
    """How long to wait, and why, in words that a person reads. pace: where the cadence stands then."""

    minutes: int
    reason: str
    pace: Pace = _FIRST


def next_delay(
    closed: Sequence[Closed],
    *,
    failed: int = 0,
    open_verifications: int = 0,
    before: Pace = _FIRST,
    woken: Woken = Woken.TIMER,
    policy: Cadence = _POLICY,
) -> Delay:
    """The delay until the next cycle.

    closed: verdicts that closed since the last cycle; failed: actions that failed in it. The worst news wins: one
    regression among gains makes the loop wait. before: the pace that the last cycle left.
    """
    if woken == Woken.ALARM:
        before = _FIRST
    gains = [1 - c.ratio for c in closed if c.outcome == Outcome.BETTER and c.ratio is not None]
    if failed or any(c.outcome == Outcome.WORSE for c in closed):
        base = policy.failed_minutes if failed else policy.regressed_minutes
        failures = f"{failed} action{'s' if failed > 1 else ''} failed"
        why = failures if failed else "an action made things worse and was undone"
        bad = before.bad + 1
        grown = _grown(base, bad, policy.regressed_cycles, policy.regressed_most_minutes)
        return _eased(base, grown, f"{why}{_again(bad, base, grown)}", Pace(bad=bad), before, policy)
    if gains:
        high = max(gains) > policy.high_gain_share
        base = policy.high_gain_minutes if high else policy.gain_minutes
        return _eased(base, base, f"an action made its statements {max(gains):.0%} faster", _FIRST, before, policy)
    base = policy.neutral_minutes
    if open_verifications and not closed:
        return _eased(base, base, "verification open", Pace(bad=before.bad), before, policy)
    why = "verdicts closed without a difference shown" if closed else "nothing changed"
    neutral = before.neutral + (woken != Woken.HAND)
    grown = _grown(base, neutral, policy.neutral_cycles, policy.neutral_most_minutes)
    pace = Pace(neutral=neutral, bad=before.bad if woken == Woken.HAND else 0)
    return _eased(base, grown, f"{why}{_again(neutral, base, grown)}", pace, before, policy)


def _grown(base: int, cycles: int, patient: int, most: int) -> int:
    """Doubled from the cycle on that is the `patient`-th in a row; never below the base."""
    doublings = min(max(cycles - patient + 1, 0), 30)
    return max(base, min(base * 2**doublings, most))


def _again(cycles: int, base: int, grown: int) -> str:
    return f", for {cycles} cycles in a row: {grown} min instead of {base}" if grown > base else ""


def _eased(base: int, minutes: int, why: str, pace: Pace, before: Pace, policy: Cadence) -> Delay:
    """The delay, not so much shorter than a grown one before as a single cycle would have it."""
    table = (policy.neutral_minutes, policy.regressed_minutes, policy.failed_minutes)
    least = math.ceil(before.minutes / policy.ease_ratio) if before.minutes > max(table) else 0
    if least > minutes:
        why = f"{why}; from {before.minutes} min it comes down step by step, to {least} instead of {minutes}"
        minutes = least
    return Delay(minutes, why, pace.model_copy(update={"minutes": minutes}))


def resume_delay(attempts: int, error: str, *, first_s: float, most: int) -> Delay:
    """Until a cycle that broke off is taken on again: doubled with each attempt, an hour at most."""
    minutes = min(math.ceil(first_s / 60 * 2 ** max(attempts - 1, 0)), 60)
    return Delay(minutes, f"goes on with a cycle that broke off at attempt {attempts} of {most}: {error}")


def jitter_of(key: str, share: float) -> float:
    """A cycle's own jitter, from -share to share of its delay: the same whenever it is asked for."""
    drawn = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return share * (2 * drawn - 1)


def due_at(now: datetime, delay: Delay, jitter: float = 0.0) -> datetime:
    """The full minute at which the delay, longer by `jitter` of itself, is over."""
    return full_minute(now + timedelta(minutes=delay.minutes * (1 + jitter)))


def full_minute(moment: datetime) -> datetime:
    """The moment rounded up to a full minute: schedules tick on full minutes."""
    rounded = moment.replace(second=0, microsecond=0)
    return rounded if rounded == moment else rounded + timedelta(minutes=1)
