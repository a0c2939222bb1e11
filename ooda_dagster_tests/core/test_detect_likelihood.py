"""Are surprises as rare as they say, lumps ordinary and the gaps before them odd - and is what is odd left out?"""

from __future__ import annotations

import numpy as np
import pytest

from ooda_dagster.core.detection.features import Seen
from ooda_dagster.core.detection.likelihood import Likelihood, fit_likelihood
from ooda_dagster.core.detection.model import _trimmed
from ooda_dagster.core.detection.rows import Floats
from ooda_dagster.core.request_settings import Detect

N, SD = 20_000, 0.5


def ordinary(seed: int, n: int = N) -> Floats:
    """Log ratios of the features (n x 4): residual of the duration, duration, tokens in, tokens out."""
    drawn = np.random.default_rng(seed).normal(0, SD, (n, 4))
    drawn[:, 1] = drawn[:, 0] + 0.6 * drawn[:, 3]
    return drawn


def learned(log_ratio: Floats) -> Likelihood:
    return fit_likelihood(log_ratio / SD, log_ratio, most_odd=0.01)


def surprise_of(by: Likelihood, *, duration: float = 0.0, tokens: float = 0.0) -> float:
    """Of one request whose duration for its tokens, and tokens out, are so far off (natural logarithms)."""
    row = np.array([[duration, duration + 0.6 * tokens, 0.01, tokens]])
    return float(by.score(row / SD, row)[0][0])


@pytest.mark.parametrize("share", [0.01, 0.001])
def test_an_ordinary_request_is_as_rarely_surprising_as_it_says(share: float) -> None:
    by, rows = learned(ordinary(1)), np.concatenate([ordinary(seed) for seed in (2, 3, 4, 5, 6)])
    surprising = (by.score(rows / SD, rows)[0] >= -np.log(share)).mean()
    assert share / 4 < surprising < share * 2


def test_more_tokens_that_took_no_longer_are_odder_than_those_that_did() -> None:
    by = learned(ordinary(1))
    assert surprise_of(by, tokens=2.2, duration=-0.6 * 2.2) > surprise_of(by, tokens=2.2) + 1


def test_a_lump_of_cached_answers_is_ordinary_and_the_gap_before_it_is_not() -> None:
    rows = ordinary(1)
    cached = np.random.default_rng(7).random(N) < 0.04
    rows[cached, :2] -= 6
    by = learned(rows)
    assert surprise_of(by, duration=-6.0) < 4
    assert surprise_of(by, duration=-3.5) > 6


def test_what_is_odd_is_left_out_before_the_densities_are_learned_again() -> None:
    clean, spoilt = ordinary(1), ordinary(1)
    spoilt[:80, :2] += np.linspace(np.log(8), np.log(40), 80)[:, None]
    by = {
        name: _trimmed(Seen(rows / SD, rows, np.ones(N)), Detect())[0]
        for name, rows in (("clean", clean), ("spoilt", spoilt))
    }
    for duration in (2.0, 2.5, 3.0):
        assert surprise_of(by["spoilt"], duration=duration) > 0.8 * surprise_of(by["clean"], duration=duration)


def test_durations_that_are_all_the_same_have_a_density_too() -> None:
    by = learned(np.zeros((600, 4)))
    assert surprise_of(by, duration=1.5) > 6
