"""Do rows, points and the learning curve say what came of predictions, parts of change sets as parts?"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ooda_dagster.core.calibration import Calibration, calibrate
from ooda_dagster.core.learned import Learned
from ooda_dagster.core.learning_report import ROLLING, curve, learned_rows, points
from ooda_dagster.core.learning_settings import Learning
from ooda_dagster.core.predictions import Prediction
from ooda_dagster_tests.core.simulated_outcomes import NOW

KEY = ("shop", "IndexOptimization", "hypothetical index")


def told(realised: float | None, hours: float = 1, **values: Any) -> Prediction:
    """A prediction of 60 %, corrected to 45 %."""
    fields: dict[str, Any] = {"predicted": 0.6, "expected": 0.45, "error": 0.02, "outcome": "better"}
    if realised is not None:
        fields |= {"realised": realised, "low": realised - 0.05, "high": realised + 0.05}
    return Prediction(*KEY, at=NOW - timedelta(hours=hours), **(fields | values))


def row(*predictions: Prediction) -> Learned:
    seen = calibrate(predictions, NOW, Learning())
    (found,) = learned_rows(predictions, seen, Calibration())
    return found


def test_a_row_counts_every_verdict_and_compares_those_that_can_be() -> None:
    found = row(
        told(0.6, 4),
        told(0.3, 3, outcome="inconclusive"),
        told(-0.3, 2, outcome="worse"),
        told(None, 1, outcome="inconclusive"),
        told(None, 0.5, outcome=None, failed=True),
    )
    assert (found.verdicts, found.better, found.worse, found.inconclusive, found.failed) == (4, 1, 1, 2, 1)
    assert (found.n, found.predicted_pct, found.realised_pct) == (3, pytest.approx(60), pytest.approx(20))
    assert (found.off_pct, found.off_corrected_pct) == (pytest.approx(40), pytest.approx((15 + 15 + 75) / 3))
    assert found.held == pytest.approx(1 / 3)
    assert (found.first_at, found.last_at) == (NOW - timedelta(hours=4), NOW - timedelta(hours=0.5))
    assert found.factor == 1  # nothing is used to correct


def test_the_interval_is_student_s_of_the_mean() -> None:
    found = row(told(0.2), told(0.4), told(0.6))
    # t of 2 degrees is 4.303; the standard deviation 0.2.
    assert found.realised_low_pct == pytest.approx(40 - 100 * 4.303 * 0.2 / 3**0.5, abs=0.05)
    assert found.realised_high_pct == pytest.approx(40 + 100 * 4.303 * 0.2 / 3**0.5, abs=0.05)


def test_one_verdict_has_its_own_interval() -> None:
    found = row(told(0.3))
    assert (found.realised_low_pct, found.realised_high_pct) == (pytest.approx(25), pytest.approx(35))


def test_parts_of_change_sets_count_as_parts() -> None:
    found = row(told(0.6, weight=1.0), told(0.0, weight=0.25))
    assert (found.n, found.realised_pct) == (1.25, pytest.approx(48))


def test_nothing_to_compare_leaves_the_numbers_open() -> None:
    found = row(told(None, outcome="unattributed"))
    assert (found.verdicts, found.n, found.ratio, found.realised_pct, found.held) == (1, 0, None, None, None)


def test_points_are_the_newest_in_their_order() -> None:
    many = [told(n / 100, hours=100 - n) for n in range(50)]
    found = points([*reversed(many), told(None)], 30)
    assert [round(p.realised_pct) for p in found] == list(range(20, 50))
    assert (found[0].predicted_pct, found[0].expected_pct) == (60, 45)


def test_the_curve_is_a_rolling_mean_of_how_far_off_predictions_were() -> None:
    found = curve(points([told(0.6 - n / 100, hours=100 - n, expected=0.6) for n in range(30)], 100))
    assert found[0][1:] == (0, 0)
    assert found[3][1] == pytest.approx((0 + 1 + 2 + 3) / 4)
    assert found[-1][1] == pytest.approx(sum(range(30 - ROLLING, 30)) / ROLLING)
    better = curve(points([replace(told(0.3, n), expected=0.3) for n in range(20)], 100))
    assert better[-1][1:] == (pytest.approx(30), pytest.approx(0))
