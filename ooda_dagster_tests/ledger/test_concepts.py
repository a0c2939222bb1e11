"""Does the ledger keep concepts apart by target, and for as long as it is told?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ooda_dagster.core.concept_identity import Event
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.concepts import Concept, ConceptProgress
from ooda_dagster_tests.ledger.ground import register

AT = datetime(2026, 3, 1, tzinfo=UTC)


def concept(name: str, at: datetime = AT) -> Concept:
    centroid = np.array([0.6, 0.8], dtype="<f4").tobytes()
    return Concept(name, "present", at, at, 0, 0, 10, 0.9, 0.5, 0.8, 3, 0.1, centroid)


def discover(
    ledger: Ledger, *found: str, at: datetime = AT, target: str = "t", missing: tuple[str, ...] = (),
    gone: tuple[str, ...] = (), events: tuple[Event, ...] = (), changed: tuple[str, ...] = (),
) -> ConceptProgress:  # fmt: skip
    progress = ConceptProgress({"dimensions": 2}, at, f"analysis of {at}", at)
    ledger.concepts.discovered(
        target, progress, [concept(f, at) for f in found], missing=missing, gone=gone, events=events, keep_d=30,
        changed=changed,
    )  # fmt: skip
    return progress


def test_a_discovery_is_read_back_and_begins_to_count_anew(known: Ledger) -> None:
    progress = discover(known, "a", "b", events=(Event("born", "a"), Event("split", "b", ("a",))))
    known.concepts.counted("t", progress, {"a": 7, "b": 2})
    known.concepts.counted("t", progress, {"a": 1})
    assert {c.concept_id: c.n for c in known.concepts.list("t")} == {"a": 8, "b": 2}
    assert known.concepts.list("t")[0].vector.tolist() == pytest.approx([0.6, 0.8])
    assert [(e["kind"], e["related"]) for e in known.concepts.events("t")] == [("split", ["a"]), ("born", [])]
    assert len(known.concepts.events("t", concept_id="a")) == 2
    assert known.concepts.events("t", analysis_id="another") == []
    discover(known, "a", at=AT + timedelta(days=1), missing=("b",))
    again = {c.concept_id: c for c in known.concepts.list("t")}
    assert (again["a"].n, again["a"].first_seen_at, again["a"].last_seen_at) == (0, AT, AT + timedelta(days=1))
    assert (again["b"].state, again["b"].absences) == ("missing", 1)


def test_discoveries_and_changes_of_a_concept_are_counted(known: Ledger) -> None:
    discover(known, "a", "b")
    discover(known, "a", at=AT + timedelta(days=1), missing=("b",), changed=("a",))
    discover(known, "a", "b", at=AT + timedelta(days=2))
    told = {c.concept_id: (c.discoveries, c.version) for c in known.concepts.list("t")}
    assert told == {"a": (3, 2), "b": (2, 1)}


def test_what_is_gone_has_no_centroid_and_is_forgotten_in_time(known: Ledger) -> None:
    discover(known, "a", "b", events=(Event("born", "a"), Event("born", "b")))
    discover(known, "a", at=AT + timedelta(days=1), gone=("b",), events=(Event("gone", "b"),))
    assert [c.concept_id for c in known.concepts.list("t")] == ["a"]
    assert [c.centroid for c in known.concepts.list("t", gone=True) if c.concept_id == "b"] == [None]
    discover(known, "a", at=AT + timedelta(days=31, hours=1))
    assert [c.concept_id for c in known.concepts.list("t", gone=True)] == ["a"]
    assert known.concepts.events("t") == []


def test_targets_know_nothing_of_each_other(known: Ledger) -> None:
    register(known, "other")
    discover(known, "a", events=(Event("born", "a"),))
    discover(known, "a", "b", target="other")
    discover(known, target="other", at=AT + timedelta(days=1), gone=("a", "b"))
    assert [c.state for c in known.concepts.list("t")] == ["present"]
    assert known.concepts.list("other") == []
    assert known.concepts.events("other") == []
