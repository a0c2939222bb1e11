"""Which embeddings lie close together? Clusters of a sample, and the nearest cluster of any other row.

Density clustering (HDBSCAN; Campello, Moulavi, Sander 2013) of unit vectors along their principal directions, where
Euclidean distance orders pairs as the cosine does. A cluster is a concept where its members point the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.cluster import HDBSCAN
from sklearn.metrics import silhouette_score

from ooda_dagster.core.concept_settings import Concepts
from ooda_dagster.core.concept_vectors import Floats, Ints, principal, z_order

NOISE = -1
_NEIGHBOURS = 10
#: Equal rows would be infinitely dense: they are moved apart by so much of a unit.
_JITTER = 1e-5
#: The radius of a concept: so many standard deviations, by the median absolute deviation, above the median distance of
#: its members, as a few of them may be noise; and at least this quantile of the distances.
_SIGMAS, _MAD_TO_SIGMA = 4.0, 1.4826
_RIM = 0.9
_SMALLEST_RADIUS = 1e-6
_SILHOUETTE_ROWS = 2_000
_PICTURE_ROWS = 250
_TOP_BUCKETS = 10


@dataclass(frozen=True)
class Cluster:
    """A concept of a sample. centroid: (d,), length 1; radius: largest cosine distance (1 - cosine) of a member.

    n: members in the sample. coherence: their mean cosine to the centroid. density: 1 - mean distance / radius.
    strength: their mean HDBSCAN membership probability. buckets: spatial buckets that they lie in.
    """

    centroid: Floats
    radius: float
    n: int
    coherence: float
    density: float
    strength: float
    buckets: int


@dataclass(frozen=True)
class Clustering:
    """labels: (n,) positions in `clusters`, NOISE for none. quality, picture: for people, as JSON types."""

    labels: Ints
    clusters: list[Cluster]
    quality: dict[str, Any] = field(default_factory=dict)
    picture: dict[str, Any] = field(default_factory=dict)


def find_clusters(vectors: Floats, policy: Concepts, *, seed: int) -> Clustering:
    """Clusters of unit vectors (n, d), the largest first. The same seed and rows give the same clusters."""
    n = len(vectors)
    least = max(policy.min_members, int(np.ceil(policy.min_share * n)))
    nothing = np.full(n, NOISE, dtype=np.int64)
    if n < least:
        return Clustering(nothing, [], {"reason": f"{n} usable embeddings are fewer than a concept has ({least})"})
    flat = principal(vectors, policy.dimensions, seed)
    raw, strengths = _dense(flat, least, seed)
    buckets = z_order(flat)
    found: list[tuple[Ints, Cluster]] = []
    incoherent = 0
    for label in range(int(raw.max()) + 1):
        members = np.flatnonzero(raw == label)
        cluster = _cluster(vectors[members], strengths[members], buckets[members])
        if cluster.coherence < policy.coherence_threshold:
            incoherent += 1
        else:
            found.append((members, cluster))
    found.sort(key=lambda each: (-each[1].n, int(each[0][0])))
    kept = found[: policy.max_concepts]
    labels = nothing
    for position, (members, _) in enumerate(kept):
        labels[members] = position
    clusters = [cluster for _, cluster in kept]
    quality = _quality(vectors, labels, clusters, buckets, seed)
    quality |= {"incoherent": incoherent, "beyond_max_concepts": len(found) - len(kept)}
    return Clustering(labels, clusters, quality, _picture(flat, labels, len(clusters), seed))


def assign(vectors: Floats, centroids: Floats, radii: Floats) -> Ints:
    """The nearest centroid (k, d) of each unit vector (n, d) whose radius reaches it, else NOISE; positions (n,)."""
    if not len(centroids) or not len(vectors):
        return np.full(len(vectors), NOISE, dtype=np.int64)
    distances = 1 - vectors @ centroids.T
    distances[distances > radii] = np.inf
    nearest = distances.argmin(axis=1)
    reached = np.isfinite(distances[np.arange(len(vectors)), nearest])
    return np.where(reached, nearest, NOISE).astype(np.int64)


def shape_of(clusters: Sequence[Cluster], dimensions: int) -> tuple[Floats, Floats]:
    """Centroids (k, d) and radii (k,) as `assign` takes them."""
    centroids = np.array([c.centroid for c in clusters], dtype=np.float32).reshape(len(clusters), dimensions)
    return centroids, np.array([c.radius for c in clusters], dtype=np.float32)


def _dense(flat: Floats, least: int, seed: int) -> tuple[Ints, Floats]:
    """HDBSCAN's labels and membership probabilities; of equal rows alone, one cluster."""
    if np.ptp(flat, axis=0).max() < _JITTER:
        return np.zeros(len(flat), dtype=np.int64), np.ones(len(flat), dtype=np.float32)
    chance = np.random.default_rng(seed)
    moved = flat + chance.normal(0, _JITTER, flat.shape)
    neighbours = min(_NEIGHBOURS, least, len(flat))
    # By a tree: the brute form would hold all pairs.
    search = HDBSCAN(
        min_cluster_size=least,
        min_samples=neighbours,
        algorithm="kd_tree",
        copy=False,  # type: ignore[arg-type]  # scikit-learn's default is a word while it changes
    )
    search.fit(moved)
    return search.labels_.astype(np.int64), search.probabilities_.astype(np.float32)


def _cluster(members: Floats, strengths: Floats, buckets: Ints) -> Cluster:
    mean = members.mean(axis=0, dtype=np.float64)
    centroid = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    distances = np.clip(1 - members @ centroid, 0, 2)
    middle = np.median(distances)
    deviation = _MAD_TO_SIGMA * np.median(np.abs(distances - middle))
    radius = max(float(middle + _SIGMAS * deviation), float(np.quantile(distances, _RIM)), _SMALLEST_RADIUS)
    return Cluster(
        centroid=centroid,
        radius=radius,
        n=len(members),
        coherence=float(1 - distances.mean()),
        density=float(np.clip(1 - distances.mean() / radius, 0, 1)),
        strength=float(strengths.mean()),
        buckets=len(np.unique(buckets)),
    )


def _quality(vectors: Floats, labels: Ints, clusters: list[Cluster], buckets: Ints, seed: int) -> dict[str, Any]:
    """Of the whole sample. agreement: of members, those that `assign` puts where HDBSCAN did."""
    codes, sizes = np.unique(buckets, return_counts=True)
    order = np.argsort(-sizes, kind="stable")[:_TOP_BUCKETS]
    quality: dict[str, Any] = {
        "sample_rows": len(vectors),
        "sample_noise": int((labels == NOISE).sum()),
        "spatial_buckets": len(codes),
        "largest_buckets": [[int(codes[i]), int(sizes[i])] for i in order],
        "silhouette": None,
        "agreement": None,
    }
    members = np.flatnonzero(labels != NOISE)
    if not len(members):
        return quality
    reached = assign(vectors[members], *shape_of(clusters, vectors.shape[1]))
    quality["agreement"] = round(float((reached == labels[members]).mean()), 4)
    if len(members) > _SILHOUETTE_ROWS:
        members = np.random.default_rng(seed).choice(members, _SILHOUETTE_ROWS, replace=False)
    if 1 < len(np.unique(labels[members])) < len(members):
        score = silhouette_score(vectors[members], labels[members], metric="cosine")
        quality["silhouette"] = round(float(score), 4)
    return quality


def _picture(flat: Floats, labels: Ints, clusters: int, seed: int) -> dict[str, Any]:
    """Where a few rows and the clusters' centres lie along the first two directions: points [x, y, cluster]."""
    plane = np.zeros((len(flat), 2), dtype=np.float32)
    plane[:, : min(2, flat.shape[1])] = flat[:, :2]
    rows = np.arange(len(flat))
    if len(rows) > _PICTURE_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _PICTURE_ROWS, replace=False))
    centres = [plane[labels == k].mean(axis=0) for k in range(clusters)]
    return {
        "points": [[round(float(plane[r, 0]), 3), round(float(plane[r, 1]), 3), int(labels[r])] for r in rows],
        "centres": [[round(float(x), 3), round(float(y), 3)] for x, y in centres],
    }
