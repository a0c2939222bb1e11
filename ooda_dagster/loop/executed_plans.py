"""Which plans were executed? From what auto_explain logged, read on from where the last reading ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from ooda_dagster.core.catalogue import Catalogue
from ooda_dagster.core.fingerprint import fingerprint, is_own
from ooda_dagster.core.plan_log import LoggedPlan, LogPosition, PlanLogPart
from ooda_dagster.core.plans import UnreadablePlanError, read_plan
from ooda_dagster.core.seen import BlindSpot
from ooda_dagster.core.text import many, size
from ooda_dagster.ledger.plans import Seen
from ooda_dagster.loop.context import Loop
from ooda_dagster.targets.base import Observing

_LEVEL = 3
_MB = 1 << 20
_PART = _MB


def read_executed_plans(loop: Loop, session: Observing, catalogue: Catalogue) -> list[BlindSpot]:
    """Keep the plans of statements that are known. Nothing is read where the role does not have level 3.

    Returns what was passed over. Raises TargetError where the log cannot be read.
    """
    if _LEVEL not in session.capabilities().levels:
        return []
    reader = _Reader(loop, catalogue)
    after, most = loop.ledger.plans.position(loop.name), int(loop.settings.plans.max_log_mb * _MB)
    left, passed_over = most, 0
    while left > 0:
        part = session.plan_log(after, most_bytes=min(_PART, left))
        if part.position == after or not reader.keep(part, after):
            break
        after, left = part.position, left - _PART
        if left <= 0 and part.behind > most:  # it will not be caught up with: on from its end
            passed_over = part.behind - _PART
            part = session.plan_log(None, most_bytes=_PART)
            reader.keep(part, after)
        if part.behind == 0:  # our own reading may be logged too: there is always more
            break
    return _passed_over(passed_over, reader.unreadable)


class _Reader:
    def __init__(self, loop: Loop, catalogue: Catalogue) -> None:
        self._loop, self._catalogue = loop, catalogue
        self._by_id = loop.ledger.rollups.known_statements(loop.name)
        self._known = set(self._by_id.values())
        self.unreadable = 0

    def keep(self, part: PlanLogPart, after: LogPosition | None) -> bool:
        """False where another reader was faster."""
        self.unreadable += part.unreadable
        seen = [found for entry in part.plans if (found := self._seen(entry))]
        now = self._loop.clock()
        return self._loop.ledger.plans.keep_executed(
            self._loop.name, seen, after=after, position=part.position, now=now
        )

    def _seen(self, entry: LoggedPlan) -> Seen | None:
        whose = _statement(entry, self._by_id, self._known)
        if whose is None:
            return None
        try:
            plan = read_plan(entry.plan, self._catalogue)
        except UnreadablePlanError:
            self.unreadable += 1
            return None
        at = _stretch(entry.logged_at, self._loop.settings.regressions.look_s)
        return Seen(whose, plan, at, 1, entry.duration_ms)


def _statement(entry: LoggedPlan, by_id: Mapping[int, str], known: set[str]) -> str | None:
    """Whose plan it is; None for one of ours, and for a statement that was not sampled."""
    if is_own(entry.text):
        return None
    by_text = fingerprint(entry.text)
    if by_text in known:
        return by_text
    return None if entry.query_id is None else by_id.get(entry.query_id)  # one of several that were sent as one text


def _stretch(moment: datetime, length_s: int) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // length_s * length_s, UTC)


def _passed_over(behind: int, unreadable: int) -> list[BlindSpot]:
    found = []
    if behind > 0:
        remedy = "plans.max_log_mb, or a higher auto_explain.log_min_duration"
        why = f"{size(behind)} of it were passed over: it grows faster than it is read"
        found.append(BlindSpot(what="a part of the plan log", why=why, remedy=remedy))
    if unreadable:
        remedy = "auto_explain.log_format = 'json'"
        entries = many(unreadable, "entry", "entries")
        found.append(BlindSpot(what=f"{entries} of the plan log", why="no JSON, or cut off", remedy=remedy))
    return found
