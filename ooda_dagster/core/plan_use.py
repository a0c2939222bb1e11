"""Which plan did a statement have before a moment, and which since? And do its plans take turns?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

Source = Literal["executed", "estimate"]

#: The plan of a side has this share of its executions, and so little of the other's.
_MOST, _LEAST = 0.8, 0.2
#: Plans take turns where so many stretches of time had more than one, or a stretch had another than the one before it
#: so often. Less may be a change and its way back.
_TURNS = 3
_MIN_EXECUTED = 2


@dataclass(frozen=True)
class PlanUse:
    """A plan of a statement at a time. executions, total_ms: those that were logged from `seen_at` on, until the next
    such time; an estimate has none."""

    fingerprint: str
    source: Source
    plan_hash: str
    seen_at: datetime
    executions: int = 0
    total_ms: float = 0.0


@dataclass(frozen=True)
class Sides:
    """The plans on both sides of a moment. alternate: why they depend on parameters, an empty text where not."""

    source: Source
    before: str
    after: str
    alternate: str = ""

    @property
    def flipped(self) -> bool:
        return self.before != self.after and not self.alternate


def sides_of(uses: Iterable[PlanUse], since: datetime, margin: timedelta, now: datetime) -> Sides | None:
    """The plans before and after `since`, by executed ones where there are on both sides, else by estimates.

    margin: how exactly `since` is known; what was seen so close to it tells of neither side. None where a side is not
    known, or no plan is most of it and the plans do not take turns.
    """
    ordered = sorted(uses, key=lambda use: use.seen_at)
    executed = [u for u in ordered if u.source == "executed" and u.executions > 0]
    return _executed(executed, since, margin) or _estimated(
        [u for u in ordered if u.source == "estimate" and u.seen_at <= now], since, margin
    )


def _executed(uses: Sequence[PlanUse], since: datetime, margin: timedelta) -> Sides | None:
    earlier = [u for u in uses if u.seen_at < since - margin]
    later = [u for u in uses if u.seen_at >= since + margin] or [u for u in uses if u.seen_at >= since]
    before, after = _counted(earlier), _counted(later)
    if min(before.total(), after.total()) < _MIN_EXECUTED:
        return None
    first, second = before.most_common(1)[0][0], after.most_common(1)[0][0]
    if turns := _turns(earlier, later):
        return Sides("executed", first, second, f"its plans take turns ({turns} times): they depend on what is asked")
    share = after[second] / after.total()
    if first != second and (share < _MOST or before[second] / before.total() > _LEAST):
        return None
    return Sides("executed", first, second)


def _counted(uses: Sequence[PlanUse]) -> Counter[str]:
    found: Counter[str] = Counter()
    for use in uses:
        found[use.plan_hash] += use.executions
    return found


def _turns(*sides: Sequence[PlanUse]) -> int:
    """How often plans took turns within the sides; 0 where it was too seldom to tell."""
    together = changes = 0
    for uses in sides:
        by_time: dict[datetime, set[str]] = {}
        for use in uses:
            by_time.setdefault(use.seen_at, set()).add(use.plan_hash)
        together += sum(len(hashes) > 1 for hashes in by_time.values())
        single = [hashes for _, hashes in sorted(by_time.items()) if len(hashes) == 1]
        changes += sum(a != b for a, b in pairwise(single))
    most = max(together, changes)
    return most if most >= _TURNS else 0


def _estimated(uses: Sequence[PlanUse], since: datetime, margin: timedelta) -> Sides | None:
    """An estimate holds until the next one, and one is made where a step is seen."""
    earlier = [u for u in uses if u.seen_at < since - margin]
    close = [u for u in uses if since - margin <= u.seen_at < since + margin]
    later = [u for u in uses if u.seen_at >= since + margin]
    before = earlier[-1] if earlier else close[0] if close else None
    after = later[0] if later else close[-1] if close else None
    if before is None or after is None or before is after:
        return None
    return Sides("estimate", before.plan_hash, after.plan_hash)
