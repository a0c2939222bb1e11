"""What does a person see of the concepts in a target's embeddings?"""

from __future__ import annotations

from typing import Any

import dagster as dg

from ooda_dagster.core.messages import Observation
from ooda_dagster.core.seen import EmbeddingsSeen
from ooda_dagster.core.text import cut, many
from ooda_dagster.core.wire import iso
from ooda_dagster.defs.charts import scatter
from ooda_dagster.defs.metadata.tables import table

_TOP, _TOP_EVENTS = 10, 10
_LABELLED = 12


def describe_concepts(message: Observation) -> dict[str, Any]:
    """A table of the largest concepts, and where they lie; nothing where embeddings were not looked at."""
    seen = message.embeddings
    if seen is None:
        return {}
    rows = [
        {
            "concept": p.concept_id,
            "rows": p.cluster_size,
            "share %": 100 * p.share,
            "coherence": f"{p.coherence:.2f}",
            "density": f"{p.density:.2f}",
            "buckets": p.spatial_buckets,
            "since": iso(p.first_seen_at),
            "state": p.state,
            "bound": p.binding or "no",
        }
        for p in message.patterns[:_TOP]
    ]
    found: dict[str, Any] = {
        "concepts": len(message.patterns),
        "concepts_bound": sum(p.bound_rows > 0 for p in message.patterns),
        "concepts_found": table(rows, str(seen.quality.get("reason") or "no embeddings lie close together")),
        "embeddings": cut(summary(seen), 500),
    }
    if lines := [f"- {cut(e, 120)}" for e in seen.events[:_TOP_EVENTS]]:
        found["concepts_changed"] = dg.MetadataValue.md("\n".join(lines))
    if chart := _chart(seen):
        found["concepts_in_two_dimensions"] = dg.MetadataValue.md(chart)
    return found


def summary(seen: EmbeddingsSeen) -> str:
    """How embeddings were read, in words."""
    words = [f"{seen.rows_counted:,} rows of {seen.table} counted{'' if seen.complete else ', more in the next cycle'}"]
    words.append(f"{seen.in_concepts:,} in concepts, {seen.noise:,} in none")
    words += [f"{n:,} left out: {why}" for why, n in seen.rejected.items()]
    quality = seen.quality
    if quality.get("sample_rows"):
        words.append(
            f"concepts of {iso(seen.discovered_at)} from a sample of {quality['sample_rows']:,} in "
            f"{many(quality['spatial_buckets'], 'spatial bucket')}"
        )
    for name in ("silhouette", "agreement"):
        if quality.get(name) is not None:
            words.append(f"{name} {quality[name]:.2f}")
    if quality.get("own_buckets") is not None:
        words.append(f"{many(quality['own_buckets'], 'bucket')} of the table's own")
    if quality.get("incoherent"):
        words.append(f"{many(quality['incoherent'], 'cluster')} below concepts.coherence_threshold")
    return "; ".join(words)


def _chart(seen: EmbeddingsSeen) -> str:
    points = [(float(x), float(y), int(k)) for x, y, k in seen.picture.get("points", ())]
    if not points:
        return ""
    names = seen.picture.get("ids", ())
    centres = [
        (float(x), float(y), str(name))
        for (x, y), name in list(zip(seen.picture.get("centres", ()), names, strict=True))[:_LABELLED]
    ]
    return scatter(points, centres, "Concepts, and some rows of the sample, along the two directions of most variance")
