"""Are predictions corrected by what came of earlier ones, and better than by each group's own mean?"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ooda_dagster.core.calibration import Calibration, Factor, calibrate, windows
from ooda_dagster.core.learning_settings import Learning
from ooda_dagster.core.predictions import Prediction, rung_of
from ooda_dagster.core.prioritise import priority
from ooda_dagster_tests.core.simulated_outcomes import NOW, World, errors, history

POLICY = Learning()
KEY = ("shop", "IndexOptimization", "hypothetical index")
SEEDS = range(60)


def told(realised: float, days: float = 1, *, key: tuple[str, str, str] = KEY, **values: Any) -> Prediction:
    """A prediction of 40 % of which so much came true, as a share of it."""
    fields: dict[str, Any] = {"predicted": 0.4, "realised": 0.4 * realised, "error": 0.02, "outcome": "better"}
    return Prediction(*key, at=NOW - timedelta(days=days), **(fields | values))


def factor(*predictions: Prediction, key: tuple[str, str, str] = KEY, policy: Learning = POLICY) -> Factor:
    return calibrate(predictions, NOW, policy).factor(*key)


@pytest.mark.parametrize(
    "world",
    [
        World(),
        World(outcomes=(1, 3)),
        World(group_sd=0.05),
        World(group_sd=0.4),
        World(error=(0.005, 0.01)),
        World(disasters=0.1),
        World(mean=1.2),
        World(types=1, groups=1),
    ],
    ids=["usual", "few outcomes", "alike", "unlike", "exact verdicts", "disasters", "underestimates", "one group"],
)
def test_shrunk_estimates_err_less_than_predictions_and_than_means(world: World) -> None:
    found = errors(world, SEEDS)
    print({name: round(value, 3) for name, value in found.items()})
    assert found["shrunk"] < found["raw predictions"]
    assert found["shrunk"] < found["raw means"]


def test_with_many_outcomes_a_group_speaks_for_itself() -> None:
    found = errors(World(outcomes=(40, 50)), range(30))
    assert found["shrunk"] < 0.5 * found["type means"]
    assert found["shrunk"] <= found["raw means"]


def test_where_predictions_are_right_the_correction_costs_little() -> None:
    """Of a prediction of 50 %, by at most 6 points; the groups' own means cost 10."""
    found = errors(World(mean=1.0, type_sd=0.0, group_sd=0.0), SEEDS)
    assert found["shrunk"] < 0.06
    assert found["shrunk"] < 0.6 * found["raw means"]


def test_the_interval_of_a_group_holds_its_truth() -> None:
    """95 % of the random-effects means, by a normal one: a group of few outcomes comes close."""
    held, n = 0, 0
    for seed in SEEDS:
        found, truths = history(World(outcomes=(5, 20)), seed)
        known = calibrate(found, NOW, POLICY)
        for key, truth in truths.items():
            low, high = known.factor(*key).raw_interval or (0, 0)
            held, n = held + (low <= truth <= high), n + 1
    assert 0.90 < held / n < 0.98


def test_nothing_is_known_before_the_first_verdict() -> None:
    none = factor()
    assert (none.value, none.n, none.words(0.4)) == (1.0, 0.0, "")
    assert Calibration().factor("t", "x", "r").value == 1.0


def test_the_words_say_what_was_predicted_why_it_is_corrected_and_to_what() -> None:
    known = factor(*(told(0.7, days) for days in range(1, 13)))
    assert known.words(0.4) == (
        "predicted 40 % less; past predictions of this type on this rung realised 0.70x (n=12), so 28 %"
    )
    assert "realised 0.70x (n=1), weighed 0.8" in factor(told(0.7)).words(0.4)
    elsewhere = factor(told(0.5), key=("shop", "IndexOptimization", "statistics clone"))
    assert "of this type, on other rungs or targets, realised" in elsewhere.words(0.4)


def test_one_disappointment_moves_little_and_many_move_much() -> None:
    values = [factor(*(told(0.2, days) for days in range(1, 1 + n))).value for n in (1, 3, 10, 40)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.5
    assert values[-1] < 0.3


def test_an_uncertain_verdict_moves_less_than_a_certain_one() -> None:
    certain, uncertain = (factor(told(0.2, error=error)).value for error in (0.01, 0.5))
    assert certain < uncertain < 1


def test_a_disaster_counts_as_one_bad_outcome() -> None:
    """Ten times the work is the failure memory's."""
    good = [told(1.0, days) for days in range(2, 12)]
    assert factor(*good, told(-1.0)).value == factor(*good, told(-25.0, error=0.02)).value > 0.7


def test_what_other_targets_learned_of_a_type_counts_for_one_that_knows_nothing() -> None:
    theirs = [told(0.3, days, key=("theirs", *KEY[1:])) for days in range(1, 20)]
    assert factor(*theirs).value < 0.7
    assert factor(*theirs, key=("shop", "ExtendedStatistics", "assumed")).value == 1.0


def test_the_type_s_mean_is_a_weak_word_against_a_group_that_has_seen_much() -> None:
    theirs = [told(0.3, days, key=("theirs", *KEY[1:])) for days in range(1, 20)]
    own = [told(1.0, days) for days in range(1, 20)]
    assert factor(*theirs, *own).value > 0.93


def test_a_factor_stays_within_its_bounds_and_above_nothing() -> None:
    bad = factor(*(told(-3.0, days) for days in range(1, 41)))
    assert bad.shrunk < 0
    assert bad.value == POLICY.min_trust_ratio
    good = factor(*(told(2.0, days) for days in range(1, 41)))
    assert good.value == POLICY.max_trust_ratio


def test_what_disappointed_comes_back_by_time_alone() -> None:
    """Nothing of the type is done meanwhile."""
    bad = [told(-0.5, days) for days in range(1, 21)]
    later = [
        calibrate(bad, NOW + timedelta(days=days), POLICY).factor(*KEY).value for days in (0, 60, 75, 85, 88.5, 90)
    ]
    assert later == sorted(later)
    assert later[0] == POLICY.min_trust_ratio
    assert later[-1] == 1.0


def test_what_disappointed_comes_back_by_better_outcomes() -> None:
    bad = [told(0.1, days) for days in range(21, 51)]
    values = [factor(*bad, *(told(1.0, days) for days in range(1, 1 + n))).value for n in (0, 5, 20)]
    assert values == sorted(values)
    few = POLICY.model_copy(update={"window_count": 20})
    assert factor(*bad, *(told(1.0, days) for days in range(1, 21)), policy=few).value > 0.95


def test_a_great_saving_of_a_type_that_disappointed_is_still_tried() -> None:
    """The floor leaves it above the usual threshold of 3: what is shut out could never show that it is better."""
    assert priority(0.5 * POLICY.min_trust_ratio) >= 3


def test_the_windows_slide() -> None:
    policy = POLICY.model_copy(update={"window_d": 10, "window_count": 3})
    found = [told(1.0, days) for days in (11, 9, 7, 5, 3)]
    kept = windows([*found, told(1.0, -1)], NOW, policy)[KEY]
    assert [(NOW - p.at).days for p in kept] == [3, 5, 7]
    assert windows(found, NOW - timedelta(days=8), policy)[KEY] == [found[1], found[0]]


def test_what_cannot_be_compared_moves_nothing() -> None:
    one = told(0.2)
    unknown = [replace(one, predicted=None), replace(one, realised=None, failed=True), replace(one, predicted=0.01)]
    assert factor(*unknown).value == 1.0


def test_a_part_of_a_change_set_counts_as_a_part() -> None:
    whole, part = (factor(told(0.2, weight=weight)) for weight in (1.0, 0.25))
    assert (whole.n, part.n) == (1.0, 0.25)
    assert whole.value < part.value < 1


@pytest.mark.parametrize(
    ("backend", "estimate", "rung"),
    [
        ("hypopg", False, "hypothetical index"),
        ("statistics clone", True, "statistics clone, generic plans"),
        ("assumed", False, "assumed"),
        ("secondary", False, "secondary"),
        ("", False, "model"),
    ],
)
def test_a_rung_is_named_by_how_the_prediction_was_come_by(backend: str, estimate: bool, rung: str) -> None:
    assert rung_of(backend, estimate=estimate) == rung
