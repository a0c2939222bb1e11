"""Policy `fixed`: two scores a request, one threshold each.

- Isolation forest (Liu, Ting, Zhou: Isolation Forest, ICDM 2008): s(x, n) = 2^(-E[h(x)] / c(n)), where h is the length
  of x's path in a tree that splits n rows at random, and c(n) what an unsuccessful search in a binary tree of n rows
  takes on average. Close to 1: odd; 0.5: as deep as average.
- Local outlier factor (Breunig, Kriegel, Ng, Sander: LOF, SIGMOD 2000): how many times denser it is around a row's
  nearest neighbours than around the row. About 1: as dense.

Both see the same features, each as a distance from what is usual in the request's group, in robust standard deviations.
The thresholds of policy `fixed` say nothing about how often an ordinary request passes them: see benchmarks/detect.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ooda_dagster.core.request_settings import Detect

#: In this order where two stand out alike. `failed` is 0 or 1; the others are logarithms of 1 + x, or a difference.
FEATURES = ("duration", "duration per token", "tokens in", "tokens out", "failed")
COLUMNS = ["isolation_score", "lof", "robust_z", "usual_ms", "times_usual", "feature", "method", "flagged"]
#: A group's values that hardly vary: no standard deviation of a logarithm is believed to be smaller, nor of `failed`.
_LEAST_LOG_SD = 0.1
_LEAST_FAILED_SD = 0.2
_LEAST_K_DISTANCE = 0.5
#: From the median absolute deviation to the standard deviation of a normal distribution.
_MAD_TO_SD = 1.4826
#: Deviations that differ by less are equal.
_DECIMALS = 6

Floats = NDArray[np.float64]


def detect(requests: pd.DataFrame, *, settings: Detect | None = None, seed: int = 0) -> pd.DataFrame:
    """Scores of each request, under the index of `requests`.

    requests: model, operation, duration_ms (finite, not negative), tokens_in, tokens_out (NaN where unknown) and, where
    known, failed. A group is what has the same model and operation or, where these are fewer than `min_rows`, the same
    operation; where these are fewer, too, the request is not judged: its scores are NaN.
    Returns isolation_score (0..1), lof (> 0), robust_z (of the feature that stands out most, with its sign), feature,
    usual_ms (median duration of the group), times_usual (that feature over the group's median; NaN for `failed`),
    flagged, method (isolation_forest, lof, both, or none). The same rows in the same order, with the same settings and
    seed, have the same scores. Raises ValueError for a policy that is not known.
    """
    settings = settings or Detect()
    groups = _groups(requests, settings.min_rows)
    rows = np.flatnonzero(groups >= 0)
    scored = pd.DataFrame(columns=pd.Index(COLUMNS))
    if len(rows):
        scored = _scored(_values(requests)[rows], groups[rows], settings, seed)
    found = scored.set_axis(rows).reindex(np.arange(len(requests)))
    numbers = {name: found[name].astype(float) for name in COLUMNS[:5]}
    words = {"feature": found["feature"].fillna(""), "method": found["method"].fillna("none")}
    return found.assign(**numbers, **words, flagged=found["flagged"].eq(True)).set_axis(requests.index)


def _scored(values: Floats, groups: NDArray[np.int64], settings: Detect, seed: int) -> pd.DataFrame:
    z, median = _scaled(values, groups)
    isolation, factor = isolation_scores(z, settings, seed), local_outlier_factors(z, settings.neighbours)
    at, most = np.arange(len(z)), np.abs(z).argmax(axis=1)
    feature = np.array(FEATURES)[most]
    by_forest, by_lof = isolation > settings.if_threshold, factor > settings.lof_threshold
    both = by_forest & by_lof
    columns = {
        "isolation_score": isolation,
        "lof": factor,
        "robust_z": z[at, most],
        "usual_ms": np.expm1(median[:, 0]),
        "times_usual": np.where(feature == "failed", np.nan, np.exp((values - median)[at, most])),
        "feature": feature,
        "method": np.select([both, by_forest, by_lof], ["both", "isolation_forest", "lof"], "none"),
        "flagged": both if settings.method == "both" else by_forest | by_lof,
    }
    return pd.DataFrame(columns, columns=pd.Index(COLUMNS))


def _groups(requests: pd.DataFrame, least: int) -> NDArray[np.int64]:
    """Number of each request's group; -1 where it has none."""
    narrow = requests.groupby(["model", "operation"], dropna=False)
    wide = requests.groupby("operation", dropna=False)
    enough = narrow["duration_ms"].transform("size").to_numpy() >= least
    enough_pooled = wide["duration_ms"].transform("size").to_numpy() >= least
    pooled = narrow.ngroups + wide.ngroup().to_numpy()
    return np.where(enough, narrow.ngroup().to_numpy(), np.where(enough_pooled, pooled, -1)).astype(np.int64)


def _values(requests: pd.DataFrame) -> Floats:
    """The features, n x 5; NaN where unknown."""
    ms = np.log1p(requests["duration_ms"].to_numpy(dtype=float))
    tokens = requests[["tokens_in", "tokens_out"]].to_numpy(dtype=float)
    tokens = np.where(np.isfinite(tokens) & (tokens >= 0), tokens, np.nan)
    known = ~np.isnan(tokens).all(axis=1)
    per_token = np.where(known, ms - np.log1p(np.nansum(tokens, axis=1)), np.nan)
    failed = requests["failed"].to_numpy(dtype=float) if "failed" in requests else np.zeros(len(ms))
    return np.column_stack([ms, per_token, np.log1p(tokens), failed])


def _scaled(values: Floats, groups: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Each feature in robust standard deviations from its group's median, and these medians (the mean of `failed`).

    What is unknown is at the median.
    """
    z, median = np.zeros_like(values), np.zeros_like(values)
    for group in np.unique(groups):
        rows = groups == group
        part = values[rows]
        middle, sd = np.zeros(part.shape[1]), np.ones(part.shape[1])
        for n, column in enumerate(part.T):
            known = column[~np.isnan(column)]
            if not len(known):
                continue
            if FEATURES[n] == "failed":
                middle[n], sd[n] = known.mean(), max(known.std(), _LEAST_FAILED_SD)
            else:
                middle[n] = np.median(known)
                sd[n] = max(_MAD_TO_SD * np.median(np.abs(known - middle[n])), _LEAST_LOG_SD)
        z[rows], median[rows] = (part - middle) / sd, middle
    return np.round(np.nan_to_num(z, nan=0.0), _DECIMALS), median


def isolation_scores(z: Floats, settings: Detect, seed: int) -> Floats:
    """s(x, n) of each row, from a forest that was grown on these rows. seed: 0 to 2^32 - 1."""
    from sklearn.ensemble import IsolationForest  # a second of import that only a target with requests pays

    sample: Any = min(settings.tree_rows, len(z))
    forest = IsolationForest(n_estimators=settings.trees, max_samples=sample, random_state=seed)
    return -forest.fit(z).score_samples(z)


def local_outlier_factors(z: Floats, neighbours: int) -> Floats:
    """LOF of each row among these; neighbours: k, the paper's MinPts.

    Equal rows are one point with a weight, so that all of them are neighbours of each other: more than k equal rows
    have the factor 1. No k-distance is less than half a standard deviation: otherwise k equal rows would be infinitely
    dense, and whatever is near them infinitely odd. Elsewhere this is the ordinary factor.
    """
    from sklearn.neighbors import NearestNeighbors

    points, which, rows = np.unique(z, axis=0, return_inverse=True, return_counts=True)
    k = min(neighbours, len(points) - 1)
    if k < 1:
        return np.ones(len(z))
    distance, near = NearestNeighbors(n_neighbors=k).fit(points).kneighbors()
    own, weight = rows - 1, rows[near]
    nearer = own[:, None] + np.cumsum(weight, axis=1) - weight
    inside = nearer < neighbours
    k_distance = np.maximum(np.where(inside, distance, 0).max(axis=1), _LEAST_K_DISTANCE)
    weight = weight * inside
    n = weight.sum(axis=1) + own
    reach = np.maximum(k_distance[near], distance)
    density = n / ((weight * reach).sum(axis=1) + own * k_distance)
    factor = ((weight * density[near]).sum(axis=1) + own * density) / n / density
    return factor[which.reshape(-1)]
