"""Does a person see the concepts: a table, what changed, and a small picture?"""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

from ooda_dagster.core.messages import Observation
from ooda_dagster.core.settings import Mode
from ooda_dagster.defs.charts import scatter
from ooda_dagster.defs.metadata import describe
from ooda_dagster_tests.core.messages import COMMON, concept, embeddings
from ooda_dagster_tests.defs.ground import records


def observation(**values: object) -> Observation:
    return Observation(**{**COMMON, "mode": Mode.PROPOSE, "lookback_hours": 24, **values})  # type: ignore[arg-type]


def svg(markdown: str) -> ElementTree.Element:
    found = re.search(r"base64,([^)]*)", markdown)
    assert found
    return ElementTree.fromstring(base64.b64decode(found[1]))


def test_concepts_are_a_table_with_a_summary() -> None:
    metadata = describe(observation(patterns=[concept()], embeddings=embeddings()))
    assert metadata["concepts"] == 1
    assert records(metadata["concepts_found"]) == [
        {
            "concept": "c0123456789",
            "rows": 1200,
            "share %": 24.0,
            "coherence": "0.91",
            "density": "0.40",
            "buckets": 12,
            "since": "2026-03-01T12:00:00.123Z",
            "state": "present",
            "bound": "no",
        }
    ]
    assert metadata["concepts_bound"] == 0
    assert metadata["embeddings"] == (
        "5,000 rows of public.atom_embeddings counted; 4,500 in concepts, 480 in none; 20 left out: NULL; concepts of "
        "2026-03-01T12:00:00.123Z from a sample of 1,000 in 321 spatial buckets; silhouette 0.61; agreement 1.00; "
        "77 buckets of the table's own; 1 cluster below concepts.coherence_threshold"
    )
    assert metadata["concepts_changed"].value == "- c0123456789 is new"


def test_which_concepts_are_bound_or_are_to_be_is_said() -> None:
    patterns = [
        concept().model_copy(update={"binding": "bound", "bound_rows": 1200}),
        concept().model_copy(update={"binding": "waits for approval"}),
    ]
    metadata = describe(observation(patterns=patterns, embeddings=embeddings()))
    assert [row["bound"] for row in records(metadata["concepts_found"])] == ["bound", "waits for approval"]
    assert metadata["concepts_bound"] == 1


def test_the_picture_has_every_row_and_the_names_of_the_largest() -> None:
    metadata = describe(observation(patterns=[concept()], embeddings=embeddings(20)))
    markdown = metadata["concepts_in_two_dimensions"].value
    assert len(markdown) < 30_000
    drawn = svg(markdown)
    space = "{http://www.w3.org/2000/svg}"
    dots = sum((p.get("d") or "").count("M") for p in drawn.iter(f"{space}path"))
    texts = [t.text for t in drawn.iter(f"{space}text")]
    assert dots == 250
    assert [t for t in texts if t and t.startswith("c000")] == [f"c{n:010}" for n in range(12)]


def test_points_lie_within_the_picture_wherever_they_are() -> None:
    points = [(1e9, -1e9, 0), (-1e9, 1e9, 1), (0.0, 0.0, -1)]
    for given in (points, points[:1], []):
        drawn = svg(scatter(given, [(0.0, 0.0, "<c>")], "A & B"))
        width, height = (int(drawn.get(side) or 0) for side in ("width", "height"))
        for path in drawn.iter("{http://www.w3.org/2000/svg}path"):
            for x, y in re.findall(r"M(-?\d+) (-?\d+)", path.get("d") or ""):
                assert 0 <= int(x) <= width
                assert 0 <= int(y) <= height


def test_where_there_is_no_concept_a_word_says_why_and_where_nothing_was_looked_at_nothing_does() -> None:
    none = embeddings(0, 0, quality={"reason": "3 usable embeddings are fewer than a concept has (10)"})
    metadata = describe(observation(embeddings=none))
    assert "fewer than a concept has" in str(metadata["concepts_found"].value)
    assert "concepts_in_two_dimensions" not in metadata
    assert not any("concept" in name for name in describe(observation()))
