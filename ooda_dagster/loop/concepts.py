"""Which concepts are in the target's embeddings, and are they those of last time?

A discovery clusters a sample and begins to count the rows of each concept; until the next one, only rows that came
since are read. All that is told is read from the ledger, so that a phase that is repeated tells the same.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from ooda_dagster.core.concept_identity import Event, match
from ooda_dagster.core.concept_vectors import Ints
from ooda_dagster.core.concepts import NOISE, Clustering, assign, find_clusters
from ooda_dagster.core.seen import BlindSpot
from ooda_dagster.core.text import many
from ooda_dagster.ledger.concepts import PRESENT, Concept, ConceptProgress, shape
from ooda_dagster.loop.anomalies import seed_of
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.known_concepts import Seen, known_concepts
from ooda_dagster.targets.base import Observing, TargetError
from ooda_dagster.targets.embeddings import EmbeddingPage, EmbeddingTable, comparable, rows_of_page

#: Most concepts of a message.
_MOST = 50
_SAY_EVERY_S = 5.0
#: A discovery whose rows are still being counted is not made anew before it is so many times as old as others.
_PATIENCE = 7
#: The table holds less than this share of what was counted: it was emptied.
_SHRUNK = 0.5


def find_concepts(loop: Loop, session: Observing, analysis_id: str, *, scope: str, blind: list[BlindSpot]) -> Seen:
    """Discover concepts where that is due, in scope `embeddings` always, and count the rows that are new.

    What stands in the way is added to `blind`.
    """
    if scope not in ("full", "embeddings"):
        return Seen()
    try:
        table = session.embedding_table(loop.settings.concepts)
        if table is None:
            return Seen()
        progress = loop.ledger.concepts.progress(loop.name)
        here = _here(session, table)
        if progress is None or _due(loop, table, progress, here, analysis_id, always=scope == "embeddings"):
            progress = _discover(loop, table, progress, here, analysis_id)
        _count(loop, table, progress, most=math.inf if scope == "embeddings" else loop.settings.concepts.max_rows)
    except TargetError as error:
        blind.append(BlindSpot(what="embeddings", why=str(error)))
    known = known_concepts(loop.ledger, loop.name, analysis_id=analysis_id)
    return replace(known, patterns=known.patterns[:_MOST])


def _here(session: Observing, table: EmbeddingTable) -> dict[str, Any]:
    """What tells this table from another one behind the same name."""
    server = session.capabilities()
    return {
        "system_identifier": server.system_identifier,
        "database_oid": server.database_oid,
        "table": table.label,
    }


def _due(
    loop: Loop,
    table: EmbeddingTable,
    progress: ConceptProgress,
    here: dict[str, Any],
    analysis_id: str,
    *,
    always: bool,
) -> bool:
    policy = loop.settings.concepts
    if progress.analysis_id == analysis_id:  # its phase is repeated
        return False
    patience = 1 if progress.complete else _PATIENCE
    grown = progress.rows_then is not None and progress.rows >= (1 + policy.rediscover_share) * progress.rows_then + 1
    return (
        always
        or any(progress.identity.get(key) != value for key, value in here.items())
        or loop.clock() - progress.discovered_at >= timedelta(hours=policy.rediscover_h) * patience
        or grown
        or (progress.complete and table.rows() < _SHRUNK * progress.rows)
    )


# ------------------------------------------------------------------ discovery


def _discover(
    loop: Loop, table: EmbeddingTable, before: ConceptProgress | None, here: dict[str, Any], analysis_id: str
) -> ConceptProgress:
    policy, now, seed = loop.settings.concepts, loop.clock(), seed_of(analysis_id)
    began = time.monotonic()
    page = table.sample(policy.sample_rows, seed=seed)
    model, dimensions = _space(page, before)
    vectors = comparable(page, model, dimensions).vectors
    found = find_clusters(vectors, policy, seed=seed)
    identity = {**here, "model": model, "dimensions": dimensions}
    known = loop.ledger.concepts.list(loop.name)
    lost = known if before is None or before.identity != identity else []  # another table or space: none compares
    known = [] if lost else known
    matching = match(
        [(c.concept_id, c.absences) for c in known],
        assign(vectors, *shape(known, dimensions)),
        found.labels,
        len(found.clusters),
        floor=policy.same_share,
        absences=policy.absences,
        name=lambda n: _name(analysis_id, n),
        same=policy.bind_same_share,
    )
    quality = {**found.quality, "seed": seed, "own_buckets": page.buckets}
    progress = ConceptProgress(
        identity, now, analysis_id, now, quality=quality, picture={**found.picture, "ids": matching.ids}
    )
    loop.ledger.concepts.discovered(
        loop.name,
        progress,
        _concepts(found, matching.ids, now),
        missing=matching.missing,
        gone=[*matching.gone, *(c.concept_id for c in lost)],
        events=[*(Event("gone", c.concept_id) for c in lost), *matching.events],
        keep_d=policy.keep_d,
        changed=matching.changed,
    )
    took = time.monotonic() - began
    loop.say(f"{many(len(found.clusters), 'concept')} in a sample of {len(vectors):,} embeddings ({took:.1f} s)")
    return progress


def _concepts(found: Clustering, ids: list[str], now: datetime) -> list[Concept]:
    return [
        Concept(
            concept_id=concept_id,
            state=PRESENT,
            first_seen_at=now,
            last_seen_at=now,
            absences=0,
            n=0,
            sample_n=cluster.n,
            coherence=cluster.coherence,
            density=cluster.density,
            strength=cluster.strength,
            buckets=cluster.buckets,
            radius=cluster.radius,
            centroid=cluster.centroid.astype("<f4").tobytes(),
        )
        for concept_id, cluster in zip(ids, found.clusters, strict=True)
    ]


def _name(analysis_id: str, position: int) -> str:
    """An opaque id, the same for the same discovery."""
    return f"c{hashlib.sha256(f'{analysis_id} {position}'.encode()).hexdigest()[:10]}"


def _space(page: EmbeddingPage, before: ConceptProgress | None) -> tuple[str | None, int]:
    """Model and number of dimensions of most of a sample; that of before while it has half as many.

    Vectors of two models, or of two dimensions, cannot be compared.
    """
    counts: Counter[tuple[str | None, int]] = Counter()
    for dimensions, (positions, _) in page.vectors.items():
        counts.update((page.models[p], dimensions) for p in positions)
    if not counts:
        return before.space if before else (None, 0)
    most = max(counts, key=lambda space: (counts[space], space[1], space[0] or ""))
    same = before.space if before else None
    return same if same is not None and counts[same] * 2 >= counts[most] else most


# ------------------------------------------------------------------ counting


@dataclass(frozen=True)
class _Counted:
    """Rows of this cycle. Replaced as a whole after each page, so that no page is half counted when work breaks off."""

    mark: str | None
    sizes: Ints
    rows: int = 0
    noise: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    done: bool = False


def _count(loop: Loop, table: EmbeddingTable, progress: ConceptProgress, *, most: float) -> None:
    """Go on where the last cycle ended, for at most so many rows; ids without an order are gone through once."""
    if progress.complete and not table.numeric:
        return
    model, dimensions = progress.space
    known = [c for c in loop.ledger.concepts.list(loop.name) if len(c.vector) == dimensions]
    centroids, radii = shape(known, dimensions)
    chunk = rows_of_page(loop.settings.concepts.chunk_rows, dimensions)
    now = _Counted(progress.mark, np.zeros(len(known), dtype=np.int64))
    told = time.monotonic()
    try:
        while now.rows < most and not now.done:
            limit = int(min(chunk, most - now.rows))
            page = table.page(now.mark, limit=limit)
            usable = comparable(page, model, dimensions)
            labels = assign(usable.vectors, centroids, radii)
            now = _Counted(
                mark=page.last or now.mark,
                sizes=now.sizes + np.bincount(labels[labels != NOISE], minlength=len(known)),
                rows=now.rows + page.n,
                noise=now.noise + int((labels == NOISE).sum()),
                rejected=now.rejected + usable.rejected,
                done=page.n < limit,
            )
            if time.monotonic() - told > _SAY_EVERY_S:
                told = time.monotonic()
                loop.say(f"{progress.rows + now.rows:,} of about {table.rows():,.0f} embeddings counted")
    finally:
        complete = now.done or (progress.complete and now.rows == 0)
        total = progress.rows + now.rows
        after = replace(
            progress,
            read_at=loop.clock(),
            mark=now.mark,
            complete=complete,
            rows=total,
            rows_then=total if complete and progress.rows_then is None else progress.rows_then,
            noise=progress.noise + now.noise,
            rejected=dict(Counter(progress.rejected) + now.rejected),
        )
        added = {c.concept_id: int(n) for c, n in zip(known, now.sizes, strict=True) if n}
        loop.ledger.concepts.counted(loop.name, after, added)
