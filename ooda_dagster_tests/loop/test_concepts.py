"""Are concepts found in a real table, named alike from cycle to cycle, and each row counted once?"""

from __future__ import annotations

import json

import numpy as np
import pytest

from ooda_dagster.loop import concepts
from ooda_dagster.loop.observe import observe
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.embeddings import EmbeddingPage
from ooda_dagster_tests.core.planted_concepts import directions, leaked, plant
from ooda_dagster_tests.loop.embeddings import MakeSpace, Space
from ooda_dagster_tests.loop.ground import begun, logged


@pytest.fixture
def space(make_space: MakeSpace) -> Space:
    """Six directions, of a target that is only looked at."""
    return make_space(6, 32)


def test_planted_concepts_are_found_and_every_row_is_counted(space: Space) -> None:
    labels = space.write(2000, noise=0.1)
    seen = space.seen()
    planted = np.bincount(labels[labels >= 0])
    assert (seen.rows_counted, seen.complete, seen.rejected, seen.dimensions) == (2000, True, {}, 32)
    assert seen.in_concepts + seen.noise == 2000
    found = sorted(space.sizes.values())
    assert len(found) == 6
    assert np.allclose(found, sorted(planted), rtol=0.05, atol=5)
    assert [e.split()[1:] for e in seen.events] == [["is", "new"]] * 6
    assert seen.quality["silhouette"] > 0.4


def test_patterns_tell_the_largest_concept_first(space: Space) -> None:
    space.write(1500)
    patterns = space.look().patterns
    assert [p.cluster_size for p in patterns] == sorted((p.cluster_size for p in patterns), reverse=True)
    assert abs(sum(p.share for p in patterns) - 1) < 0.01
    body = patterns[0].model_dump(by_alias=True)
    assert {"ConceptId", "ClusterSize", "Coherence", "Density", "SpatialBuckets", "State"} <= set(body)


def test_names_last_over_samples_and_new_data_and_only_new_rows_are_read(space: Space) -> None:
    space.write(1500)
    space.seen()
    names = set(space.sizes)
    space.write(150, seed=2)
    with logged(space.database) as statements:
        again = space.seen()
        reads = [line for line in statements.lines if "select (atom_embedding_id" in line]
    assert (again.rediscovered, again.rows_counted, len(reads)) == (False, 1650, 2)  # their types, and one page
    assert sum(space.sizes.values()) + again.noise == 1650
    other = space.discover()
    assert (other.rediscovered, set(space.sizes), other.events) == (True, names, [])
    assert sum(space.sizes.values()) + other.noise == 1650


def test_a_discovery_is_made_anew_after_a_time_and_after_much_that_is_new(space: Space) -> None:
    space.write(1000, concepts=slice(0, 4))
    assert space.seen().rediscovered
    assert not space.seen().rediscovered
    space.later(hours=25)
    assert space.seen().rediscovered
    space.write(400, concepts=slice(4, 6), seed=2)
    assert not space.seen().rediscovered  # it is counted first
    assert space.seen().rediscovered
    assert space.kinds == ["born"] * 6


def test_rows_that_lie_where_nothing_was_are_born_and_what_left_is_gone_in_the_end(space: Space) -> None:
    space.write(600, concepts=slice(0, 3))
    space.discover()
    first = set(space.sizes)
    space.run("truncate atom_embeddings")
    space.write(600, concepts=slice(2, 5), seed=2)
    space.discover()
    assert space.kinds[3:] == ["missing", "missing", "born", "born"]
    space.discover()
    assert space.kinds[7:] == ["gone", "gone"]
    assert len(first & set(space.sizes)) == 1
    gone = [c for c in space.loop.ledger.concepts.list(space.loop.name, gone=True) if c.state == "gone"]
    assert [c.centroid for c in gone] == [None, None]


def test_a_split_and_a_merger_are_recorded(space: Space) -> None:
    def arc(gap: bool, seed: int) -> np.ndarray:
        chance = np.random.default_rng(seed)
        t = chance.random(500)
        t = np.where(t < 0.5, 0.6 * t, 1 - 0.6 * (1 - t)) if gap else t
        a, b = space.centres[0] + 0.5 * space.centres[1], space.centres[0] - 0.5 * space.centres[1]
        own = 0.15 * chance.normal(0, 1 / np.sqrt(32), (500, 32))
        return (np.outer(t, a) + np.outer(1 - t, b) + own).astype(np.float32)

    for step, gap in enumerate((False, True, False)):
        space.run("truncate atom_embeddings")
        space.copy(arc(gap, seed=step))
        space.write(500, concepts=slice(2, 4), seed=9)
        space.discover()
    assert [k for k in space.kinds if k != "born"] == ["split", "merged"]


def test_what_cannot_be_compared_is_counted_by_name(space: Space) -> None:
    space.write(300, concepts=slice(0, 2))
    space.copy([[1.0, 2.0]] * 7)
    space.copy(np.zeros((5, 32), dtype=np.float32))
    space.run("insert into atom_embeddings (embedding) select null from generate_series(1, 3)")
    space.run("insert into atom_embeddings (embedding, model_id) select embedding, 2 from atom_embeddings limit 20")
    space.set(model="model_id")
    seen = space.seen()
    assert seen.rejected == {"NULL": 3, "of another dimension": 7, "zero": 5, "of another model": 20}
    assert (seen.model, seen.rows_counted, len(space.sizes)) == ("1", 335, 2)


@pytest.mark.parametrize("rows", [0, 1])
def test_an_empty_table_and_a_single_row_are_no_error(rows: int, space: Space) -> None:
    space.write(rows)
    seen = space.seen()
    assert (space.sizes, seen.rows_counted, seen.complete) == ({}, rows, True)
    assert "fewer than a concept has" in seen.quality["reason"]


def test_equal_rows_are_one_concept(space: Space) -> None:
    space.copy(np.repeat(space.centres[:1], 100, axis=0))
    space.seen()
    assert list(space.sizes.values()) == [100]


def test_of_a_large_table_a_part_is_counted_in_each_cycle(space: Space) -> None:
    space.write(1000)
    space.set(max_rows=400)
    counted = [(seen.rows_counted, seen.complete) for seen in (space.seen() for _ in range(4))]
    assert counted == [(400, False), (800, False), (1000, True), (1000, True)]
    assert sum(space.sizes.values()) <= 1000
    everything = space.discover()  # by hand
    assert (everything.rows_counted, everything.complete) == (1000, True)


def test_a_discovery_whose_rows_are_still_counted_is_given_time(space: Space) -> None:
    space.write(1000)
    space.set(max_rows=400)
    space.seen()
    space.later(hours=25)
    assert not space.seen().rediscovered
    space.later(hours=7 * 24)
    assert space.seen().rediscovered


def test_a_phase_that_is_repeated_tells_the_same_and_counts_nothing_twice(space: Space) -> None:
    space.write(600)
    first, again = (space.look(analysis_id="a1", scope="embeddings") for _ in range(2))
    assert again == first
    assert len(space.kinds) == 6


def test_what_was_counted_before_a_page_failed_is_kept(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    space.write(900)
    assert space.seen(scope="embeddings").rows_counted == 900
    space.write(600, seed=2)
    comparable, calls = concepts.comparable, []

    def broken(page: EmbeddingPage, model: str | None, dimensions: int) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise TargetError("the connection was lost")
        return comparable(page, model, dimensions)

    monkeypatch.setattr(concepts, "comparable", broken)
    found = space.look()
    assert [str(b.why) for b in space.blind] == ["the connection was lost"]
    assert found.seen is not None
    assert (found.seen.rows_counted, found.seen.complete) == (1200, False)
    monkeypatch.undo()
    assert space.seen().rows_counted == 1500
    assert sum(space.sizes.values()) + space.seen().noise == 1500


def test_a_worker_that_dies_between_discovery_and_counting_leaves_the_counting_to_the_next(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    space.write(600)

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(concepts, "_count", dies)
    with pytest.raises(KeyboardInterrupt):
        space.look()
    monkeypatch.undo()
    seen = space.seen()
    assert (seen.rediscovered, seen.rows_counted, seen.complete) == (False, 600, True)
    assert space.kinds == ["born"] * 6
    assert sum(space.sizes.values()) + seen.noise == 600


def test_vectors_of_another_length_are_other_concepts(space: Space) -> None:
    space.write(500)
    space.seen()
    before = set(space.sizes)
    space.run("truncate atom_embeddings")
    space.copy(plant(directions(3, 16, seed=1), 500, seed=1).vectors)
    space.discover()
    assert len(space.sizes) == 3
    assert before & set(space.sizes) == set()
    assert space.kinds.count("gone") == 6


def test_ids_without_an_order_are_gone_through_once_a_discovery(space: Space) -> None:
    space.write(500)
    space.run("alter table atom_embeddings add key uuid not null default gen_random_uuid() unique")
    space.set(id="key")
    assert space.seen().rows_counted == 500
    space.write(50, seed=2)
    assert space.seen().rows_counted == 500
    assert space.discover().rows_counted == 550


def test_a_wrong_mapping_is_a_blind_spot(space: Space) -> None:
    space.set(embedding="nowhere")
    assert space.look().seen is None
    assert "concepts.enabled = false" in space.blind[0].why


def test_only_the_scopes_that_want_it_read_embeddings(space: Space) -> None:
    space.write(200)
    for scope in ("performance", "models"):
        assert space.look(scope=scope).seen is None
    space.set(enabled=False)
    assert space.look().seen is None
    assert space.loop.ledger.concepts.progress(space.loop.name) is None


def test_an_observation_holds_concepts_and_no_number_of_an_embedding(space: Space) -> None:
    labels = space.write(500)
    assert len(labels) == 500
    with logged(space.database) as statements:
        message = observe(space.loop, begun(space.loop), scope="embeddings")
        assert statements.writes == []
        assert all("/* ooda */" in line for line in statements.lines if "atom_embeddings" in line)
    assert message.embeddings is not None
    assert len(message.patterns) == 6
    text = json.dumps(message.body())
    stored = space.run("select embedding::real[] from atom_embeddings")
    centroids = [c.vector for c in space.loop.ledger.concepts.list(space.loop.name)]
    assert leaked(np.array([*(row for (row,) in stored), *centroids], dtype=np.float32), text) == []
    assert "m4rk" not in text
    assert len(text) < 40_000
