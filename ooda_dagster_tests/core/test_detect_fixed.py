"""Policy fixed: does what is planted stand out, is quiet data quiet, and are both scores those of their papers?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor

from ooda_dagster.core.detection.fixed import COLUMNS, detect, isolation_scores, local_outlier_factors
from ooda_dagster.core.request_settings import Detect


def requests(n: int, seed: int = 0, *, groups: int = 6, sd: float = 0.4) -> pd.DataFrame:
    """A service's requests: six groups between 20 ms and 1.1 s, whole ms, longer for more tokens, 1 % failed."""
    chance = np.random.default_rng(seed)
    group = chance.integers(0, groups, n)
    out = np.exp(chance.normal(4, 0.6, n)).round()
    ms = np.exp(np.linspace(3, 7, groups))[group] * (out / 55) ** 0.7 * np.exp(chance.normal(0, sd, n))
    return pd.DataFrame(
        {
            "model": [f"m{g % 3}" for g in group],
            "operation": [f"o{g // 3}" for g in group],
            "duration_ms": ms.round(),
            "tokens_in": np.exp(chance.normal(5, 0.6, n)).round(),
            "tokens_out": out,
            "failed": chance.random(n) < 0.01,
        }
    )


def alike(n: int, **values: Any) -> pd.DataFrame:
    """Equal requests, but for what is given."""
    same = {"model": "m", "operation": "o", "duration_ms": 200.0, "tokens_in": 100.0, "tokens_out": 50.0}
    return pd.DataFrame({**same, "failed": False, **values}, index=range(n))


def planted(n: int, times: float, seed: int = 0) -> tuple[pd.DataFrame, list[int]]:
    """Six slow requests among ordinary ones, one a group."""
    rows = requests(n, seed)
    slow = [int(part.index[0]) for _, part in rows.groupby(["model", "operation"])]
    rows.loc[slow, "duration_ms"] *= times
    return rows, slow


@pytest.mark.parametrize("seed", range(3))
def test_slow_requests_are_found_in_every_group_and_named_by_their_duration(seed: int) -> None:
    rows, slow = planted(2000, 40, seed)
    found = detect(rows)
    assert found.loc[slow, "flagged"].all()
    assert set(found.loc[slow, "feature"]) <= {"duration", "duration per token"}
    assert (found.loc[slow, "times_usual"] > 8).all()
    assert (found.loc[slow, "robust_z"] > 3).all()


def test_what_is_usual_for_a_slow_group_is_odd_for_a_fast_one() -> None:
    chance = np.random.default_rng(3)
    fast, slow = np.exp(chance.normal(3, 0.2, 300)), np.exp(chance.normal(8, 0.2, 300))
    rows = alike(600, model=["fast"] * 300 + ["slow"] * 300, duration_ms=[*fast, *slow])
    rows.loc[0, "duration_ms"] = 3000.0
    found = detect(rows)
    assert found.loc[0, "flagged"]
    assert found["robust_z"].iloc[0] > 10
    assert found.loc[0, "usual_ms"] == pytest.approx(20, rel=0.1)
    assert found.loc[300:, "flagged"].mean() < 0.04


@pytest.mark.parametrize(("n", "most"), [(500, 0.06), (2000, 0.03), (5000, 0.015)])
def test_few_ordinary_requests_pass_the_fixed_thresholds(n: int, most: float) -> None:
    """Not none: what these thresholds let through depends on the number of rows; benchmarks/detect.py measures it."""
    found = pd.concat(detect(requests(n, seed)) for seed in range(2))
    by_forest, by_lof = (found["isolation_score"] > 0.7).mean(), (found["lof"] > 1.5).mean()
    print(f"\n{n} ordinary requests: {by_forest:.2%} by isolation forest, {by_lof:.2%} by LOF")
    assert by_forest < 0.003
    assert found["flagged"].mean() < most


def _path(x: Any, tree: Any) -> float:
    """Length of a path in a tree, by walking it; c(n) for what is left in the leaf."""
    node, length = 0, 0.0
    while tree.children_left[node] >= 0:
        left = np.float32(x[tree.feature[node]]) <= tree.threshold[node]
        node = (tree.children_left if left else tree.children_right)[node]
        length += 1
    return length + _c(tree.n_node_samples[node])


def _c(n: int) -> float:
    if n <= 2:
        return float(n == 2)
    return 2 * (math.log(n - 1) + np.euler_gamma) - 2 * (n - 1) / n


def test_the_isolation_score_is_that_of_the_paper() -> None:
    z = np.random.default_rng(1).normal(size=(400, 3))
    ours = isolation_scores(z, Detect(), 7)
    forest = IsolationForest(n_estimators=100, random_state=7).fit(z)  # of 256 rows a tree
    for row in (0, 17, 399):
        mean = np.mean([_path(z[row], tree.tree_) for tree in forest.estimators_])
        assert ours[row] == pytest.approx(2 ** (-mean / _c(256)), abs=1e-9)


def test_fewer_equal_rows_than_neighbours_are_found_far_away_and_more_are_not() -> None:
    z = np.random.default_rng(1).normal(size=(300, 2))
    for n, odd in ((10, True), (30, False)):
        assert (local_outlier_factors(np.vstack([z, np.full((n, 2), 9.0)]), 20)[300:] > 1.5).all() == odd


@pytest.mark.parametrize("k", [5, 20])
def test_the_outlier_factor_is_that_of_the_paper_where_no_rows_are_close(k: int) -> None:
    z = np.random.default_rng(1).normal(size=(400, 3)) * 100
    known = -LocalOutlierFactor(n_neighbors=k).fit(z).negative_outlier_factor_
    assert local_outlier_factors(z, k) == pytest.approx(known, rel=1e-6)


@pytest.mark.filterwarnings("ignore:Duplicate values")
def test_equal_rows_do_not_make_their_neighbours_odd() -> None:
    """The ordinary factor is in the millions there: more than k equal rows are infinitely dense."""
    z = np.random.default_rng(1).normal(size=(300, 2)).round(6)
    z[:60] = z[0]
    assert np.max(-LocalOutlierFactor(n_neighbors=20).fit(z).negative_outlier_factor_) > 1e6
    ours = local_outlier_factors(z, 20)
    assert np.max(ours) < 5
    assert ours[:60] == pytest.approx(1)


def test_a_lattice_of_whole_milliseconds_is_quiet_but_for_what_is_far_away() -> None:
    ms = np.random.default_rng(2).integers(10, 14, 1000).astype(float)
    ms[0] = 4000
    found = detect(alike(1000, duration_ms=ms))
    assert list(found.index[found["flagged"]]) == [0]
    assert found["lof"].iloc[0] > 10


def test_equal_requests_are_all_ordinary() -> None:
    found = detect(alike(200))
    assert not found["flagged"].any()
    assert found["isolation_score"].to_numpy() == pytest.approx(0.5)
    assert found["lof"].to_numpy() == pytest.approx(1)
    assert (found["robust_z"] == 0).all()


def test_one_other_among_equal_requests_is_found() -> None:
    rows = alike(1000)
    rows.loc[42, "tokens_out"] = 5000.0
    found = detect(rows)
    assert list(found.index[found["flagged"]]) == [42]
    assert found.loc[42, "feature"] == "tokens out"
    assert found.loc[42, "times_usual"] == pytest.approx(5001 / 51)


def test_a_rare_failure_is_named() -> None:
    rows = alike(200)
    rows.loc[42, "failed"] = True
    found = detect(rows)
    assert found.loc[found["flagged"], "feature"].to_dict() == {42: "failed"}
    assert found.loc[found["flagged"], "times_usual"].isna().all()


@pytest.mark.parametrize("unknown", [None, -1, np.inf])
def test_unknown_tokens_are_taken_as_usual(unknown: float | None) -> None:
    rows, slow = planted(500, 60)
    rows["tokens_in"] = unknown
    some = rows["tokens_out"].mask(rows.index % 2 == 0)
    found = detect(rows.assign(tokens_out=some))
    assert found["isolation_score"].notna().all()
    assert np.isfinite(found["lof"]).all()
    assert found.loc[slow, "flagged"].all()
    assert detect(rows.assign(tokens_out=unknown)).loc[slow, "flagged"].all()


def test_columns_of_the_document_alone_are_enough() -> None:
    found = detect(requests(300).drop(columns="failed"))
    assert list(found.columns) == COLUMNS
    assert found["isolation_score"].between(0, 1).all()


def test_a_small_group_is_judged_with_its_operation_and_a_small_operation_not_at_all() -> None:
    rows = pd.concat(
        [alike(100), alike(5, model="rare"), alike(5, operation="rare", duration_ms=1e6)], ignore_index=True
    )
    rows.loc[102, "duration_ms"] = 9000.0
    found = detect(rows)
    assert found.loc[102, "flagged"]
    assert found.loc[102, "usual_ms"] == pytest.approx(200)
    assert found.loc[105:, "isolation_score"].isna().all()
    assert not found.loc[105:, "flagged"].any()
    assert set(found.loc[105:, "method"]) == {"none"}


@pytest.mark.parametrize("n", [0, 1, 49])
def test_too_few_requests_are_not_judged(n: int) -> None:
    found = detect(alike(n))
    assert len(found) == n
    assert found["lof"].isna().all()
    assert not found["flagged"].any()


def test_the_same_seed_gives_the_same_scores_and_another_one_others() -> None:
    rows = requests(400)
    first = detect(rows, seed=5)
    pd.testing.assert_frame_equal(first, detect(rows, seed=5))
    assert not np.allclose(first["isolation_score"], detect(rows, seed=6)["isolation_score"])


def test_an_index_with_gaps_and_doubles_stays() -> None:
    rows, _ = planted(300, 40)
    found = detect(rows.set_axis([7, 7, *range(100, 398)]))
    assert list(found.index[:3]) == [7, 7, 100]
    np.testing.assert_array_equal(found["lof"], detect(rows)["lof"])


def test_both_thresholds_are_settings_and_count_each_or_together() -> None:
    rows, _ = planted(2000, 100)
    scores = detect(rows)
    forest, factor = scores["isolation_score"] > 0.6, scores["lof"] > 2
    assert (forest & factor).any()
    assert (forest ^ factor).any()
    own = Detect(if_threshold=0.6, lof_threshold=2)
    assert detect(rows, settings=own)["flagged"].equals(forest | factor)
    found = detect(rows, settings=own.model_copy(update={"method": "both"}))
    assert found["flagged"].equals(forest & factor)
    assert set(found["method"][found["flagged"]]) == {"both"}
