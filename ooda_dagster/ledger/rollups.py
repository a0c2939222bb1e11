"""Per-bucket statement rollups: written by the sampler, compacted with age, read as frames."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.settings import Sampling
from ooda_dagster.ledger import chunks, compaction
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.packing import COUNTERS, WHOLE
from ooda_dagster.ledger.tables import counter_snapshot, rollup_chunk, sample_gap, statement, statement_query, target

__all__ = ["COUNTERS", "Rollups", "Snapshot"]


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
                conn.execute(sa.insert(rollup_chunk).values(_minute(name, since, span_s, frame)))
        return True

    def snapshot(self, name: str) -> Snapshot | None:
        """The last counters."""
        query = sa.select(counter_snapshot.c.taken_at, counter_snapshot.c.epoch, counter_snapshot.c.counters)
        with connection(self._engine) as conn:
            row = conn.execute(query.where(counter_snapshot.c.target == name)).mappings().one_or_none()
            return Snapshot(**row) if row else None

    def frame(
        self,
        name: str,
        since: datetime,
        until: datetime,
        *,
        fingerprints: Collection[str] | None = None,
        columns: Collection[str] = COUNTERS,
    ) -> pd.DataFrame:
        """Buckets that begin in [since, until), by time: minute, span_s, fingerprint (categories) and the counters.

        How exact the counters are says docs/rollups.md. columns: those of COUNTERS that are wanted.
        """
        with connection(self._engine) as conn:
            only = None if fingerprints is None else chunks.ids_of(conn, name, fingerprints)
            found = list(chunks.read(conn, name, since, until, columns=columns, only=only))
            known = _known(conn, name)
        return _frame(found, known, [column for column in COUNTERS if column in columns])

    def totals(self, name: str, since: datetime, until: datetime) -> pd.DataFrame:
        """Sums over [since, until) per statement, heaviest first: fingerprint, kind, text and the counters."""
        with connection(self._engine) as conn:
            ids, sums = chunks.sums(conn, name, since, until)
            query = sa.select(statement.c.statement_id, statement.c.fingerprint, statement.c.kind, statement.c.text)
            rows = conn.execute(query.where(statement.c.statement_id.in_(ids.tolist()))).all()
        found = pd.DataFrame(rows, columns=pd.Index(["statement_id", "fingerprint", "kind", "text"]))
        place = np.searchsorted(ids, found.pop("statement_id").to_numpy("int64"))
        for column in COUNTERS:
            found[column] = _typed(column, sums[column][place])
        return found.sort_values("sum_ms", ascending=False, kind="stable", ignore_index=True)

    def newest(self, name: str, until: datetime, buckets: int) -> datetime | None:
        """Start of the newest `buckets` minute buckets in which something was called; None where there is none."""
        with connection(self._engine) as conn:
            parameters = {"target": name, "until": until, "buckets": buckets}
            starts = conn.execute(chunks.NEWEST, parameters).scalars().all()
            return starts[-1] if starts else None

    def coverage(self, name: str, since: datetime, until: datetime) -> tuple[datetime | None, float]:
        """First bucket's start in [since, until), and how many seconds the buckets cover, quiet ones too."""
        with connection(self._engine) as conn:
            first, covered = conn.execute(chunks.COVERAGE, {"target": name, "since": since, "until": until}).one()
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
        compaction.compact(self._engine, name, now=now, policy=policy)


def _minute(name: str, start: datetime, span_s: float, frame: pd.DataFrame) -> dict[str, Any]:
    """A sample as a chunk's row. frame: statement_id, which differ, and the counters."""
    if frame.empty:
        frame = pd.DataFrame(columns=pd.Index(["statement_id", *COUNTERS]))
    values = {column: _typed(column, frame[column].to_numpy(float)) for column in COUNTERS}
    ids = frame["statement_id"].to_numpy(float).astype("int64")
    return chunks.row_of(name, "minute", chunks.one_bucket(start, span_s, ids, values))


def _typed(column: str, values: np.ndarray) -> np.ndarray:
    return np.rint(values).astype("int64") if column in WHOLE else values


def _known(conn: sa.Connection, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Ascending ids of a target's statements, and their fingerprints."""
    query = sa.select(statement.c.statement_id, statement.c.fingerprint).where(statement.c.target == name)
    rows = conn.execute(query.order_by(statement.c.statement_id)).all()
    return np.array([row[0] for row in rows], "int64"), np.array([row[1] for row in rows], object)


def _frame(found: list[chunks.Chunk], known: tuple[np.ndarray, np.ndarray], columns: list[str]) -> pd.DataFrame:
    ids, fingerprints = known
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("minute", "span_s", "statement", *columns)}
    for chunk in found:
        cells = chunk.cells
        narrow = "uint16" if len(chunk.starts) < 1 << 16 else "int64"  # sorted by radix
        order = np.argsort(cells.bucket.astype(narrow), kind="stable")
        order = order[np.isin(cells.ids, ids)[cells.row[order]]]
        bucket = cells.bucket[order]
        parts["minute"].append(chunk.starts[bucket])
        parts["span_s"].append(chunk.spans_s[bucket])
        parts["statement"].append(np.searchsorted(ids, cells.ids)[cells.row[order]])
        for name in columns:
            parts[name].append(cells.values[name][order])
    joined = {name: np.concatenate(part) if part else np.zeros(0, "int64") for name, part in parts.items()}
    number = joined.pop("statement").astype("int64")
    used = np.flatnonzero(np.bincount(number, minlength=len(ids)))
    place = np.zeros(len(ids), "int64")
    place[used] = np.arange(len(used))
    minute = pd.DatetimeIndex(joined.pop("minute").view("M8[us]")).tz_localize("UTC")
    names = pd.Categorical.from_codes(place[number], categories=pd.Index(fingerprints[used]))  # type: ignore[arg-type]
    return pd.DataFrame({"minute": minute, "span_s": joined.pop("span_s"), "fingerprint": names, **joined}, copy=False)
