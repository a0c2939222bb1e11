"""Chunks of rollups grow old: minutes are joined into hours, then summed into 5-minute blocks, then into hours.

Each step rewrites one stretch of time in one transaction, which takes the old chunks away and puts the new one there:
whoever dies loses and doubles nothing, and the next call goes on where it was. Of two at once, one waits and then finds
nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from ooda_dagster.core.settings import Sampling
from ooda_dagster.ledger.chunks import Chunk, chunk_of, combined, microseconds, moment, row_of, split
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import rollup_chunk, sample_gap

_LOCK = 0x726F6C6C


@dataclass(frozen=True)
class _Grain:
    """width: of a bucket, where it is made of others; stretch: of time that one chunk holds."""

    name: str
    width: timedelta | None
    stretch: timedelta


_MINUTE = _Grain("minute", None, timedelta(hours=1))
_BLOCK = _Grain("block", timedelta(minutes=5), timedelta(hours=6))
_HOUR = _Grain("hour", timedelta(hours=1), timedelta(days=1))


def compact(engine: sa.Engine, name: str, *, now: datetime, policy: Sampling) -> None:
    """Minutes into 5-minute blocks, blocks into hours, drop what is older than kept, and join the minutes of each hour
    that is over."""
    steps = (
        (_MINUTE, _BLOCK, now - timedelta(hours=policy.keep_minutes_h)),
        (_BLOCK, _HOUR, now - timedelta(days=policy.keep_blocks_d)),
        (_MINUTE, _MINUTE, now),
    )
    for source, grain, cut in steps:
        limit = _floor(cut, grain.width or grain.stretch)
        for begin in _stretches(engine, name, source, grain, limit):
            _rewrite(engine, name, source, grain, begin, limit)
    oldest = now - timedelta(days=policy.keep_hours_d)
    with connection(engine) as conn:
        conn.execute(sa.delete(rollup_chunk).where(rollup_chunk.c.target == name, rollup_chunk.c.last_start < oldest))
        conn.execute(sa.delete(sample_gap).where(sample_gap.c.target == name, sample_gap.c.until < oldest))


def _floor(at: datetime, width: timedelta) -> datetime:
    step = width // timedelta(microseconds=1)
    return moment(microseconds(at) // step * step)


def _stretches(engine: sa.Engine, name: str, source: _Grain, grain: _Grain, limit: datetime) -> list[datetime]:
    """Where there is something to do: the beginnings of stretches of `grain`, oldest first."""
    c = rollup_chunk.c
    begin = sa.func.date_bin(grain.stretch, c.first_start, moment(0))
    query = sa.select(begin).where(c.target == name, c.grain == source.name, c.first_start < limit)
    if source is grain:
        query = query.having(sa.func.count() > 1)
    with connection(engine) as conn:
        return list(conn.execute(query.group_by(sa.text("1")).order_by(sa.text("1"))).scalars())


def _rewrite(engine: sa.Engine, name: str, source: _Grain, grain: _Grain, begin: datetime, limit: datetime) -> None:
    """Take the chunks of `source` in a stretch into its chunk of `grain`, as far as their buckets begin before `limit`.

    A chunk that `limit` parts stays, with its newer buckets.
    """
    end = begin + grain.stretch
    with connection(engine) as conn:
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK, sa.func.hashtext(name))))
        taken = _taken(conn, name, source, begin, min(end, limit))
        parts = [split(chunk, microseconds(limit)) for chunk in taken]
        old = [before for before, _ in parts if before is not None]
        if not old:
            return
        if source is not grain:
            old += _taken(conn, name, grain, begin, end)
        rows = [row_of(name, grain.name, combined(old, grain.width))]
        rows += [row_of(name, source.name, rest) for _, rest in parts if rest is not None]
        conn.execute(sa.insert(rollup_chunk), rows)


def _taken(conn: sa.Connection, name: str, grain: _Grain, begin: datetime, end: datetime) -> list[Chunk]:
    """Chunks that begin in a stretch; they are in the table no longer."""
    c = rollup_chunk.c
    gone = sa.delete(rollup_chunk).where(
        c.target == name, c.grain == grain.name, c.first_start >= begin, c.first_start < end
    )
    return [chunk_of(row) for row in conn.execute(gone.returning(c.starts, c.spans_s, c.data))]
