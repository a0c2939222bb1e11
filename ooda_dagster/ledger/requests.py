"""How far were a target's inference requests read, what did they come to, and who was told?

A read is one transaction: what it consumed, its rollups and its batch. That transaction is what makes it exactly once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.alarm import Reference, reference_of
from ooda_dagster.core.messages import LatencyPoint
from ooda_dagster.core.request_days import RequestDay
from ooda_dagster.core.requests import SUMS
from ooda_dagster.ledger import request_keys as keys_sql
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.request_files import RequestFile, drop_files, keep_files, read_files
from ooda_dagster.ledger.request_keys import ranges
from ooda_dagster.ledger.tables import request_batch, request_file, request_progress, request_rollup
from ooda_dagster.ledger.timer import pull

#: Where keys are kept that age by the id and not by the hour.
ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)
_CHUNK = 10_000
#: Requests for an analysis are shown for 7 days.
_ASKED_KEPT = timedelta(days=9)


@dataclass(frozen=True)
class Progress:
    """How far a source was read. keyed_by `id`: rows up to id `mark` are done; `time`: those before `floor_at`; `file`:
    what the files of the book say."""

    identity: dict[str, Any]
    keyed_by: str
    covers_since: datetime
    read_at: datetime
    version: int = 0
    mark: int | None = None
    highest: int | None = None
    marks: list[Any] = field(default_factory=list)
    floor_at: datetime | None = None
    behind: bool = False


@dataclass(frozen=True)
class Batch:
    """What one read consumed."""

    batch_id: int
    target: str
    consumed_at: datetime
    rows: int
    rejected: dict[str, int]
    notes: list[str]
    first_id: int | None
    last_id: int | None
    window_start: datetime | None
    window_end: datetime | None
    alarm: list[dict[str, Any]]
    analysis_id: str | None
    report_id: int | None
    reported_at: datetime | None


_PROGRESS = [request_progress.c[f.name] for f in fields(Progress)]
_BATCH = [request_batch.c[f.name] for f in fields(Batch)]


class RequestBook:
    """Progress, rollups and batches of inference requests; requests for an analysis that were taken up."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    # ------------------------------------------------------------------ reading the target

    def progress(self, name: str) -> Progress | None:
        with connection(self._engine) as conn:
            row = conn.execute(sa.select(*_PROGRESS).where(request_progress.c.target == name)).mappings().one_or_none()
            return Progress(**row) if row else None

    def seen(self, name: str, source: str = "inference") -> str:
        """Keys that were consumed and may be met again, as the text of an int8multirange."""
        with connection(self._engine) as conn:
            return conn.execute(keys_sql.SEEN, {"target": name, "source": source}).scalar_one()

    def open_ids(self, name: str, mark: int) -> str:
        """Ids above the mark that were not consumed, as the text of an int8multirange: between them, and above all."""
        with connection(self._engine) as conn:
            return conn.execute(keys_sql.OPEN, {"target": name, "mark": mark}).scalar_one()

    def consume(
        self,
        name: str,
        *,
        before: Progress | None,
        after: Progress,
        keys: Mapping[datetime, str],
        rollups: pd.DataFrame,
        batch: Mapping[str, Any] | None,
        max_remembered: int,
        keep_d: float,
        forget: bool = False,
        again_since: datetime | None = None,
        files: Sequence[RequestFile] = (),
        met: Sequence[str] = (),
    ) -> tuple[int | None, str | None] | None:
        """Move the progress, remember the keys, add the rollups, write the batch: all of it, once, or nothing.

        keys: int8multiranges by the minute of their request, or under ALWAYS; rollups: minute, model, operation and the
        sums; forget: the keys and files of before mean nothing any more; again_since: and what was rolled up since then
        is read again; files: as far as they are read now; met: paths of others that are still there.
        Returns the batch's id and a note where fewer keys are remembered than asked for; None where another reader was
        faster.
        """
        with connection(self._engine) as conn:
            locked = sa.select(request_progress.c.version).where(request_progress.c.target == name).with_for_update()
            if conn.execute(locked).scalar_one_or_none() != (before.version if before else None):
                return None
            old = after.read_at - timedelta(days=keep_d)
            values = {
                **asdict(after),
                "version": (before.version if before else 0) + 1,
                "covers_since": max(after.covers_since, old),
            }
            row = insert(request_progress).values(target=name, **values)
            if before is None:
                row = row.on_conflict_do_nothing()
            else:
                row = row.on_conflict_do_update(index_elements=["target"], set_=values)
            if conn.execute(row.returning(request_progress.c.target)).one_or_none() is None:
                return None
            if forget:
                conn.execute(keys_sql.FORGET, {"target": name})
                conn.execute(sa.delete(request_file).where(request_file.c.target == name))
            keep_files(conn, name, files, met, after.read_at)
            if again_since:
                again = request_rollup.c.minute >= again_since.replace(second=0, microsecond=0)
                conn.execute(sa.delete(request_rollup).where(request_rollup.c.target == name, again))
            note = self._remember(conn, name, after, keys, max_remembered)
            _add(conn, name, rollups)
            if before is None or before.read_at.hour != after.read_at.hour:
                _drop_older(conn, name, old)
                drop_files(conn, name, old)
            if batch is None and note is None:
                return None, None
            given = dict(batch or {"rows": 0})
            given["notes"] = [*given.get("notes", []), *([note] if note else [])]
            row = sa.insert(request_batch).values(target=name, consumed_at=after.read_at, **given)
            return conn.execute(row.returning(request_batch.c.batch_id)).scalar_one(), note

    def _remember(
        self, conn: sa.Connection, name: str, after: Progress, keys: Mapping[datetime, str], most: int
    ) -> str | None:
        for bucket, found in keys.items():
            conn.execute(keys_sql.REMEMBER, {"target": name, "source": "inference", "bucket": bucket, "keys": found})
        if after.keyed_by == "file":
            return None
        if after.keyed_by == "id":
            conn.execute(keys_sql.TRIM, {"target": name, "above": after.mark, "highest": after.highest})
            raised = conn.execute(keys_sql.RAISE_MARK, {"target": name, "most": most}).scalar_one_or_none()
            if raised is None:
                return None
            values: dict[str, Any] = {"mark": raised}
            conn.execute(keys_sql.TRIM, {"target": name, "above": raised, "highest": after.highest})
            what = f"rows up to id {raised} that complete later"
        else:
            conn.execute(keys_sql.DROP_BUCKETS, {"target": name, "source": "inference", "floor": after.floor_at})
            raised = conn.execute(keys_sql.RAISE_FLOOR, {"target": name, "most": most}).scalar_one_or_none()
            if raised is None:
                return None
            values = {"floor_at": raised}
            conn.execute(keys_sql.DROP_BUCKETS, {"target": name, "source": "inference", "floor": raised})
            what = "older rows that complete later"
        moved = sa.update(request_progress).where(request_progress.c.target == name)
        conn.execute(moved.values(**values))
        return f"more than {most:,} ranges of ids to remember (requests.max_remembered): {what} are not counted"

    def files(self, name: str) -> dict[str, RequestFile]:
        """Files of requests that were met, by path."""
        with connection(self._engine) as conn:
            return read_files(conn, name)

    # ------------------------------------------------------------------ what they came to

    def references(self, name: str, since: datetime, until: datetime) -> dict[tuple[str, str], Reference]:
        """The past of each group of (model, operation)."""
        c = request_rollup.c
        sums = [sa.func.sum(c[s]).label(s) for s in ("n", "n_zero", "failed", "sum_log_ms", "sum_log_ms_sq")]
        query = sa.select(c.model, c.operation, *sums).where(c.target == name, c.minute >= since, c.minute < until)
        with connection(self._engine) as conn:
            rows = conn.execute(query.group_by(c.model, c.operation)).all()
        return {
            (r.model, r.operation): reference_of(int(r.n), int(r.n_zero), int(r.failed), r.sum_log_ms, r.sum_log_ms_sq)
            for r in rows
        }

    def latency(self, name: str, since: datetime, until: datetime, *, points: int) -> list[LatencyPoint]:
        """Latency over a window, in at most so many stretches of whole minutes; those without a request are left out.

        Durations of zero have no logarithm and are not in the mean.
        """
        c = request_rollup.c
        minutes = max(1, math.ceil((until - since).total_seconds() / 60 / points))
        at = sa.func.date_bin(timedelta(minutes=minutes), c.minute, sa.literal(ALWAYS)).label("at")
        logs, n_log = sa.func.sum(c.sum_log_ms), sa.func.sum(c.n - c.n_zero)
        query = sa.select(at, sa.func.sum(c.n), sa.func.exp(logs / sa.func.nullif(n_log, 0)), sa.func.max(c.max_ms))
        query = query.where(c.target == name, c.minute >= since, c.minute < until).group_by(at).order_by(at)
        with connection(self._engine) as conn:
            rows = conn.execute(query).all()
        return [LatencyPoint(at=t, requests=int(n), typical_ms=typical or 0.0, max_ms=m) for t, n, typical, m in rows]

    def blocks(self, name: str, since: datetime, until: datetime, *, minutes: int) -> pd.DataFrame:
        """Sums of each group in blocks of so many minutes that end with `until`, which is a whole minute.

        Columns: minute (of the block's beginning), model, operation, n, n_zero, sum_log_ms, sum_log_ms_sq.
        """
        c = request_rollup.c
        width = timedelta(minutes=minutes)
        block = sa.func.date_bin(width, c.minute, until).label("minute")
        sums = [sa.func.sum(c[s]).label(s) for s in ("n", "n_zero", "sum_log_ms", "sum_log_ms_sq")]
        query = sa.select(block, c.model, c.operation, *sums)
        query = query.where(c.target == name, c.minute >= since, c.minute < until).group_by(block, c.model, c.operation)
        with connection(self._engine) as conn:
            rows = conn.execute(query).all()
        frame = pd.DataFrame(
            rows, columns=["minute", "model", "operation", "n", "n_zero", "sum_log_ms", "sum_log_ms_sq"]
        )
        return frame.astype({"n": "int64", "n_zero": "int64"})

    def totals(self, name: str, since: datetime, until: datetime) -> tuple[int, float | None] | None:
        """Requests of a window and the mean of their durations above zero (ms); None where it was not read whole."""
        c = request_rollup.c
        found = self._sums(name, since, until, c.n, c.n - c.n_zero, c.sum_ms)
        if found is None:
            return None
        n, positive, total = found
        return int(n or 0), float(total) / int(positive) if positive else None

    def day(self, name: str, since: datetime, until: datetime) -> RequestDay | None:
        """Completed requests of a day; None where it was not read whole, or nothing is kept of it."""
        c = request_rollup.c
        found = self._sums(name, since, until, c.n, c.failed, c.sum_ms)
        if found is None or not found[0]:
            return None
        n, failed, total = int(found[0]), int(found[1]), float(found[2])
        return RequestDay("ledger rollups of requests", n, failed, total / n, None, None)

    def _sums(self, name: str, since: datetime, until: datetime, *terms: sa.ColumnElement[Any]) -> Any:
        """Sums over the minutes of a window; None where it was not read whole."""
        if (start := self._whole(name, since, until)) is None:
            return None
        c = request_rollup.c
        query = sa.select(*map(sa.func.sum, terms)).where(c.target == name, c.minute >= start, c.minute < until)
        with connection(self._engine) as conn:
            return conn.execute(query).one()

    def _whole(self, name: str, since: datetime, until: datetime) -> datetime | None:
        """The first minute of a window that was read whole; None for one that was not."""
        progress = self.progress(name)
        fresh = timedelta(minutes=5)
        if progress is None or progress.behind or progress.covers_since > since or progress.read_at < until - fresh:
            return None
        return since.replace(second=0, microsecond=0)

    def irregular(self, name: str, since: datetime) -> dict[str, int]:
        """Requests that were read since and did not count, or not under their name, by reason."""
        each = sa.func.jsonb_each_text(request_batch.c.rejected).table_valued("key", "value")
        query = sa.select(each.c.key, sa.func.sum(sa.cast(each.c.value, sa.BigInteger))).select_from(
            sa.join(request_batch, each, sa.true())
        )
        query = query.where(request_batch.c.target == name, request_batch.c.consumed_at >= since)
        with connection(self._engine) as conn:
            return {reason: int(n) for reason, n in conn.execute(query.group_by(each.c.key).order_by(each.c.key))}

    def by_model(self, name: str, since: datetime, until: datetime) -> pd.DataFrame | None:
        """Sums of a window by model and operation: n, n_zero, failed, sum_ms, max_ms, tokens; None where it was not
        read whole."""
        if (start := self._whole(name, since, until)) is None:
            return None
        c = request_rollup.c
        sums = [sa.func.sum(c[s]).label(s) for s in ("n", "n_zero", "failed", "sum_ms", "tokens")]
        query = sa.select(c.model, c.operation, *sums, sa.func.max(c.max_ms).label("max_ms"))
        query = query.where(c.target == name, c.minute >= start, c.minute < until).group_by(c.model, c.operation)
        with connection(self._engine) as conn:
            found = conn.execute(query)
            return pd.DataFrame(found.all(), columns=pd.Index(list(found.keys())))

    # ------------------------------------------------------------------ who was told

    def unreported(self, name: str) -> Sequence[Batch]:
        """Batches that are in no report yet, oldest first."""
        query = sa.select(*_BATCH).where(request_batch.c.target == name, request_batch.c.reported_at.is_(None))
        with connection(self._engine) as conn:
            return [Batch(**row) for row in conn.execute(query.order_by(request_batch.c.batch_id)).mappings()]

    def last_report(self, name: str) -> datetime | None:
        query = sa.select(sa.func.max(request_batch.c.reported_at)).where(request_batch.c.target == name)
        with connection(self._engine) as conn:
            return conn.execute(query).scalar_one()

    def claim_report(self, batches: Sequence[Batch]) -> int:
        """Say that these are about to be reported together; the report's id."""
        report_id = batches[-1].batch_id
        self._set([b.batch_id for b in batches], report_id=report_id)
        return report_id

    def reported(self, batches: Sequence[Batch], now: datetime) -> None:
        self._set([b.batch_id for b in batches], reported_at=now)

    def _set(self, ids: Sequence[int], **values: Any) -> None:
        with connection(self._engine) as conn:
            conn.execute(sa.update(request_batch).where(request_batch.c.batch_id.in_(ids)).values(**values))

    def open_alarm(self, name: str, since: datetime, began: datetime | None) -> list[dict[str, Any]]:
        """The newest alarm since `since` that no cycle knows of; `began`: when the last cycle did."""
        query = sa.select(request_batch.c.alarm).where(
            request_batch.c.target == name,
            request_batch.c.consumed_at > (max(since, began) if began else since),
            request_batch.c.analysis_id.is_(None),
            sa.func.jsonb_array_length(request_batch.c.alarm) > 0,
        )
        with connection(self._engine) as conn:
            return conn.execute(query.order_by(request_batch.c.consumed_at.desc()).limit(1)).scalar_one_or_none() or []

    # ------------------------------------------------------------------ requests for an analysis

    def take_up(
        self, name: str, asked: Mapping[int, datetime], *, at: datetime, reason: str, body: dict[str, Any]
    ) -> bool:
        """Pull the timer and note the requests (key → when) as taken up, in one transaction; False where a cycle runs.

        Their keys are kept for longer than the target shows a request.
        """
        with connection(self._engine) as conn:
            if pull(conn, name, at, reason, body) is None:
                return False
            for key, when in asked.items():
                day = when.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
                values = {"target": name, "source": "analysis", "bucket": day, "keys": ranges([key])}
                conn.execute(keys_sql.REMEMBER, values)
            old = max(asked.values()) - _ASKED_KEPT
            conn.execute(keys_sql.DROP_BUCKETS, {"target": name, "source": "analysis", "floor": old})
            return True


#: Columns travel as arrays: a statement with a parameter for each value takes longer to put together than to run.
_TYPES = {
    "minute": "timestamptz", "model": "text", "operation": "text", **dict.fromkeys(SUMS[:3], "bigint"),
    **dict.fromkeys((*SUMS[3:], "max_ms"), "float8"),
}  # fmt: skip
_ADD = sa.text(
    f"insert into ooda.request_rollup (target, {', '.join(_TYPES)}) "  # noqa: S608
    f"select :target, * from unnest({', '.join(f'cast(:{name} as {kind}[])' for name, kind in _TYPES.items())}) "
    "on conflict (target, minute, model, operation) do update set "
    + ", ".join(f"{name} = request_rollup.{name} + excluded.{name}" for name in SUMS)
    + ", max_ms = greatest(request_rollup.max_ms, excluded.max_ms)"
)


def _add(conn: sa.Connection, name: str, rollups: pd.DataFrame) -> None:
    for start in range(0, len(rollups), _CHUNK):
        rows = rollups.iloc[start : start + _CHUNK]
        minutes = {"minute": list(rows["minute"].dt.to_pydatetime())}
        values = {column: minutes.get(column) or rows[column].tolist() for column in _TYPES}
        conn.execute(_ADD, {"target": name, **values})


def _drop_older(conn: sa.Connection, name: str, oldest: datetime) -> None:
    conn.execute(sa.delete(request_rollup).where(request_rollup.c.target == name, request_rollup.c.minute < oldest))
    conn.execute(sa.delete(request_batch).where(request_batch.c.target == name, request_batch.c.consumed_at < oldest))
