"""Which rows are of a concept, by what the ledger knows of it? And is it still the one that was approved?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ooda_dagster.actions.base import Say
from ooda_dagster.core.concept_binding import Binding
from ooda_dagster.core.concept_identity import told
from ooda_dagster.core.concepts import assign
from ooda_dagster.ledger.concepts import Concept, shape
from ooda_dagster.targets.embeddings import EmbeddingPage, comparable


@dataclass(frozen=True)
class Given:
    """What the ledger knows of the concepts of a target. events: what became of this one since it was proposed."""

    table: str
    model: str | None
    dimensions: int
    concepts: Sequence[Concept]
    events: Sequence[dict[str, Any]]
    say: Say

    def wanted(self, concept_id: str) -> Concept | None:
        return next((c for c in self.concepts if c.concept_id == concept_id), None)

    @property
    def digest(self) -> str:
        """Of all centroids and radii: another drawing of the concepts puts other rows into them."""
        parts = [f"{c.concept_id} {c.radius!r} ".encode() + (c.centroid or b"") for c in self.concepts]
        return hashlib.sha256(b"".join(sorted(parts))).hexdigest()

    def members(self, page: EmbeddingPage, concept_id: str) -> list[Any]:
        """Ids of the rows of a page that are of a concept."""
        of_space = [c for c in self.concepts if len(c.vector) == self.dimensions]
        usable = comparable(page, self.model, self.dimensions)
        labels = assign(usable.vectors, *shape(of_space, self.dimensions))
        mine = [n for n, c in enumerate(of_space) if c.concept_id == concept_id]
        return [page.ids[p] for p in usable.positions[labels == mine[0]]] if mine else []


def why_stale(wanted: Binding, concept: Concept | None, events: Sequence[dict[str, Any]]) -> str:
    """Why what was proposed of a concept holds no more, by name; nothing where it does."""
    if concept is not None and concept.version == wanted.version:
        return ""
    what = next((told(e) for e in events if e["kind"] != "missing"), "")
    if concept is None:
        return f"since it was proposed, concept {what or f'{wanted.concept_id} is gone'}"
    return f"since it was proposed, concept {what or f'{wanted.concept_id} has got other members'}"
