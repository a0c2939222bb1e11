"""What was asked of the models since the last time? Each completed request is counted once, whatever happens.

A source says what is new in it, as sums that its own engine made: `intake_table` a table of the target, `intake_files`
Parquet files. What a read consumes, its rollups and how far it came are one transaction of the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ooda_dagster.core.alarm import alarms
from ooda_dagster.core.request_page import Page
from ooda_dagster.core.requests import FOLDED
from ooda_dagster.ledger.request_sums import ALWAYS
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.intake_files import step_of_files
from ooda_dagster.loop.intake_table import step_of_table
from ooda_dagster.targets.base import Observing, TargetError, TargetUnreachableError

#: A cycle reads on until it has caught up, or for so long.
_CATCH_UP_S = 120


@dataclass(frozen=True)
class Intake:
    """What a read found. `error`: what stood in the way; nothing was consumed then. No `table`: there is none.

    rejected: what does not count, or not under its name, by reason; troubles: files that could not be read.
    """

    table: str | None = None
    rows: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    alarm: list[str] = field(default_factory=list)
    behind: bool = False
    batch_id: int | None = None
    error: str | None = None
    unreachable: bool = False
    troubles: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.error:
            return self.error
        if self.table is None:
            return "no table of inference requests"
        words = [f"{self.rows} requests", *self.alarm[:1], *self.notes]
        words += [f"{n} {'counted' if why == FOLDED else 'left out'}: {why}" for why, n in self.rejected.items()]
        return "; ".join([*words, *self.troubles[:3], *(["more wait for the next read"] if self.behind else [])])

    def then(self, more: Intake) -> Intake:
        """This read and the one after it."""
        rejected = dict(self.rejected)
        for why, n in more.rejected.items():
            rejected[why] = rejected.get(why, 0) + n
        return Intake(
            more.table,
            self.rows + more.rows,
            rejected,
            [*self.notes, *more.notes],
            [*self.alarm, *more.alarm],
            more.behind,
            more.batch_id or self.batch_id,
            troubles=more.troubles,
        )


def intake(loop: Loop, *, connect_timeout_s: int | None = None) -> Intake:
    """Read once. A source that cannot be read yields an Intake with an error."""
    try:
        if loop.settings.requests.enabled and loop.settings.requests.parquet:
            return _read(loop, None, None)
        with loop.target.observing("requests", connect_timeout_s=connect_timeout_s) as session:
            return _read(loop, session, None)
    except TargetError as error:
        return Intake(error=str(error), unreachable=isinstance(error, TargetUnreachableError))


def intake_session(loop: Loop, session: Observing, *, analysis_id: str) -> Intake:
    """Read all that is there, for the cycle `analysis_id`, which then knows of an alarm."""
    began, taken = time.monotonic(), Intake()
    try:
        taken = _read(loop, session, analysis_id)
        while taken.behind and time.monotonic() - began < _CATCH_UP_S:
            loop.say(f"{taken.rows:,} inference requests are read, and more wait")
            taken = taken.then(_read(loop, session, analysis_id))
    except TargetError as error:
        return Intake(error=str(error), rejected=taken.rejected)
    return taken


def _read(loop: Loop, session: Observing | None, analysis_id: str | None) -> Intake:
    """One page."""
    step = step_of_table(loop, session) if session and not loop.settings.requests.parquet else step_of_files(loop)
    if step is None:
        return Intake()
    policy, book, now, page = loop.settings.requests, loop.ledger.requests, step.now, step.page
    news = []
    if len(page.fresh):
        past = book.references(loop.name, now - timedelta(hours=policy.alarm_reference_h), now + timedelta(days=1))
        news = alarms(page.fresh, past, policy)
    batch = None
    if page.rows or step.notes:
        batch = {
            "rows": page.good,
            "rejected": page.left_out,
            "notes": step.notes,
            "alarm": [a.body() for a in news],
            "analysis_id": analysis_id,
            **_extent(page),
        }
    kept = book.consume(
        loop.name,
        before=step.before,
        after=step.after,
        keys={ALWAYS if minute is None else minute: keys for minute, keys in page.keys.items()},
        rollups=page.sums,
        batch=batch,
        max_remembered=policy.max_remembered,
        keep_d=policy.keep_d,
        forget=step.forget,
        again_since=step.after.covers_since if step.anew else None,
        files=step.files,
        met=step.met,
    )
    if kept is None:
        return Intake(step.label, notes=["another reader was faster; nothing was lost"], troubles=step.troubles)
    notes = [*step.notes, *([kept[1]] if kept[1] else [])]
    alarm = [a.text for a in news]
    behind = step.after.behind
    return Intake(step.label, page.good, page.left_out, notes, alarm, behind, kept[0], troubles=step.troubles)


def _extent(page: Page) -> dict[str, Any]:
    """The batch's ids and its window."""
    start, end = page.window or (None, None)
    return {
        "first_id": page.first_key,
        "last_id": page.last_key,
        "window_start": None if start is None else datetime.fromtimestamp(start, UTC),
        "window_end": None if end is None else datetime.fromtimestamp(end, UTC),
    }
