"""What was asked of the models since the last time? Each completed request is counted once, whatever happens.

A row counts when it has a duration; it may be committed late, in any order, and completed or changed long after. So no
high-water mark can tell what is new: the ids that were consumed are kept until no row is so late any more
(`requests.late_s`), and whatever is in reach and not among them is new. Reach is bounded by a mark below which nothing
is looked at. What a read consumes, its rollups and the new marks are one transaction of the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from ooda_dagster.core.alarm import alarms
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.core.requests import judged, rolled_up
from ooda_dagster.ledger.requests import ALWAYS, Progress
from ooda_dagster.loop.context import Loop
from ooda_dagster.targets.base import Capabilities, Observing, RequestTable, TargetError, TargetUnreachableError

_LOWEST, _HIGHEST = -(2**63), 2**63 - 2
#: A mark this often; the oldest that is old enough bounds the scan.
_MARKS_A_WINDOW = 12


@dataclass(frozen=True)
class Intake:
    """What a read found. `error`: what stood in the way; nothing was consumed then. No `table`: there is none."""

    table: str | None = None
    rows: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    alarm: list[str] = field(default_factory=list)
    behind: bool = False
    batch_id: int | None = None
    error: str | None = None
    unreachable: bool = False

    def __str__(self) -> str:
        if self.error:
            return self.error
        if self.table is None:
            return "no table of inference requests"
        words = [f"{self.rows} requests", *self.alarm[:1], *self.notes]
        words += [f"{n} left out: {why}" for why, n in self.rejected.items()]
        return "; ".join([*words, *(["more wait for the next read"] if self.behind else [])])


def intake(loop: Loop, *, connect_timeout_s: int | None = None) -> Intake:
    """Read once. A target that cannot be read yields an Intake with an error."""
    try:
        with loop.target.observing("requests", connect_timeout_s=connect_timeout_s) as session:
            return intake_session(loop, session)
    except TargetError as error:
        return Intake(error=str(error), unreachable=isinstance(error, TargetUnreachableError))


def intake_session(loop: Loop, session: Observing, *, analysis_id: str | None = None) -> Intake:
    """Read once through an open session; for the cycle `analysis_id`, which then knows of an alarm."""
    policy = loop.settings.requests
    try:
        table = session.request_table(policy)
        if table is None:
            return Intake()
        return _read(loop, table, session.capabilities(), analysis_id)
    except TargetError as error:
        return Intake(error=str(error))


def _read(loop: Loop, table: RequestTable, server: Capabilities, analysis_id: str | None) -> Intake:
    policy, book, now = loop.settings.requests, loop.ledger.requests, loop.clock()
    before = book.progress(loop.name)
    identity = {
        "system_identifier": server.system_identifier,
        "database_oid": server.database_oid,
        "table": table.label,
    }
    start = _start(loop, table, before, identity, server.started_at.isoformat(), now)
    found = _unread(loop, table, start, now)
    behind = len(found) > policy.max_rows
    found = found.iloc[: policy.max_rows]
    good, rejected = judged(found, now, policy)
    after = _moved(start, found, behind, table.numeric, now, policy)
    news = []
    if len(good):
        done_s = good["requested_s"] + good["duration_ms"] / 1000
        fresh = good[done_s >= (now - timedelta(seconds=policy.alarm_fresh_s)).timestamp()]
        past = book.references(loop.name, now - timedelta(hours=policy.alarm_reference_h), now + timedelta(days=1))
        news = alarms(fresh, past, policy)
    batch = None
    if len(found) or start.notes:
        batch = {
            "rows": len(good),
            "rejected": rejected,
            "notes": start.notes,
            "alarm": [a.body() for a in news],
            "analysis_id": analysis_id,
            **_extent(found, good, table.numeric),
        }
    kept = book.consume(
        loop.name,
        before=before,
        after=after,
        keys=_by_bucket(found, table.numeric, after),
        rollups=rolled_up(good),
        batch=batch,
        max_remembered=policy.max_remembered,
        keep_d=policy.keep_d,
        forget=start.forget,
        again_since=after.covers_since if start.anew else None,
    )
    if kept is None:
        return Intake(table.label, notes=["another reader was faster; nothing was lost"])
    notes = [*start.notes, *([kept[1]] if kept[1] else [])]
    return Intake(table.label, len(good), rejected, notes, [a.text for a in news], behind, kept[0])


@dataclass(frozen=True)
class _Start:
    """Where a read begins. forget: the ids of before mean nothing; anew: and the lookback is read again."""

    progress: Progress
    notes: list[str]
    forget: bool = False
    anew: bool = False


def _start(
    loop: Loop,
    table: RequestTable,
    before: Progress | None,
    identity: dict[str, Any],
    started_at: str,
    now: datetime,
) -> _Start:
    """Where to go on: where the last read ended, unless the table is not the one that it was."""
    keyed_by = "id" if table.numeric else "time"
    highest = table.highest() if table.numeric else None
    highest = None if highest is None else min(highest, _HIGHEST)
    stays = {"storage": table.storage, "started_at": started_at}
    went_back = bool(before and before.highest is not None and (highest is None or highest < before.highest))
    changed = before is not None and _changed(before, keyed_by, identity, stays, went_back)
    if before is None or changed:
        since = now - timedelta(hours=loop.settings.advice.lookback_hours)
        first = Progress({**identity, **stays}, keyed_by, since, now, highest=highest)
        if table.numeric:
            mark = table.before(since)
            first = replace(first, mark=_LOWEST if mark is None else mark)
        else:
            first = replace(first, floor_at=since)
        if before is None:
            return _Start(first, [], forget=True)
        return _Start(first, [f"{changed}: the lookback is read anew"], forget=True, anew=True)
    progress = replace(before, identity={**identity, **stays}, read_at=now, highest=highest)
    if not went_back:
        return _Start(progress, [])
    if highest is None or before.identity.get("storage") != table.storage:
        return _Start(replace(progress, mark=_LOWEST, marks=[]), ["the table was emptied: ids begin anew"], forget=True)
    # The newest rows were deleted.
    kept = [m for m in before.marks if m[1] <= highest]
    mark = min(before.mark if before.mark is not None else _LOWEST, highest)
    return _Start(replace(progress, marks=kept, mark=mark), [])


def _changed(
    before: Progress, keyed_by: str, identity: Mapping[str, Any], stays: Mapping[str, Any], went_back: bool
) -> str | None:
    """Why the ids of before mean nothing on this table."""
    known = before.identity
    if before.keyed_by != keyed_by:
        return "the type of the ids changed"
    if any(known.get(key) != value for key, value in identity.items()):
        return "the server, database or table is another one"
    if went_back and known.get("started_at") != stays["started_at"]:
        return "the server restarted and ids went back: a backup was restored"
    if went_back and str(known.get("storage")).split("/")[0] != str(stays["storage"]).split("/")[0]:
        return "the table was made anew and ids went back"
    return None


def _unread(loop: Loop, table: RequestTable, start: _Start, now: datetime) -> pd.DataFrame:
    """Completed rows in reach that were not consumed, one more than a read may take."""
    policy, book = loop.settings.requests, loop.ledger.requests
    mark, floor_at = start.progress.mark, start.progress.floor_at
    if table.numeric:
        assert mark is not None
        open_ids = f"{{[{mark + 1},)}}" if start.forget else book.open_ids(loop.name, mark)
        return table.rows_by_id(open_ids, limit=policy.max_rows + 1)
    assert floor_at is not None
    until = now + timedelta(seconds=policy.max_clock_skew_s)
    seen = "{}" if start.forget else book.seen(loop.name)
    return table.rows_by_time(floor_at, until, seen=seen, limit=policy.max_rows + 1)


def _moved(
    start: _Start, found: pd.DataFrame, behind: bool, numeric: bool, now: datetime, policy: Requests
) -> Progress:
    """The progress after a read: nothing is out of reach before it was in reach for `late_s`."""
    progress, late = start.progress, timedelta(seconds=policy.late_s)
    top = int(found["key"].iloc[-1]) if numeric and len(found) else None
    # Rows above the highest id of a moment ago may have come in between.
    ids = [i for i in (progress.highest, top) if i is not None]
    progress = replace(progress, behind=behind, read_at=now, highest=max(ids, default=None))
    if not numeric:
        reached = datetime.fromtimestamp(float(found["requested_s"].iloc[-1]), UTC) if behind else now
        assert progress.floor_at is not None
        return replace(progress, floor_at=max(progress.floor_at, min(reached, now) - late))
    top = top if behind else progress.highest
    marks = list(progress.marks)
    newest = datetime.fromisoformat(marks[-1][0]) if marks else None
    if top is not None and (newest is None or now - newest >= late / _MARKS_A_WINDOW):
        marks.append([now.isoformat(), top])
    # A page that ended early may lie below an older mark.
    marks = [[at, min(mark, top) if behind and top is not None else mark] for at, mark in marks]
    old = [mark for at, mark in marks if datetime.fromisoformat(at) <= now - late]
    marks = [[at, mark] for at, mark in marks if datetime.fromisoformat(at) > now - late]
    below = progress.mark if progress.mark is not None else _LOWEST
    return replace(progress, marks=marks, mark=max([below, *old]))


def _by_bucket(found: pd.DataFrame, numeric: bool, after: Progress) -> dict[datetime, list[int]]:
    """The keys that were consumed, bad ones too: by the minute of their request where that tells their age."""
    if found.empty:
        return {}
    if numeric:
        return {ALWAYS: [int(key) for key in found["key"]]}
    minutes = (found["requested_s"].astype(float) // 60 * 60).astype("int64")
    return {datetime.fromtimestamp(int(m), UTC): [int(k) for k in keys] for m, keys in found["key"].groupby(minutes)}


def _extent(found: pd.DataFrame, good: pd.DataFrame, numeric: bool) -> dict[str, Any]:
    """The batch's ids and its window."""
    ids = found["key"] if numeric and len(found) else None
    times = good["requested_s"] if len(good) else None
    return {
        "first_id": None if ids is None else int(ids.min()),
        "last_id": None if ids is None else int(ids.max()),
        "window_start": None if times is None else datetime.fromtimestamp(float(times.min()), UTC),
        "window_end": None if times is None else datetime.fromtimestamp(float(times.max()), UTC),
    }
