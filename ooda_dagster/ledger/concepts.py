"""The concepts of a target's embeddings: each with its centroid, how far its rows are counted, what became of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.concept_identity import Event
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import concept, concept_event, concept_progress

PRESENT, MISSING, GONE = "present", "missing", "gone"


@dataclass(frozen=True)
class Concept:
    """One concept; the fields are the columns of the table. centroid: None once it is gone.

    discoveries: in how many it was found. version: rises when it is split, takes in another, or has few members left in
    common with the last discovery; what was approved of it before is of another one.
    """

    concept_id: str
    state: str
    first_seen_at: datetime
    last_seen_at: datetime
    absences: int
    n: int
    sample_n: int
    coherence: float
    density: float
    strength: float
    buckets: int
    radius: float
    centroid: bytes | None
    discoveries: int = 1
    version: int = 1

    @property
    def vector(self) -> NDArray[np.float32]:
        """The centroid as numbers."""
        return np.frombuffer(self.centroid or b"", dtype="<f4")


@dataclass(frozen=True)
class ConceptProgress:
    """How far the embeddings are counted since the last discovery; the fields are the columns of the table."""

    identity: dict[str, Any]
    discovered_at: datetime
    analysis_id: str
    read_at: datetime
    mark: str | None = None
    complete: bool = False
    rows: int = 0
    rows_then: int | None = None
    noise: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    picture: dict[str, Any] = field(default_factory=dict)

    @property
    def space(self) -> tuple[str | None, int]:
        """Model and number of dimensions of the vectors that are compared."""
        return self.identity.get("model"), int(self.identity.get("dimensions") or 0)


class ConceptBook:
    """Concepts by target. A target has one writer: the cycle that observes it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def progress(self, target: str) -> ConceptProgress | None:
        with connection(self._engine) as conn:
            row = conn.execute(_of(concept_progress, target)).mappings().first()
        return ConceptProgress(**{k: v for k, v in row.items() if k != "target"}) if row else None

    def list(self, target: str, *, gone: bool = False) -> list[Concept]:
        """Concepts, the largest first; those that are gone only where they are wanted."""
        asked = _of(concept, target).order_by(concept.c.n.desc(), concept.c.sample_n.desc(), concept.c.concept_id)
        if not gone:
            asked = asked.where(concept.c.state != GONE)
        with connection(self._engine) as conn:
            return [
                Concept(**{k: v for k, v in row.items() if k != "target"}) for row in conn.execute(asked).mappings()
            ]

    def events(
        self, target: str, *, analysis_id: str | None = None, concept_id: str | None = None, limit: int = 200
    ) -> list[dict[str, Any]]:
        """What became of concepts, the newest first: at, analysis_id, kind, concept_id, related."""
        asked = _of(concept_event, target).order_by(concept_event.c.event_id.desc()).limit(limit)
        if analysis_id is not None:
            asked = asked.where(concept_event.c.analysis_id == analysis_id)
        if concept_id is not None:
            mine = sa.or_(concept_event.c.concept_id == concept_id, concept_event.c.related.contains([concept_id]))
            asked = asked.where(mine)
        with connection(self._engine) as conn:
            rows = conn.execute(asked).mappings().all()
        return [{k: v for k, v in row.items() if k not in ("target", "event_id")} for row in rows]

    def discovered(
        self,
        target: str,
        progress: ConceptProgress,
        found: Sequence[Concept],
        *,
        missing: Sequence[str],
        gone: Sequence[str],
        events: Sequence[Event],
        keep_d: float,
        changed: Collection[str] = (),
    ) -> None:
        """Take a discovery: its concepts, what became of the others, and the counting that begins anew.

        changed: of those that were known before, the ids of those that are something else now.
        """
        at, mine = progress.discovered_at, concept.c.target == target
        old = at - timedelta(days=keep_d)
        with connection(self._engine) as conn:
            conn.execute(sa.update(concept).where(mine).values(n=0))
            for ids, values in (
                (missing, {"state": MISSING, "absences": concept.c.absences + 1}),
                (gone, {"state": GONE, "centroid": None}),
            ):
                if ids:
                    conn.execute(sa.update(concept).where(mine, concept.c.concept_id.in_(ids)).values(**values))
            for each in found:
                row = insert(concept).values(target=target, **asdict(each))
                newer: dict[str, sa.ColumnElement[Any]] = {
                    c.name: row.excluded[c.name] for c in concept.c if not c.primary_key
                }
                del newer["first_seen_at"]
                newer["discoveries"] = concept.c.discoveries + 1
                newer["version"] = concept.c.version + int(each.concept_id in changed)
                conn.execute(row.on_conflict_do_update(index_elements=["target", "concept_id"], set_=newer))
            if events:
                told = {"target": target, "at": at, "analysis_id": progress.analysis_id}
                rows = [{**told, **asdict(e), "related": [*e.related]} for e in events]
                conn.execute(sa.insert(concept_event), rows)
            conn.execute(sa.delete(concept_event).where(concept_event.c.target == target, concept_event.c.at < old))
            conn.execute(sa.delete(concept).where(mine, concept.c.state == GONE, concept.c.last_seen_at < old))
            _store(conn, target, progress)

    def counted(self, target: str, progress: ConceptProgress, added: Mapping[str, int]) -> None:
        """Take a stretch of rows: by concept how many more, and how far the counting came."""
        with connection(self._engine) as conn:
            for concept_id, n in added.items():
                mine = sa.and_(concept.c.target == target, concept.c.concept_id == concept_id)
                conn.execute(sa.update(concept).where(mine).values(n=concept.c.n + n))
            _store(conn, target, progress)


def shape(known: Sequence[Concept], dimensions: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centroids (k, d) and radii (k,) as `core.concepts.assign` takes them."""
    centroids = np.array([c.vector for c in known], dtype=np.float32).reshape(len(known), dimensions)
    return centroids, np.array([c.radius for c in known], dtype=np.float32)


def _of(table: sa.Table, target: str) -> sa.Select[Any]:
    return sa.select(table).where(table.c.target == target)


def _store(conn: sa.Connection, target: str, progress: ConceptProgress) -> None:
    row = insert(concept_progress).values(target=target, **asdict(progress))
    newer = {c.name: row.excluded[c.name] for c in concept_progress.c if not c.primary_key}
    conn.execute(row.on_conflict_do_update(index_elements=["target"], set_=newer))
