"""How far were a target's inference requests read, what did they come to, and who was told?

A read is one transaction: what it consumed, its rollups and its batch. That transaction is what makes it exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.requests import SUMS
from ooda_dagster.ledger import request_keys as keys_sql
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.request_files import RequestFile, drop_files, keep_files, read_files
from ooda_dagster.ledger.request_keys import ranges
from ooda_dagster.ledger.request_sums import Progress, RequestSums
from ooda_dagster.ledger.tables import request_batch, request_file, request_progress, request_rollup
from ooda_dagster.ledger.timer import pull

_CHUNK = 10_000
#: Requests for an analysis are shown for 7 days.
_ASKED_KEPT = timedelta(days=9)


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


_BATCH = [request_batch.c[f.name] for f in fields(Batch)]


class RequestBook(RequestSums):
    """Progress, rollups and batches of inference requests; requests for an analysis that were taken up."""

    # ------------------------------------------------------------------ reading the target

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
