"""Isolation forest and local outlier factor of new rows, against a sample of ordinary ones; see fixed.py for the
papers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ooda_dagster.core.detection.rows import Floats, Ints
from ooda_dagster.core.request_settings import Detect

#: Farther out than this (standard deviations), a row is as far as can be.
_FARTHEST = 30.0
_LEAST_K_DISTANCE = 0.5
_CHUNK = 50_000


@dataclass(frozen=True)
class Forest:
    """trees: each with the length of the path to each of its nodes; average: of a path in a tree of as many rows.

    What scikit-learn's score_samples gives, without the checks of each tree, which cost most where rows are few.
    """

    trees: tuple[tuple[Any, Floats], ...]
    average: float

    @classmethod
    def of(cls, grown: Any, rows: int) -> Forest:
        """grown: a fitted IsolationForest; rows: that each of its trees was grown on."""
        trees = []
        for tree in (estimator.tree_ for estimator in grown.estimators_):
            depth = np.zeros(tree.node_count)
            for node in np.flatnonzero(tree.children_left >= 0):  # a node comes before those below it
                depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
            trees.append((tree, depth + _average_path(tree.n_node_samples)))
        return cls(tuple(trees), float(_average_path(np.array([rows]))[0]))

    def score(self, z: Floats) -> Floats:
        narrow = np.ascontiguousarray(z, dtype=np.float32)  # as trees were grown
        path = np.zeros(len(z))
        for tree, length in self.trees:
            path += length[tree.apply(narrow)]
        return 2 ** (-path / (len(self.trees) * self.average)) if self.average > 0 else np.full(len(z), 0.5)


@dataclass(frozen=True)
class Novelty:
    """What was grown and kept of the sample: the forest, the neighbours, and their k-distances and densities."""

    forest: Forest
    near: Any
    k: int
    k_distance: Floats
    density: Floats

    def isolation(self, z: Floats) -> Floats:
        """s(x, n) of each row (n x features); 0 to 1."""
        return _chunked(z, self.forest.score)

    def factor(self, z: Floats) -> Floats:
        """Local outlier factor of each row among the sample; about 1: as dense."""
        if self.k < 1:
            return np.ones(len(z))

        def one(part: Floats) -> Floats:
            distance, near = self.near.kneighbors(part, n_neighbors=self.k)
            density = 1 / np.maximum(distance, self.k_distance[near]).mean(axis=1)
            return self.density[near].mean(axis=1) / density

        return _chunked(z, one)


def learn_novelty(z: Floats, settings: Detect, seed: int) -> Novelty:
    """From ordinary rows (n x features), of which a sample of `sample_rows` is kept."""
    from sklearn.ensemble import IsolationForest  # a second of import that only a target with requests pays
    from sklearn.neighbors import NearestNeighbors

    chance = np.random.default_rng(seed)
    kept: Ints = chance.permutation(len(z))[: settings.sample_rows]
    sample = np.clip(z[kept], -_FARTHEST, _FARTHEST)
    rows: Any = min(settings.tree_rows, len(sample))
    grown = IsolationForest(n_estimators=settings.trees, max_samples=rows, random_state=seed).fit(sample)
    forest = Forest.of(grown, rows)
    k = min(settings.neighbours, len(sample) - 1)
    near = NearestNeighbors(algorithm="kd_tree").fit(sample)
    if k < 1:
        return Novelty(forest, near, 0, np.ones(len(sample)), np.ones(len(sample)))
    distance, which = near.kneighbors(n_neighbors=k)
    # No smaller: equal rows would be infinitely dense.
    k_distance = np.maximum(distance[:, -1], _LEAST_K_DISTANCE)
    density = 1 / np.maximum(distance, k_distance[which]).mean(axis=1)
    return Novelty(forest, near, k, k_distance, density)


def _average_path(n: Ints) -> Floats:
    """c(n): of an unsuccessful search in a binary tree of n rows."""
    many = 2 * (np.log(np.maximum(n - 1, 1)) + np.euler_gamma) - 2 * (n - 1) / np.maximum(n, 1)
    return np.where(n > 2, many, np.where(n == 2, 1.0, 0.0))


def _chunked(z: Floats, score: Any) -> Floats:
    z = np.clip(z, -_FARTHEST, _FARTHEST)
    parts = [score(z[start : start + _CHUNK]) for start in range(0, len(z), _CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0)
