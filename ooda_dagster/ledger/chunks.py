"""Chunks of rollups in the ledger: one row for all statements of a target over some buckets of one grain."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa

from ooda_dagster.ledger.packing import COUNTERS, SCALED, Cells, pack, unpack
from ooda_dagster.ledger.tables import rollup_chunk, statement

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
#: Relative errors that a cell may have beyond rounding to whole numbers. Calls have none. The coarser a grain, the
#: older it is, and the more of its cells are summed before anybody looks.
ERRORS = {
    "minute": dict.fromkeys(SCALED, 0.0) | {"sum_ms": 1e-9, "sum_ms_sq": 1e-4},
    "block": dict.fromkeys(SCALED, 1e-2) | {"sum_ms": 1e-3},
    "hour": dict.fromkeys(SCALED, 1e-1) | {"sum_ms": 1e-2},
}
#: Rows that are fetched at once: what a reader holds beside its result.
_ROWS = 16


@dataclass(frozen=True)
class Chunk:
    """Buckets in the order of time, and their cells. starts: microseconds since 1970, UTC; spans_s: lengths in s."""

    starts: np.ndarray
    spans_s: np.ndarray
    cells: Cells


def microseconds(at: datetime) -> int:
    """Of a moment, since 1970."""
    return (at - _EPOCH) // _US


def moment(us: int) -> datetime:
    """The inverse of `microseconds`."""
    return _EPOCH + int(us) * _US


def one_bucket(start: datetime, span_s: float, ids: np.ndarray, values: Mapping[str, np.ndarray]) -> Chunk:
    """A chunk of one bucket. values: counter → one number for each of the statements `ids`, which differ."""
    order = np.argsort(ids, kind="stable")
    cells = Cells(
        ids[order], np.arange(len(ids)), np.zeros(len(ids), "int64"), {name: values[name][order] for name in COUNTERS}
    )
    return Chunk(np.array([microseconds(start)]), np.array([span_s], float), cells)


def row_of(name: str, grain: str, chunk: Chunk) -> dict[str, Any]:
    """A chunk as a row of `rollup_chunk`."""
    starts = [moment(us) for us in chunk.starts]
    return {
        "target": name,
        "grain": grain,
        "first_start": starts[0],
        "last_start": starts[-1],
        "starts": starts,
        "spans_s": chunk.spans_s.tolist(),
        "called": np.bincount(chunk.cells.bucket, minlength=len(starts)).tolist(),
        "data": pack(chunk.cells, len(starts), ERRORS[grain]),
    }


def chunk_of(row: Any, columns: Collection[str] = COUNTERS, only: np.ndarray | None = None) -> Chunk:
    """The chunk in a row with starts, spans_s and data; some counters and some statements of it alone, if wished."""
    starts = np.array([microseconds(at) for at in row.starts], "int64")
    return Chunk(starts, np.array(row.spans_s, float), unpack(row.data, columns, only))


def read(
    conn: sa.Connection,
    name: str,
    since: datetime,
    until: datetime,
    *,
    columns: Collection[str] = COUNTERS,
    only: Collection[int] | None = None,
) -> Iterator[Chunk]:
    """Chunks that have buckets which begin in [since, until), by time, without the cells of other buckets.

    All are of one moment, whatever is compacted meanwhile, and one is in memory at a time.
    """
    c = rollup_chunk.c
    query = (
        sa.select(c.starts, c.spans_s, c.data)
        .where(c.target == name, c.first_start < until, c.last_start >= since)
        .order_by(c.first_start)
    )
    wanted = None if only is None else np.unique(np.array(list(only), "int64"))
    for row in conn.execute(query, execution_options={"stream_results": True, "yield_per": _ROWS}):
        chunk = chunk_of(row, columns, wanted)
        inside = (chunk.starts >= microseconds(since)) & (chunk.starts < microseconds(until))
        yield chunk if inside.all() else _cut(chunk, inside)


def _cut(chunk: Chunk, inside: np.ndarray) -> Chunk:
    """The chunk with some of its buckets."""
    cells, number = chunk.cells, np.cumsum(inside) - 1
    kept = inside[cells.bucket]
    values = {name: found[kept] for name, found in cells.values.items()}
    chosen = Cells(cells.ids, cells.row[kept], number[cells.bucket[kept]], values)
    return Chunk(chunk.starts[inside], chunk.spans_s[inside], chosen)


def split(chunk: Chunk, at: int) -> tuple[Chunk | None, Chunk | None]:
    """The buckets that begin before `at` (microseconds since 1970), and the others."""
    before = chunk.starts < at
    if before.all() or not before.any():
        return (chunk, None) if before.all() else (None, chunk)
    return _cut(chunk, before), _cut(chunk, ~before)


def combined(chunks: Sequence[Chunk], width: timedelta | None = None) -> Chunk:
    """One chunk of several: their buckets side by side or, with a width, summed in stretches of it.

    A stretch begins with its first bucket and is as long as its buckets are together.
    """
    step = 1 if width is None else width // _US
    starts = np.concatenate([chunk.starts for chunk in chunks])
    _, first, stretch = np.unique(starts // step, return_index=True, return_inverse=True)
    begins = starts[first]
    np.minimum.at(begins, stretch, starts)
    spans = np.bincount(stretch, np.concatenate([chunk.spans_s for chunk in chunks]))
    ids = np.unique(np.concatenate([chunk.cells.ids for chunk in chunks]))
    offsets = np.cumsum([0, *(len(chunk.starts) for chunk in chunks)])
    row = np.concatenate([np.searchsorted(ids, chunk.cells.ids)[chunk.cells.row] for chunk in chunks])
    bucket = stretch[np.concatenate([chunk.cells.bucket + at for chunk, at in zip(chunks, offsets, strict=False)])]
    cell = row * len(begins) + bucket
    size = len(ids) * len(begins)
    seen = np.flatnonzero(np.bincount(cell, minlength=size))
    values = {
        name: np.bincount(cell, np.concatenate([c.cells.values[name] for c in chunks]), minlength=size)[seen]
        for name in COUNTERS
    }
    used, row_of_used = np.unique(seen // len(begins), return_inverse=True)
    return Chunk(begins, spans, Cells(ids[used], row_of_used, seen % len(begins), values))


def sums(
    conn: sa.Connection,
    name: str,
    since: datetime,
    until: datetime,
    *,
    columns: Collection[str] = COUNTERS,
    only: Collection[int] | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Sums over the buckets that begin in [since, until): the statements' ids, and counter → one sum for each."""
    ids, found = np.zeros(0, "int64"), {column: np.zeros(0) for column in columns}
    for chunk in read(conn, name, since, until, columns=columns, only=only):
        every = np.union1d(ids, np.unique(chunk.cells.ids[chunk.cells.row]))
        mine = np.searchsorted(every, chunk.cells.ids[chunk.cells.row])
        before = np.searchsorted(every, ids)
        for column in columns:
            total = np.bincount(mine, chunk.cells.values[column], minlength=len(every)).astype(float)
            total[before] += found[column]
            found[column] = total
        ids = every
    return ids, found


def ids_of(conn: sa.Connection, name: str, fingerprints: Collection[str]) -> list[int]:
    """Ids of the statements with these fingerprints."""
    query = sa.select(statement.c.statement_id).where(
        statement.c.target == name, statement.c.fingerprint.in_(list(fingerprints))
    )
    return list(conn.execute(query).scalars())


# A chunk's arrays, bucket by bucket.
_EACH = """
    from ooda.rollup_chunk r cross join lateral unnest(r.starts, r.spans_s, r.called) as b(start, span_s, called)
    where r.target = :target and r.first_start < :until and b.start < :until
"""
_SINCE = "and r.last_start >= :since and b.start >= :since"

#: Buckets that begin in [since, until), by time: grain, start, span_s.
BUCKETS = sa.text(f"select r.grain, b.start, b.span_s {_EACH} {_SINCE} order by b.start")

#: The first of them, and the seconds that they cover.
COVERAGE = sa.text(f"select min(b.start) as first, sum(b.span_s) as covered_s {_EACH} {_SINCE}")

#: Starts of the newest minutes before `until` in which something was called.
NEWEST = sa.text(f"select b.start {_EACH} and r.grain = 'minute' and b.called > 0 order by b.start desc limit :buckets")
