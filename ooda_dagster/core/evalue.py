"""Evidence that may be looked at as often as one likes: a mixture e-process, and the confidence sequence it gives.

For an effect δ, the likelihood ratio of "shifted by δ" to "shifted by δ0" over the blocks since the action is a test
martingale under δ0; so is its mean over a fixed mixture of effects. By Ville's inequality the chance that it ever
reaches 1/α is at most α, whenever and however often one looks: e ≥ 100 decides at 1 %. The δ0 that are not rejected
form a confidence sequence, valid at all times at once.

An action is done for the gain that is expected of it, so lower levels have `LOWER` of the mixture; of higher ones, a
looser bar is enough for an undo. No block may count for more than a factor of 12 (`CAP`): min(LR, c) has an expectation
below LR's, so the bound holds, and a stall that spoils a block or two cannot decide.

Ville, Étude critique de la notion de collectif (1939); Howard, Ramdas, McAuliffe and Sekhon, Annals of Statistics 49
(2021). Variances are fitted, so the bound is as good as the fit: `ooda audit-verdicts` measures it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Log of the most that one block may count for.
CAP = 2.5
#: Weight of the mixture's lower half: a gain is taken for twice as likely as a loss.
LOWER = 2 / 3
#: Sizes of effects, log units, and how the mixture weighs them: most where a decision matters, some everywhere.
SIZES = np.array([0.02, 0.03, 0.045, 0.065, 0.09, 0.12, 0.16, 0.22, 0.3, 0.42, 0.6, 0.85, 1.2, 1.7, 2.4, 3.4, 5.0])
_AT, _WIDTH, _EVERYWHERE = 0.105, 0.25, 0.1
_BELL = np.exp(-0.5 * (np.log(SIZES / _AT) / _WIDTH) ** 2)
WEIGHTS = (1 - _EVERYWHERE) * _BELL / _BELL.sum() + _EVERYWHERE / len(SIZES)

Densities = Callable[[np.ndarray], np.ndarray]  # shifts → blocks × shifts of log densities


@dataclass(frozen=True)
class Evidence:
    """Log e-values at each block: for any effect, for a lower and for a higher level. Interval: log units."""

    log_e: np.ndarray
    log_e_lower: np.ndarray
    log_e_higher: np.ndarray


def evidence(densities: Densities, null: float = 0.0) -> Evidence:
    """The e-process against a shift of `null`."""
    shifts = np.concatenate([[null], null - SIZES, null + SIZES])
    found = densities(shifts)
    lower, higher = _mixed(found[None, :, :1], found[None, :, 1:])
    return Evidence(_either(lower[0], higher[0]), lower[0], higher[0])


def _mixed(null: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log e of the two halves of the mixture. null: … × blocks × 1; others: … × blocks × 2·sizes → … × blocks."""
    ratio = np.cumsum(np.minimum(others - null, CAP), axis=-2)
    ratio[..., : len(SIZES)] += np.log(WEIGHTS)
    ratio[..., len(SIZES) :] += np.log(WEIGHTS)
    return _log_sum(ratio[..., : len(SIZES)]), _log_sum(ratio[..., len(SIZES) :])


def _either(lower: np.ndarray, higher: np.ndarray) -> np.ndarray:
    """Log e of the whole mixture."""
    return np.logaddexp(lower + math.log(LOWER), higher + math.log(1 - LOWER))


def _log_sum(values: np.ndarray) -> np.ndarray:
    most = values.max(axis=-1)
    return most + np.log(np.exp(values - most[..., None]).sum(axis=-1))


def estimate(densities: Densities, around: float, reach: float) -> float:
    """The most likely shift, sought from `around` as far as `reach`, twice."""
    step = reach
    for _ in range(2):
        shifts = around + step * np.linspace(-1, 1, 41)
        total = densities(shifts).sum(axis=0)
        around = float(shifts[int(total.argmax())])
        step /= 10
    return around


def confidence_sequence(
    densities: Densities, at: float, error: float, *, log_bar: float, first: int
) -> tuple[float, float] | None:
    """Bounds of the shifts that no block from number `first` on has rejected; None where every shift was, once.

    at: the estimate; error: its standard error, by which the bounds are looked for.
    """
    width = 6 * max(error, 1e-3)
    if _highest(densities, np.array([at]), first)[0] >= log_bar:  # what an earlier block told lies elsewhere
        nulls = at + width * np.linspace(-2, 2, 49)
        highest = _highest(densities, nulls, first)
        if highest.min() >= log_bar:
            return None
        at = float(nulls[int(highest.argmin())])
    return _bound(densities, at, -width, log_bar, first), _bound(densities, at, width, log_bar, first)


def _bound(densities: Densities, at: float, width: float, log_bar: float, first: int) -> float:
    """Where the rejected shifts begin, from `at` in the direction of `width`; infinite where none is found."""
    for _ in range(8):
        nulls = at + width * np.linspace(0.0, 1.0, 13)
        highest = _highest(densities, nulls, first)
        beyond = np.flatnonzero(highest >= log_bar)
        if len(beyond) and (k := int(beyond[0])):
            share = (log_bar - highest[k - 1]) / max(highest[k] - highest[k - 1], 1e-12)
            return float(nulls[k - 1] + (nulls[k] - nulls[k - 1]) * share)
        width *= 3
    return math.copysign(math.inf, width)


def _highest(densities: Densities, nulls: np.ndarray, first: int) -> np.ndarray:
    """The highest log e against each null at any block from number `first` on."""
    steps = np.concatenate([[0.0], -SIZES, SIZES])
    found = densities((nulls[:, None] + steps).ravel())
    shaped = found.reshape(len(found), len(nulls), len(steps)).transpose(1, 0, 2)
    lower, higher = _mixed(shaped[..., :1], shaped[..., 1:])
    return _either(lower, higher)[:, first:].max(axis=1)
