"""Is an e-value one: of expectation one without an effect, large with one, and no block's alone?"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from ooda_dagster.core import evalue, filtering
from ooda_dagster.core.did_series import Series

BEFORE, AFTER = 400, 48


def _wandering(chance: np.random.Generator, length: int, phi: float = 0.7) -> np.ndarray:
    x = np.zeros(length)
    for t in range(1, length):
        x[t] = phi * x[t - 1] + chance.normal(0, 0.03)
    return x + chance.normal(0, 0.04, length)


def _densities(d: np.ndarray) -> tuple[evalue.Densities, float, float]:
    """What the blocks after BEFORE say of a shift; the standard error, and the level before."""
    series = Series(d, np.ones(len(d)))
    model = filtering.fit(series, BEFORE)
    noise = filtering.noise_of(series, model, BEFORE)
    state = filtering.learn_state(series, model, noise, BEFORE)
    after = (d[BEFORE:], noise[BEFORE:])
    return (
        partial(filtering.log_densities, state, model, *after),
        filtering.standard_error(state, model, *after),
        state.mu,
    )


def _series(seed: int, shift: float = 0.0) -> np.ndarray:
    d = _wandering(np.random.default_rng(seed), BEFORE + AFTER)
    d[BEFORE:] += shift
    return d


def test_without_an_effect_the_mean_of_e_is_about_one_and_a_hundred_is_rare() -> None:
    ends, highest = [], []
    for seed in range(150):
        log_e = evalue.evidence(_densities(_series(seed))[0]).log_e
        ends.append(math.exp(log_e[5]))
        highest.append(float(log_e.max()))
    assert np.mean(ends) < 1.3
    assert np.mean(np.array(highest) >= math.log(100)) <= 0.02
    assert np.mean(np.array(highest) >= math.log(20)) <= 0.06


@pytest.mark.parametrize("shift", [-1.5, -0.3, 0.3, 1.5])
def test_an_effect_is_found_with_its_direction_and_bounds_around_it(shift: float) -> None:
    densities, error, _ = _densities(_series(7, shift))
    found = evalue.evidence(densities)
    assert found.log_e[12] > math.log(100)
    assert (found.log_e_higher[12] > found.log_e_lower[12]) == (shift > 0)
    at = evalue.estimate(densities, shift * 0.8, 1.0)
    bounds = evalue.confidence_sequence(densities, at, error, log_bar=math.log(100), first=2)
    assert bounds is not None
    assert bounds[0] < shift < bounds[1]
    assert bounds[1] - bounds[0] < 0.3
    assert at == pytest.approx(shift, abs=0.08)


@pytest.mark.parametrize("size", [1.0, 5.0, -5.0])
def test_two_spoiled_blocks_are_no_proof(size: float) -> None:
    d = _series(8)
    d[BEFORE + 3 : BEFORE + 5] += size
    found = evalue.evidence(_densities(d)[0])
    assert found.log_e.max() < math.log(100)
    assert max(found.log_e_higher.max(), found.log_e_lower.max()) < math.log(20)


def test_an_effect_that_goes_away_again_is_explained_by_no_shift() -> None:
    d = _series(9)
    d[BEFORE : BEFORE + 20] += 0.6
    densities, error, _ = _densities(d)
    assert evalue.confidence_sequence(densities, 0.0, error, log_bar=math.log(100), first=2) is None


def test_missing_blocks_are_predicted_through() -> None:
    d = _series(10, 0.3)
    d[BEFORE - 50 : BEFORE - 20] = np.nan
    d[BEFORE + 2 : BEFORE + 9] = np.nan
    log_e = evalue.evidence(_densities(d)[0]).log_e
    assert np.all(np.isfinite(log_e))
    assert len(set(log_e[2:9].round(9))) == 1 or log_e[2] == pytest.approx(log_e[8])
    assert log_e.max() > math.log(100)


def test_the_model_is_that_of_the_series() -> None:
    d = _wandering(np.random.default_rng(11), 2000)
    model = filtering.fit(Series(d, np.ones(len(d))), len(d))
    assert 0.6 <= model.phi <= 0.85
    assert math.sqrt(model.slow) == pytest.approx(0.03 / math.sqrt(1 - 0.7**2), rel=0.3)
    assert math.sqrt(model.noise) == pytest.approx(0.04, rel=0.3)


def test_with_little_history_the_prior_keeps_a_calm_series_from_being_taken_for_a_quiet_one() -> None:
    calm = np.random.default_rng(12).normal(0, 0.001, 500)
    short, long = (filtering.fit(Series(calm[:n], np.ones(n)), n) for n in (8, 500))
    assert short.slow + short.noise > 0.04**2
    assert long.slow + long.noise < 0.02**2
