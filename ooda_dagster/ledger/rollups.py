"""Per-bucket statement rollups: written by the sampler, compacted with age, read as frames."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.settings import Sampling
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import counter_snapshot, rollup, sample_gap, statement, statement_query, target

#: Counters of a bucket: name in the frame → column of the table.
COUNTERS = {
    "n": "calls",
    "sum_ms": "total_ms",
    "sum_ms_sq": "total_ms_sq",
    "rows": "rows",
    "blocks_hit": "blocks_hit",
    "blocks_read": "blocks_read",
    "temp_blocks": "temp_blocks",
    "wal_bytes": "wal_bytes",
}
_WHOLE = {"n", "rows", "blocks_hit", "blocks_read", "temp_blocks", "wal_bytes"}


@dataclass(frozen=True)
class Snapshot:
    """Counters at one moment. `epoch` tells when they last started from zero (reset, restart)."""

    taken_at: datetime
    epoch: dict[str, Any]
    counters: bytes


class Rollups:
    """Buckets, statements and the sampler's own state."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    # ------------------------------------------------------------------ statements

    def known_queries(self, name: str) -> dict[int, int | None]:
        """query_id → statement_id (None: one of the loop's own statements)."""
        query = sa.select(statement_query.c.query_id, statement_query.c.statement_id)
        with connection(self._engine) as conn:
            return {
                row.query_id: row.statement_id for row in conn.execute(query.where(statement_query.c.target == name))
            }

    def learn_queries(self, name: str, found: Sequence[tuple[int, str | None, str, str]]) -> None:
        """Register (query_id, fingerprint, kind, text); a fingerprint of None marks a statement of our own."""
        if not found:
            return
        with connection(self._engine) as conn:
            rows = {f: {"target": name, "fingerprint": f, "kind": k, "text": t} for _, f, k, t in found if f}
            if rows:
                conn.execute(insert(statement).values(list(rows.values())).on_conflict_do_nothing())
            query = sa.select(statement.c.fingerprint, statement.c.statement_id).where(
                statement.c.target == name, statement.c.fingerprint.in_(list(rows))
            )
            ids = {row.fingerprint: row.statement_id for row in conn.execute(query)}
            links = [{"target": name, "query_id": q, "statement_id": ids[f] if f else None} for q, f, _, _ in found]
            conn.execute(insert(statement_query).values(links).on_conflict_do_nothing())

    def statements(self, name: str, fingerprints: Collection[str] | None = None) -> pd.DataFrame:
        """Columns fingerprint, kind, text."""
        query = sa.select(statement.c.fingerprint, statement.c.kind, statement.c.text).where(statement.c.target == name)
        if fingerprints is not None:
            query = query.where(statement.c.fingerprint.in_(list(fingerprints)))
        with connection(self._engine) as conn:
            return pd.DataFrame(conn.execute(query).all(), columns=pd.Index(["fingerprint", "kind", "text"]))

    def known_statements(self, name: str) -> dict[int, str]:
        """query_id → fingerprint, of the statements that are not our own."""
        query = sa.select(statement_query.c.query_id, statement.c.fingerprint).join(
            statement, statement.c.statement_id == statement_query.c.statement_id
        )
        with connection(self._engine) as conn:
            return {row.query_id: row.fingerprint for row in conn.execute(query.where(statement.c.target == name))}

    # ------------------------------------------------------------------ buckets

    def store(
        self,
        name: str,
        *,
        previous: Snapshot | None,
        current: Snapshot,
        frame: pd.DataFrame,
        gaps: Sequence[tuple[str, str]] = (),
    ) -> bool:
        """Keep a sample: its bucket, its gaps and the new counters, in one transaction.

        frame: statement_id and the counters' columns, one row a statement with calls in the bucket. A bucket in which
        nothing was called is kept too: quiet is not unknown. Returns False, storing nothing, where another sampler was
        faster.
        """
        with connection(self._engine) as conn:
            locked = sa.select(counter_snapshot.c.taken_at).where(counter_snapshot.c.target == name).with_for_update()
            stored = conn.execute(locked).scalar_one_or_none()
            if stored != (previous.taken_at if previous else None):
                return False
            values = {"taken_at": current.taken_at, "epoch": current.epoch, "counters": current.counters}
            if previous:
                conn.execute(sa.update(counter_snapshot).where(counter_snapshot.c.target == name).values(**values))
            else:
                first = insert(counter_snapshot).values(target=name, **values).on_conflict_do_nothing()
                if conn.execute(first.returning(counter_snapshot.c.target)).one_or_none() is None:
                    return False
            conn.execute(sa.update(target).where(target.c.name == name).values(last_sampled_at=current.taken_at))
            since = previous.taken_at if previous else current.taken_at
            for kind, detail in gaps:
                gap = {"since": since, "until": current.taken_at, "kind": kind, "detail": detail}
                conn.execute(sa.insert(sample_gap).values(target=name, **gap))
            if previous and (len(frame) or not gaps):
                span_s = (current.taken_at - since).total_seconds()
                conn.execute(sa.insert(rollup).values(_packed(name, since, span_s, frame)))
        return True

    def snapshot(self, name: str) -> Snapshot | None:
        """The last counters."""
        query = sa.select(counter_snapshot.c.taken_at, counter_snapshot.c.epoch, counter_snapshot.c.counters)
        with connection(self._engine) as conn:
            row = conn.execute(query.where(counter_snapshot.c.target == name)).mappings().one_or_none()
            return Snapshot(**row) if row else None

    def frame(
        self, name: str, since: datetime, until: datetime, *, fingerprints: Collection[str] | None = None
    ) -> pd.DataFrame:
        """Buckets in [since, until): columns minute, span_s, fingerprint and the counters of COUNTERS."""
        with connection(self._engine) as conn:
            rows = conn.execute(
                _UNPACK,
                {
                    "target": name,
                    "since": since,
                    "until": until,
                    "fingerprints": None if fingerprints is None else list(fingerprints),
                },
            ).all()
        return pd.DataFrame(rows, columns=pd.Index(["minute", "span_s", "fingerprint", *COUNTERS]))

    def totals(self, name: str, since: datetime, until: datetime) -> pd.DataFrame:
        """Sums over [since, until) per statement, heaviest first: fingerprint, kind, text and the counters."""
        with connection(self._engine) as conn:
            rows = conn.execute(_TOTALS, {"target": name, "since": since, "until": until}).all()
        return pd.DataFrame(rows, columns=pd.Index(["fingerprint", "kind", "text", *COUNTERS]))

    def newest(self, name: str, until: datetime, buckets: int) -> datetime | None:
        """Start of the newest `buckets` minute buckets in which something was called; None where there is none."""
        query = sa.select(rollup.c.bucket_start).where(
            rollup.c.target == name,
            rollup.c.grain == "minute",
            rollup.c.bucket_start < until,
            sa.func.cardinality(rollup.c.statement_ids) > 0,
        )
        with connection(self._engine) as conn:
            starts = conn.execute(query.order_by(rollup.c.bucket_start.desc()).limit(buckets)).scalars().all()
            return starts[-1] if starts else None

    def coverage(self, name: str, since: datetime, until: datetime) -> tuple[datetime | None, float]:
        """First bucket's start in [since, until), and how many seconds the buckets cover, quiet ones too."""
        query = sa.select(sa.func.min(rollup.c.bucket_start), sa.func.sum(rollup.c.span_s)).where(
            rollup.c.target == name, rollup.c.bucket_start >= since, rollup.c.bucket_start < until
        )
        with connection(self._engine) as conn:
            first, covered = conn.execute(query).one()
            return first, float(covered or 0)

    def gaps(self, name: str, since: datetime, until: datetime) -> pd.DataFrame:
        """Columns since, until, kind, detail."""
        query = (
            sa.select(sample_gap.c.since, sample_gap.c.until, sample_gap.c.kind, sample_gap.c.detail)
            .where(sample_gap.c.target == name, sample_gap.c.until >= since, sample_gap.c.since < until)
            .order_by(sample_gap.c.since)
        )
        with connection(self._engine) as conn:
            return pd.DataFrame(conn.execute(query).all(), columns=pd.Index(["since", "until", "kind", "detail"]))

    def compact(self, name: str, *, now: datetime, policy: Sampling) -> None:
        """Minutes into 5-minute blocks, blocks into hours, and drop what is older than kept."""
        steps = (
            ("minute", "block", now - timedelta(hours=policy.keep_minutes_h), "5 minutes"),
            ("block", "hour", now - timedelta(days=policy.keep_blocks_d), "1 hour"),
        )
        with connection(self._engine) as conn:
            for source, grain, cut, width in steps:
                conn.execute(_COMPACT, {"target": name, "source": source, "grain": grain, "cut": cut, "width": width})
            oldest = now - timedelta(days=policy.keep_hours_d)
            conn.execute(sa.delete(rollup).where(rollup.c.target == name, rollup.c.bucket_start < oldest))
            conn.execute(sa.delete(sample_gap).where(sample_gap.c.target == name, sample_gap.c.until < oldest))


def _packed(name: str, start: datetime, span_s: float, frame: pd.DataFrame) -> dict[str, Any]:
    values: dict[str, Any] = {"target": name, "grain": "minute", "bucket_start": start, "span_s": span_s}
    if frame.empty:
        return values | {column: [] for column in ("statement_ids", *COUNTERS.values())}
    frame = frame.sort_values("statement_id")
    values["statement_ids"] = frame["statement_id"].astype(int).tolist()
    for column, stored in COUNTERS.items():
        numbers = frame[column].to_numpy()
        values[stored] = (np.rint(numbers).astype("int64") if column in _WHOLE else numbers.astype(float)).tolist()
    return values


_ARRAYS = ", ".join(f"r.{column}" for column in COUNTERS.values())
_NAMES = ", ".join(COUNTERS.values())
_SUMS = ", ".join(
    f"sum(u.{stored})::{'bigint' if column in _WHOLE else 'float8'} as {stored}" for column, stored in COUNTERS.items()
)
_AGGREGATED = ", ".join(f"array_agg({column} order by statement_id)" for column in COUNTERS.values())

# The names that are put together here are COUNTERS', never input.
_UNPACK = sa.text(
    f"""
    select r.bucket_start, r.span_s, s.fingerprint, {", ".join(f"u.{c}" for c in COUNTERS.values())}
    from ooda.rollup r
    cross join lateral unnest(r.statement_ids, {_ARRAYS}) as u(statement_id, {_NAMES})
    join ooda.statement s on s.statement_id = u.statement_id
    where r.target = :target and r.bucket_start >= :since and r.bucket_start < :until
      and (cast(:fingerprints as text[]) is null or s.fingerprint = any(cast(:fingerprints as text[])))
    order by r.bucket_start, s.statement_id
    """  # noqa: S608
)

_TOTALS = sa.text(
    f"""
    select s.fingerprint, s.kind, s.text, {", ".join(f"t.{c}" for c in COUNTERS.values())}
    from (
        select u.statement_id, {_SUMS}
        from ooda.rollup r
        cross join lateral unnest(r.statement_ids, {_ARRAYS}) as u(statement_id, {_NAMES})
        where r.target = :target and r.bucket_start >= :since and r.bucket_start < :until
        group by u.statement_id
    ) t
    join ooda.statement s on s.statement_id = t.statement_id
    order by t.total_ms desc
    """  # noqa: S608
)

# Whole blocks only: a block that is still filling stays as it is.
_COMPACT = sa.text(
    f"""
    with old as (
        delete from ooda.rollup r
        where target = :target and grain = :source
          and bucket_start < date_bin(cast(:width as interval), cast(:cut as timestamptz), '2000-01-01 00:00+00')
        returning r.*
    ), spans as (
        select date_bin(cast(:width as interval), bucket_start, '2000-01-01 00:00+00') as block,
               min(bucket_start) as starts, sum(span_s) as span_s
        from old group by 1
    ), sums as (
        select date_bin(cast(:width as interval), r.bucket_start, '2000-01-01 00:00+00') as block,
               u.statement_id, {_SUMS}
        from old r
        cross join lateral unnest(r.statement_ids, {_ARRAYS}) as u(statement_id, {_NAMES})
        group by 1, 2
    ), packed as (
        select block, array_agg(statement_id order by statement_id), {_AGGREGATED}
        from sums group by block
    )
    insert into ooda.rollup (target, grain, bucket_start, span_s, statement_ids, {_NAMES})
    select :target, :grain, s.starts, s.span_s, coalesce(p.statement_ids, '{{}}'),
           {", ".join(f"coalesce(p.{c}, '{{}}')" for c in COUNTERS.values())}
    from spans s left join (select * from packed) as p(block, statement_ids, {_NAMES}) using (block)
    """  # noqa: S608
)
