"""What did a target's inference requests come to - in all, by model, over time - by the sums that are kept of them?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa

from ooda_dagster.core.alarm import Reference, reference_of
from ooda_dagster.core.request_days import RequestDay
from ooda_dagster.core.seen import LatencyPoint
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import request_batch, request_progress, request_rollup

#: Where keys are kept that age by the id and not by the hour; stretches of time are counted from here.
ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)


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


_PROGRESS = [request_progress.c[f.name] for f in fields(Progress)]


class RequestSums:
    """Reads the rollups; `RequestBook` writes them."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def progress(self, name: str) -> Progress | None:
        with connection(self._engine) as conn:
            row = conn.execute(sa.select(*_PROGRESS).where(request_progress.c.target == name)).mappings().one_or_none()
            return Progress(**row) if row else None

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
