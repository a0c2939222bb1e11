"""Past days of each target: one row a target and day, and the sums over rollups that it is made of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.workload_day import NO_DATA, Work, WorkloadDay
from ooda_dagster.ledger.chunks import BUCKETS, sums
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import request_read, statement, workload_day

_COLUMNS = [workload_day.c[name] for name in WorkloadDay.__dataclass_fields__]


@dataclass(frozen=True)
class Covered:
    """How much of a window the buckets of one grain cover. `past_end_s`: by how much the last one runs over its end."""

    grain: str
    hours: float
    past_end_s: float


class WorkloadDays:
    """Rolled-up days."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def store(self, found: WorkloadDay) -> WorkloadDay:
        """Keep a day in place of what was known of it, and return what is kept.

        What tells less takes the place of nothing that told more: rollups go after 400 days, what they told stays.
        """
        values = asdict(found)
        row = insert(workload_day).values(**values)
        update = {name: row.excluded[name] for name in values if name not in ("target", "day")}
        # Requests are kept for a shorter time than statements.
        update |= {n: sa.func.coalesce(row.excluded[n], workload_day.c[n]) for n in ("requests", "failed", "avg_ms")}
        better = _told(row.excluded) >= _told(workload_day.c)
        with connection(self._engine) as conn:
            conn.execute(row.on_conflict_do_update(index_elements=["target", "day"], set_=update, where=better))
            kept = sa.select(*_COLUMNS).where(workload_day.c.target == found.target, workload_day.c.day == found.day)
            return WorkloadDay(**conn.execute(kept).mappings().one())

    def list(self, since: date, until: date, names: Collection[str] | None = None) -> Sequence[WorkloadDay]:
        """Days from `since` to `until`, both included, by day and target."""
        query = sa.select(*_COLUMNS).where(workload_day.c.day.between(since, until))
        if names is not None:
            query = query.where(workload_day.c.target.in_(list(names)))
        with connection(self._engine) as conn:
            rows = conn.execute(query.order_by(workload_day.c.day, workload_day.c.target)).mappings()
            return [WorkloadDay(**row) for row in rows]

    def covered(self, name: str, since: datetime, until: datetime) -> Sequence[Covered]:
        """The grains of the buckets that begin in [since, until), finest first."""
        with connection(self._engine) as conn:
            rows = conn.execute(BUCKETS, {"target": name, "since": since, "until": until}).all()
        found = []
        for grain in ("minute", "block", "hour"):
            mine = [r for r in rows if r.grain == grain]
            if mine:
                inside = [min(r.span_s, (until - r.start).total_seconds()) for r in mine]
                end = max(r.start + timedelta(seconds=r.span_s) for r in mine)
                found.append(Covered(grain, sum(inside) / 3600, max(0.0, (end - until).total_seconds())))
        return found

    def work(self, name: str, since: datetime, until: datetime) -> dict[str, Work]:
        """fingerprint → calls and time in the buckets that begin in [since, until)."""
        with connection(self._engine) as conn:
            ids, found = sums(conn, name, since, until, columns=("n", "sum_ms"))
            query = sa.select(statement.c.statement_id, statement.c.fingerprint)
            rows = conn.execute(query.where(statement.c.statement_id.in_(ids.tolist()))).all()
        known = {row.statement_id: row.fingerprint for row in rows}
        heaviest = np.argsort(-found["sum_ms"], kind="stable")
        return {known[ids[k]]: Work(int(found["n"][k]), float(found["sum_ms"][k])) for k in heaviest if ids[k] in known}

    def read_slot(self, name: str, *, now: datetime, per_minute: int) -> datetime:
        """When the caller may read the target's requests; every caller gets a moment of its own."""
        step = timedelta(seconds=60 / per_minute)
        row = insert(request_read).values(target=name, next_at=now + step)
        later = {"next_at": sa.func.greatest(request_read.c.next_at, now) + step}
        taken = row.on_conflict_do_update(index_elements=["target"], set_=later).returning(request_read.c.next_at)
        with connection(self._engine) as conn:
            return conn.execute(taken).scalar_one() - step


def _told(day: Any) -> sa.Case[int]:
    """Nothing, requests alone, or statements."""
    return sa.case((day.source == NO_DATA, 0), (day.calls.is_(None), 1), else_=2)
