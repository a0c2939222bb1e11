"""One reference, many batches: the same judgement as of the whole, and nothing is kept of a batch."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest

from ooda_dagster.core.detect import detect_with_evidence, learn_reference
from ooda_dagster.core.detection.features import learn, units_of
from ooda_dagster.core.detection.novelty import Forest
from ooda_dagster.core.detection.rows import read_rows
from ooda_dagster.core.request_settings import Detect
from ooda_dagster_tests.core.request_days import few, plant, steady

N, BATCH = 16_000, 4_000
#: Of a small forest, where it is not what is looked at.
QUICK = Detect(trees=10)


def cut(rows: pd.DataFrame, size: int = BATCH) -> list[pd.DataFrame]:
    return [rows.iloc[start : start + size] for start in range(0, len(rows), size)]


@pytest.mark.parametrize("reference", [1500, N])
def test_one_batch_is_judged_as_by_detect_and_by_another_batch_in_between_nothing_changes(reference: int) -> None:
    rows, before = few(2000, 1, 1), few(reference, 0, 1)
    whole, evidence = detect_with_evidence(rows, reference=before, settings=QUICK, seed=3)
    learned = learn_reference(before, settings=QUICK, seed=3)
    for _ in range(2):
        found, own = learned.judge(rows)
        pd.testing.assert_frame_equal(found, whole)
        assert own == evidence
        learned.judge(rows.iloc[:200].assign(model="new", operation=[f"o{n % 4}" for n in range(200)]))


def test_batches_have_the_p_values_and_flags_of_the_whole() -> None:
    rows, kind = plant(few(N, 1, 2), 0.005, 2)
    learned = learn_reference(few(N, 0, 2))
    whole, evidence = learned.judge(rows)
    judged = [learned.judge(batch) for batch in cut(rows)]
    parts = pd.concat([found for found, _ in judged], ignore_index=True)
    # Levels are medians of some hundred rows, in other bins.
    off = np.abs(np.log(parts["p_value"].to_numpy() / whole["p_value"].to_numpy()))
    assert np.median(off) < 0.05
    assert np.quantile(off, 0.99) < 0.4
    assert (parts["flagged"] != whole["flagged"]).sum() <= 0.15 * whole["flagged"].sum()
    assert kind[parts["flagged"].to_numpy()].ne("").mean() > 0.75
    assert {own.digest for _, own in judged} == {evidence.digest}
    for level in (0.01, 0.1):
        assert (parts["p_value"] <= level).sum() <= N * level * 1.15 + 6 * np.sqrt(N * level)


def test_a_reference_with_planted_rows_does_not_blind_the_batches() -> None:
    rows, kind = plant(few(N, 1, 4), 0.005, 4)
    before = few(N, 0, 4)
    recalls = []
    for reference in (before, plant(before, 0.005, 5)[0]):
        judged = [learn.judge(batch) for learn in [learn_reference(reference)] for batch in cut(rows)]
        flagged = np.concatenate([found["flagged"] for found, _ in judged])
        recalls.append(flagged[kind.ne("")].mean())
        trimmed = {evidence.trimmed for _, evidence in judged}
    assert recalls[1] >= 0.8 * recalls[0] > 0.5
    assert len(trimmed) == 1
    assert 0.001 < trimmed.pop() < 0.006


def test_a_new_model_is_judged_by_its_operation_and_a_new_operation_by_itself() -> None:
    learned = learn_reference(few(N, 0, 6))
    model = few(300, 1, 6).query("operation == 'o0'").assign(model="new")
    operation = few(300, 2, 6).query("operation == 'o0'").assign(operation="new")
    operation["duration_ms"] *= 50
    rows = pd.concat([model, operation], ignore_index=True)
    odd = [5, len(model) + 5]
    rows.loc[odd, "duration_ms"] *= 60
    found, evidence = learned.judge(rows)
    assert found["p_value"].notna().all()
    assert found.loc[odd, "flagged"].all()
    assert found["flagged"].sum() <= 4
    assert [further.held_out for further in evidence.further] == [len(operation)]
    assert (found.loc[odd, "usual_ms"] < rows.loc[odd, "duration_ms"] / 10).all()
    # One request of a new model can be judged; of a new operation, fewer than min_rows cannot.
    found, evidence = learned.judge(rows.iloc[[odd[0], odd[1]]])
    assert list(found["p_value"].notna()) == [True, False]
    assert evidence.not_judged == 1


def test_what_an_operation_lends_to_new_models_changes_nothing_for_those_known() -> None:
    rows, names = read_rows(steady(N, 0, 7))
    without, spare = (
        learn(rows, units_of(rows, names.operation_of, min_rows=50, spare=s), min_rows=50, add_ms=0.5)
        for s in (False, True)
    )
    assert spare.units.count > without.units.count
    own = spare.units.own & (without.units.of_group >= 0)
    assert own.any()
    for name in ("centre", "slopes", "token_slopes", "scale"):
        values = [getattr(usual, name)[usual.units.of_group[own]] for usual in (without, spare)]
        np.testing.assert_array_equal(*values)


def test_a_reference_of_nothing_leaves_each_batch_to_itself() -> None:
    rows = few(1000, 1, 8)
    found, evidence = learn_reference(rows.iloc[:0]).judge(rows)
    alone, own = detect_with_evidence(rows)
    pd.testing.assert_frame_equal(found, alone)
    assert evidence.further == (own,)


def test_a_group_that_is_hardly_among_the_rows_learned_from_is_not_judged_by_them() -> None:
    rare = few(60, 0, 9).assign(model="rare", operation="rare", duration_ms=lambda d: d["duration_ms"] * 1000)
    before = pd.concat([few(N, 0, 9), rare], ignore_index=True)
    found, _ = learn_reference(before, settings=Detect(fit_rows=500)).judge(rare)
    assert found["p_value"].notna().all()
    assert not found["flagged"].any()


def test_memory_does_not_grow_with_the_batches() -> None:
    learned = learn_reference(few(6000, 0, 10), settings=QUICK)

    def judge(first: int, last: int) -> tuple[int, int]:
        """What is kept, and the most there was."""
        tracemalloc.reset_peak()
        for number in range(first, last):
            names = {"model": f"m{number}", "operation": "o0"} if number % 2 else {}
            learned.judge(few(3000, number, 10).assign(**names))
        gc.collect()
        return tracemalloc.get_traced_memory()

    judge(1, 3)
    tracemalloc.start()
    try:
        judge(3, 5)
        kept, most = judge(5, 7)
        kept_after, most_after = judge(7, 19)
    finally:
        tracemalloc.stop()
    assert kept_after - kept < 100_000  # bytes; a batch has 3,000 rows of some 100
    assert most_after < 1.1 * most


def test_values_have_the_same_number_in_every_batch_whatever_they_are() -> None:
    def frame(models: list[object]) -> pd.DataFrame:
        column = pd.Series(models, dtype=object)
        return pd.DataFrame({"model": column, "operation": "o", "duration_ms": 1.0})

    first, names = read_rows(frame(["a", None, 3, ["no", "hash"], ("b", [1])]))
    again, more = read_rows(frame([("b", [1]), "new", ["no", "hash"], float("nan"), 3, "a", "new"]), names)
    assert sorted(first.group) == [0, 1, 2, 3, 4]
    by_value = dict(zip(["a", None, 3, "list", "tuple"], first.group, strict=True))
    expected = [by_value["tuple"], 5, by_value["list"], by_value[None], by_value[3], by_value["a"], 5]
    assert list(again.group) == expected
    assert len(names.groups) == 5
    assert len(more.groups) == 6


@pytest.mark.parametrize(("rows", "sample"), [(1000, 256), (60, 60), (2, 2), (1, 1)])
def test_the_forest_scores_as_the_one_it_was_grown_as(rows: int, sample: int) -> None:
    chance = np.random.default_rng(11)
    each: Any = sample
    grown = IsolationForest(n_estimators=50, max_samples=each, random_state=1).fit(chance.normal(size=(rows, 4)))
    other = chance.normal(size=(300, 4)) * 3
    np.testing.assert_allclose(Forest.of(grown, sample).score(other), -grown.score_samples(other), rtol=1e-12)
