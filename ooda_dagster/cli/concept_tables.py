"""Concepts for people, as several commands show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ooda_dagster.cli.output import out, table
from ooda_dagster.core.seen import ConceptSeen, EmbeddingsSeen
from ooda_dagster.core.wire import iso

_COLUMNS = ["concept", "rows", "share %", "coherence", "density", "state", "since", "last seen", "bound", "action"]


def show_concepts(seen: EmbeddingsSeen, patterns: Sequence[ConceptSeen]) -> None:
    """Concepts for people."""
    done = "all" if seen.complete else "so far"
    title = f"Concepts in {seen.table} ({seen.rows_counted:,} embeddings counted, {done}; {seen.noise:,} in none)"
    if not patterns:
        out.print(f"No concept in {seen.table}: {seen.quality.get('reason') or 'no embeddings lie close together'}.\n")
    else:
        table(title, _COLUMNS, [_row(p) for p in patterns])
    if seen.rejected:
        rows = list(seen.rejected.items())
        table("Embeddings that were left out", ["why", "rows"], rows)


def _row(p: ConceptSeen) -> tuple[Any, ...]:
    return (
        p.concept_id, p.cluster_size, 100 * p.share, p.coherence, p.density, p.state,
        iso(p.first_seen_at), iso(p.last_seen_at), p.binding or "no", p.action_id,
    )  # fmt: skip
