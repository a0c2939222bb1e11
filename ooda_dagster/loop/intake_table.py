"""What is new in a target's table of inference requests?

A row counts when it has a duration; it may be committed late, in any order, and completed or changed long after. So no
high-water mark can tell what is new: the ids that were consumed are kept until no row is so late any more
(`requests.late_s`), and whatever is in reach and not among them is new. Reach is bounded by a mark below which nothing
is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from ooda_dagster.core.request_page import Page
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.ledger.requests import Progress
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.intake_step import Step
from ooda_dagster.targets.base import Observing, RequestSource, RequestTable
from ooda_dagster.targets.request_rollup import Judging

_LOWEST, _HIGHEST = -(2**63), 2**63 - 2
#: A mark this often; the oldest that is old enough bounds the scan.
_MARKS_A_WINDOW = 12
#: More are not counted.
_MOST_PENDING = 100_000


def step_of_table(loop: Loop, session: Observing) -> Step | None:
    """One page of the table; None where there is none. Raises TargetError."""
    policy, now = loop.settings.requests, loop.clock()
    table = session.request_table(policy)
    if table is None:
        return None
    server = session.capabilities()
    before = loop.ledger.requests.progress(loop.name)
    identity = {
        "system_identifier": server.system_identifier,
        "database_oid": server.database_oid,
        "table": table.label,
    }
    start = _start(loop, table, before, identity, server.started_at.isoformat(), now)
    page = _unread(loop, table, start, now)
    after = _moved(start, page, page.rows >= policy.max_rows, table.numeric, now, policy)
    return Step(table.label, now, before, after, page, start.notes, forget=start.forget, anew=start.anew)


def pending(loop: Loop, source: RequestSource) -> int:
    """Requests that are waited for as they have no duration yet; rows of files are complete. Raises TargetError."""
    book, now = loop.ledger.requests, loop.clock()
    known = book.progress(loop.name)
    if known is None or known.keyed_by == "file":
        return 0
    table = cast(RequestTable, source)  # what was read by id or time is a table
    if known.mark is not None:
        return table.pending_by_id(book.open_ids(loop.name, known.mark), limit=_MOST_PENDING)
    return table.pending_by_time(known.floor_at, now, limit=_MOST_PENDING) if known.floor_at else 0


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


def _unread(loop: Loop, table: RequestTable, start: _Start, now: datetime) -> Page:
    """Completed rows in reach that were not consumed."""
    policy, book = loop.settings.requests, loop.ledger.requests
    mark, floor_at = start.progress.mark, start.progress.floor_at
    judging = Judging.of(policy, now)
    if table.numeric:
        assert mark is not None
        open_ids = f"{{[{mark + 1},)}}" if start.forget else book.open_ids(loop.name, mark)
        return table.page_by_id(open_ids, limit=policy.max_rows, judging=judging)
    assert floor_at is not None
    until = now + timedelta(seconds=policy.max_clock_skew_s)
    seen = "{}" if start.forget else book.seen(loop.name)
    return table.page_by_time(floor_at, until, seen=seen, limit=policy.max_rows, judging=judging)


def _moved(start: _Start, page: Page, behind: bool, numeric: bool, now: datetime, policy: Requests) -> Progress:
    """The progress after a read: nothing is out of reach before it was in reach for `late_s`."""
    progress, late = start.progress, timedelta(seconds=policy.late_s)
    top = page.last_key if numeric else None
    # Rows above the highest id of a moment ago may have come in between.
    ids = [i for i in (progress.highest, top) if i is not None]
    progress = replace(progress, behind=behind, read_at=now, highest=max(ids, default=None))
    if not numeric:
        reached = datetime.fromtimestamp(page.last_s, UTC) if behind and page.last_s is not None else now
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
