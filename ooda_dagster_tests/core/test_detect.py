"""Policy calibrated: are the error rates those that are promised, and is what is planted found?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ooda_dagster.core.detect import COLUMNS, detect, detect_with_evidence
from ooda_dagster.core.request_settings import Detect
from ooda_dagster_tests.core.request_days import DAYS, drifting, few, many, plant, steady, unequal

N = 16_000


def recall(found: pd.DataFrame, kind: pd.Series) -> float:
    return float(found.loc[kind.ne(""), "flagged"].mean())


def precision(found: pd.DataFrame, kind: pd.Series) -> float:
    return float(kind[found["flagged"]].ne("").mean())


@pytest.mark.parametrize("day", [few, unequal])
def test_p_values_of_ordinary_requests_are_as_rare_as_they_say(day: Any) -> None:
    found, evidence = detect_with_evidence(day(N, 1, 1), reference=day(N, 0, 1))
    assert evidence.trimmed == 0
    for level in (0.001, 0.01, 0.05, 0.2):
        count = int((found["p_value"] <= level).sum())
        # Of dependent rows, and ranks that are drawn too: twice what chance allows.
        assert count <= N * level * 1.15 + 2 * 3 * np.sqrt(N * level), level


@pytest.mark.parametrize("day", [few, drifting])
@pytest.mark.parametrize("alone", [False, True])
def test_on_a_day_without_anything_odd_hardly_anything_is_flagged(day: Any, alone: bool) -> None:
    flagged = int(detect(day(N, 1, 2), reference=None if alone else day(N, 0, 2))["flagged"].sum())
    assert stats.beta.ppf(0.05, flagged, N - flagged + 1) <= 0.001 if flagged else True


@pytest.mark.parametrize("day", [drifting, few])
def test_most_of_what_is_planted_is_found_and_most_of_what_is_flagged_is_planted(day: Any) -> None:
    rows, kind = plant(day(N, 1, 3), 0.005, 3)
    found = detect(rows, reference=day(N, 0, 3))
    assert recall(found, kind) > 0.6
    assert precision(found, kind) > 0.75
    assert set(found.loc[found["flagged"], "method"]) <= {"robust_z", "lof", "isolation_forest", "several"}
    assert set(found.loc[~found["flagged"], "method"]) == {"none"}


@pytest.mark.parametrize("day", [drifting, few])
@pytest.mark.parametrize("alone", [False, True])
def test_planted_rows_in_the_reference_do_not_blind_it(day: Any, alone: bool) -> None:
    rows, kind = plant(day(N, 1, 4), 0.005, 4)
    before = day(N, 0, 4)
    clean = recall(detect(rows, reference=before), kind)
    spoilt, evidence = detect_with_evidence(rows, reference=None if alone else plant(before, 0.005, 5)[0])
    assert recall(spoilt, kind) >= 0.8 * clean
    assert 0.001 < evidence.trimmed < 0.006


def test_a_few_slow_requests_among_few_are_found() -> None:
    rows = few(600, 0, 1)
    rows.loc[[50, 300], "duration_ms"] *= 40
    found = detect(rows)
    assert found.loc[[50, 300], "flagged"].all()
    assert found["flagged"].sum() <= 4
    assert (found.loc[[50, 300], "times_usual"] > 10).all()
    assert set(found.loc[[50, 300], "feature"]) <= {"duration", "duration for its tokens"}


def test_the_scores_stand_where_they_were_taken() -> None:
    rows, kind = plant(steady(N, 1, 6), 0.005, 6)
    settings = Detect(score_all_rows=1000, uniform_rows=500)
    found, evidence = detect_with_evidence(rows, reference=steady(N, 0, 6), settings=settings)
    assert list(found.columns) == COLUMNS
    assert found.loc[found["flagged"], "scored"].all()
    assert 500 <= found["scored"].sum() == evidence.scored < 1000
    assert found.loc[found["scored"], "isolation_score"].between(0, 1).all()
    assert (found.loc[found["scored"], "lof"] > 0).all()
    assert found.loc[~found["scored"], ["isolation_score", "lof"]].isna().all(axis=None)
    assert found["p_value"].between(0, 1).all()
    assert kind[found["flagged"]].ne("").mean() > 0.7


def test_the_same_seed_gives_the_same_and_the_digest_tells_what_was_learned() -> None:
    rows, before = few(1500, 1, 7), few(1500, 0, 7)
    first, evidence = detect_with_evidence(rows, reference=before, seed=5)
    again, same = detect_with_evidence(rows, reference=before, seed=5)
    pd.testing.assert_frame_equal(first, again)
    assert evidence == same
    other, another = detect_with_evidence(rows, reference=few(1500, 2, 7), seed=5)
    assert another.digest != evidence.digest
    assert first["p_value"].corr(other["p_value"]) > 0.9


def test_a_slow_afternoon_is_no_thousand_slow_requests() -> None:
    rows = steady(N, 1, 8)
    late = rows["requested_at"] > rows["requested_at"].iloc[N // 2]
    rows["duration_ms"] *= np.where(late, 1.6, 1.0)
    assert detect(rows, reference=steady(N, 0, 8))["flagged"].mean() < 0.002


def test_groups_and_operations_that_the_reference_does_not_know_are_judged() -> None:
    before = few(4000, 0, 9)
    new_model = few(500, 1, 9).assign(model="new")
    new_operation = few(1000, 1, 10).query("operation == 'o0'").iloc[:500].assign(operation="new")
    new_operation["duration_ms"] *= 50
    rows = pd.concat([new_model, new_operation], ignore_index=True)
    rows["duration_ms"] *= np.where(rows.index == 700, 60, 1)
    found, evidence = detect_with_evidence(rows, reference=before)
    assert found["p_value"].notna().all()
    assert found.loc[700, "flagged"]
    assert found["flagged"].sum() <= 5
    assert len(evidence.further) == 1


def test_thousands_of_models_are_judged_with_their_operation() -> None:
    rows, kind = plant(many(N, 1, 11), 0.005, 11)
    found = detect(rows, reference=many(N, 0, 11))
    assert found["p_value"].notna().all()
    assert recall(found, kind) > 0.5


def test_what_is_unusable_is_not_judged_and_stops_nothing() -> None:
    rows = few(1000, 0, 12).astype(
        {"duration_ms": object, "tokens_out": object, "model": object, "requested_at": object}
    )
    bad = [None, -5.0, float("nan"), float("inf"), "slow", 1e15]
    rows.loc[range(len(bad)), "duration_ms"] = bad
    rows.loc[10:12, "tokens_out"] = [None, -3, "many"]
    rows.loc[20:22, "model"] = [None, np.nan, "x"]
    rows.loc[30:32, "requested_at"] = [None, "soon", pd.Timestamp("2090-01-01", tz="UTC")]
    rows = pd.concat([rows, rows.iloc[40:60]])  # doubles, index and all
    for policy in ("calibrated", "fixed"):
        found, evidence = detect_with_evidence(rows, policy=policy)
        assert list(found.index) == list(rows.index)
        assert found["robust_z"].iloc[: len(bad)].isna().all()
        assert not found["flagged"].iloc[: len(bad)].any()
        assert found["robust_z"].iloc[len(bad) :].notna().all()
        assert evidence.unusable + evidence.not_judged >= len(bad)


@pytest.mark.parametrize("n", [0, 1, 49])
@pytest.mark.parametrize("policy", ["calibrated", "fixed"])
def test_too_few_requests_are_not_judged(n: int, policy: str) -> None:
    found = detect(few(max(n, 1), 0, 13).iloc[:n], policy=policy)
    assert len(found) == n
    assert list(found.columns) == COLUMNS
    assert found["p_value"].isna().all()
    assert found["flagged"].dtype == bool
    assert not found["flagged"].any()


@pytest.mark.parametrize("reference", [0, 1, 30])
def test_a_reference_that_is_too_small_is_none(reference: int) -> None:
    rows, kind = plant(few(5000, 1, 14), 0.005, 14)
    found = detect(rows, reference=few(100, 0, 14).iloc[:reference])
    assert recall(found, kind) > 0.5


def test_equal_requests_are_all_ordinary_and_one_other_is_found() -> None:
    rows = few(1000, 0, 15).assign(duration_ms=200.0, tokens_in=100.0, tokens_out=50.0, operation="o")
    assert not detect(rows)["flagged"].any()
    rows.loc[42, "duration_ms"] = 9000.0
    found = detect(rows)
    assert list(found.index[found["flagged"]]) == [42]


def test_seconds_and_no_times_at_all_are_taken() -> None:
    rows, kind = plant(steady(N, 1, 16), 0.005, 16)
    before = steady(N, 0, 16)
    seconds = [d.assign(requested_at=d["requested_at"].map(pd.Timestamp.timestamp)) for d in (rows, before)]
    found = detect(rows, reference=before)["p_value"]
    pd.testing.assert_series_equal(detect(seconds[0], reference=seconds[1])["p_value"], found)
    without = detect(rows.drop(columns="requested_at"), reference=before.drop(columns="requested_at"))
    assert recall(without, kind) > 0.3


def test_policy_fixed_is_the_documents() -> None:
    rows, _ = plant(few(3000, 0, 17), 0.01, 17)
    found = detect(rows, policy="fixed")
    passed = (found["isolation_score"] > 0.7) | (found["lof"] > 1.5)
    assert found["flagged"].equals(passed)
    assert found["scored"].all()
    assert found["p_value"].isna().all()


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(ValueError, match="'guess' is not known; there are: calibrated, fixed"):
        detect(few(100, 0, 1), policy="guess")


@pytest.mark.slow
@pytest.mark.parametrize("name", DAYS)
def test_clean_days_of_every_service_are_quiet(name: str) -> None:
    flagged = sum(
        int(detect(DAYS[name](60_000, d, 21), reference=DAYS[name](60_000, 0, 21))["flagged"].sum()) for d in (1, 2)
    )
    assert stats.beta.ppf(0.05, max(flagged, 1), 120_000 - flagged + 1) <= 0.001
