"""Does clustering find what was planted, nothing where nothing is, and the same again?"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from ooda_dagster.core.concept_settings import Concepts
from ooda_dagster.core.concept_vectors import unit, z_order
from ooda_dagster.core.concepts import NOISE, assign, find_clusters, shape_of
from ooda_dagster_tests.core.planted_concepts import Planted, directions, plant

POLICY = Concepts()


@pytest.mark.parametrize(
    ("concepts", "dimensions", "spread", "noise"),
    [
        (20, 384, 0.8, 0.1),
        (8, 64, 0.5, 0.1),
        (3, 8, 0.2, 0.0),
        pytest.param(20, 384, 0.5, 0.1, marks=pytest.mark.slow),
        pytest.param(5, 1536, 0.5, 0.05, marks=pytest.mark.slow),
    ],
)
def test_planted_clusters_are_recovered(concepts: int, dimensions: int, spread: float, noise: float) -> None:
    centres = directions(concepts, dimensions, seed=1)
    sample = plant(centres, 2000, spread=spread, noise=noise, seed=2)
    rest = plant(centres, 5000, spread=spread, noise=noise, seed=3)
    found = find_clusters(sample.vectors, POLICY, seed=5)
    labels = assign(rest.vectors, *shape_of(found.clusters, dimensions))
    score = adjusted_rand_score(rest.labels, labels)
    print(f"{concepts} in {dimensions} dimensions, spread {spread}: {len(found.clusters)} found, ARI {score:.3f}")
    assert len(found.clusters) == concepts
    assert score >= 0.9
    assert found.quality["agreement"] >= 0.95
    assert all(c.coherence >= POLICY.coherence_threshold for c in found.clusters)


@pytest.mark.parametrize("offset", [0.0, 3.0], ids=["everywhere", "in a cone"])
def test_where_there_is_no_cluster_none_is_found(offset: float) -> None:
    rows = np.random.default_rng(1).normal(size=(1500, 64)).astype(np.float32)
    rows[:, 0] += offset * 8
    found = find_clusters(unit(rows)[0], POLICY, seed=1)
    assert found.clusters == []
    assert found.quality["sample_noise"] == 1500


def test_the_same_seed_gives_the_same_and_another_one_nearly_the_same() -> None:
    sample = plant(directions(6, 32, seed=1), 1200, seed=2)
    first, again, other = (find_clusters(sample.vectors, POLICY, seed=s).labels for s in (1, 1, 2))
    assert (first == again).all()
    assert adjusted_rand_score(first, other) > 0.99


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_too_few_rows_are_no_concept_and_it_says_so(rows: int) -> None:
    found = find_clusters(plant(directions(1, 16, seed=1), rows, seed=2).vectors, POLICY, seed=1)
    assert found.clusters == []
    assert len(found.labels) == rows
    assert f"{rows} usable embeddings" in found.quality["reason"]


def test_equal_rows_are_one_concept() -> None:
    found = find_clusters(np.repeat(directions(1, 16, seed=1), 500, axis=0), POLICY, seed=1)
    assert [(c.n, round(c.coherence, 6)) for c in found.clusters] == [(500, 1.0)]


def test_copies_of_a_few_vectors_are_as_many_concepts() -> None:
    rows = np.repeat(directions(4, 16, seed=1), 300, axis=0)
    found = find_clusters(rows, POLICY, seed=1)
    assert sorted(c.n for c in found.clusters) == [300] * 4


def test_a_cluster_whose_members_point_apart_is_no_concept() -> None:
    sample = plant(directions(3, 32, seed=1), 1500, spread=0.8, seed=2)
    assert len(find_clusters(sample.vectors, POLICY, seed=1).clusters) == 3
    strict = POLICY.model_copy(update={"coherence_threshold": 0.95})
    found = find_clusters(sample.vectors, strict, seed=1)
    assert (found.clusters, found.quality["incoherent"]) == ([], 3)


def test_only_the_largest_concepts_are_kept_and_the_rest_is_told() -> None:
    sample = plant(directions(6, 32, seed=1), 1200, seed=2)
    found = find_clusters(sample.vectors, POLICY.model_copy(update={"max_concepts": 4}), seed=1)
    sizes = [c.n for c in found.clusters]
    assert len(sizes) == 4
    assert sizes == sorted(sizes, reverse=True)
    assert found.quality["beyond_max_concepts"] == 2
    assert sizes == np.bincount(found.labels[found.labels != NOISE]).tolist()


def test_zero_and_infinite_vectors_are_counted_by_name() -> None:
    rows = np.ones((6, 3), dtype=np.float32)
    rows[1], rows[2, 0], rows[3, 1] = 0, np.nan, np.inf
    vectors, positions, rejected = unit(rows)
    assert positions.tolist() == [0, 4, 5]
    assert rejected == {"zero": 1, "not finite": 2}
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_large_and_small_numbers_keep_their_direction() -> None:
    vectors, _, rejected = unit(np.array([[3e38, 3e38], [1e-38, 0]], dtype=np.float32))
    assert rejected == {}
    assert np.allclose(vectors, [[0.5**0.5, 0.5**0.5], [1, 0]])


def test_spatial_buckets_are_cells_along_a_z_order_curve() -> None:
    corners = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], dtype=np.float32)
    codes = z_order(corners)
    assert codes.tolist() == sorted(codes.tolist())
    assert (codes[0], codes[-1]) == (0, 16**3 - 1)
    assert len(set(codes.tolist())) == 8


def test_the_picture_holds_few_rows_and_no_vector() -> None:
    sample = plant(directions(6, 32, seed=1), 1200, seed=2)
    found = find_clusters(sample.vectors, POLICY, seed=1)
    assert len(found.picture["points"]) == 250
    assert {len(p) for p in found.picture["points"]} == {3}
    assert len(found.picture["centres"]) == 6


def test_assign_takes_the_nearest_that_reaches() -> None:
    centroids = np.eye(3, dtype=np.float32)[:2]
    rows, _, _ = unit(np.array([[1, 0.1, 0], [0.1, 1, 0], [0, 0, 1], [1, 1, 0]], dtype=np.float32))
    assert assign(rows, centroids, np.array([0.2, 0.2], dtype=np.float32)).tolist() == [0, 1, NOISE, NOISE]
    assert assign(rows, centroids[:0], np.zeros(0, dtype=np.float32)).tolist() == [NOISE] * 4


def test_a_sample_knows_what_was_planted() -> None:
    sample = plant(directions(2, 8, seed=1), 100, noise=0.5, seed=2)
    assert isinstance(sample, Planted)
    assert set(sample.labels.tolist()) == {-1, 0, 1}
