"""What the ledger knows of a target's embeddings, as messages and commands tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ooda_dagster.core.concept_identity import told
from ooda_dagster.core.seen import ConceptSeen, EmbeddingsSeen
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.concepts import Concept
from ooda_dagster.loop.known_bindings import BoundConcept, known_bindings

#: Most lines of what became of concepts in a message.
_MOST_EVENTS = 20


@dataclass(frozen=True)
class Seen:
    """What an observation says of embeddings. seen: None where there is no table of them."""

    seen: EmbeddingsSeen | None = None
    patterns: tuple[ConceptSeen, ...] = ()


def known_concepts(ledger: Ledger, target: str, *, analysis_id: str | None = None, gone: bool = False) -> Seen:
    """What the ledger knows of a target's embeddings; of analysis_id: what became of concepts in it.

    gone: concepts that are no more, too.
    """
    book = ledger.concepts
    progress = book.progress(target)
    if progress is None:
        return Seen()
    concepts = book.list(target, gone=gone)
    model, dimensions = progress.space
    compared = progress.rows - sum(progress.rejected.values())
    events = book.events(target, analysis_id=analysis_id)[::-1] if analysis_id else []
    seen = EmbeddingsSeen(
        table=str(progress.identity.get("table")),
        model=model,
        dimensions=dimensions,
        discovered_at=progress.discovered_at,
        rediscovered=progress.analysis_id == analysis_id,
        rows_counted=progress.rows,
        complete=progress.complete,
        in_concepts=sum(c.n for c in concepts),
        noise=progress.noise,
        rejected=progress.rejected,
        quality=progress.quality,
        events=event_lines(events)[:_MOST_EVENTS],
        picture=progress.picture,
    )
    bound, nothing = known_bindings(ledger, target), BoundConcept()
    return Seen(seen, tuple(_pattern(c, compared, bound.get(c.concept_id, nothing)) for c in concepts))


def _pattern(concept: Concept, compared: int, bound: BoundConcept) -> ConceptSeen:
    """A concept as a message tells of it. compared: rows that were counted and could be compared."""
    return ConceptSeen(
        concept_id=concept.concept_id,
        cluster_size=concept.n,
        share=round(concept.n / compared, 4) if compared else 0.0,
        sample_size=concept.sample_n,
        coherence=round(concept.coherence, 4),
        density=round(concept.density, 4),
        strength=round(concept.strength, 4),
        radius=round(concept.radius, 4),
        spatial_buckets=concept.buckets,
        state=concept.state,
        first_seen_at=concept.first_seen_at,
        last_seen_at=concept.last_seen_at,
        discoveries=concept.discoveries,
        version=concept.version,
        binding=bound.word,
        bound_rows=bound.rows,
        action_id=bound.action_id,
    )


def event_lines(events: list[dict[str, Any]]) -> list[str]:
    """What became of concepts, in words."""
    return [told(event) for event in events]
