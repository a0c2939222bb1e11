"""A series as a slow component, AR(1), under noise: fitted on the past, and filtered by a robust Kalman filter.

    d_t = μ + x_t + ε_t        x_t = φ x_{t-1} + η_t

φ, var x and var ε are fitted by Whittle's likelihood (the periodogram against the model's spectrum), on a grid, from
the blocks before the action only. A prior spectrum is mixed in, worth `PRIOR_BLOCKS` blocks: with three days of history
it says next to nothing, with an hour it keeps a series that happened to be calm from being taken for a quiet one.

Sampling error differs from block to block: ε's variance is scaled by each block's own. μ has a diffuse prior, so that
what the baseline does not know of it is carried into every later prediction. Missing blocks are predicted through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ooda_dagster.core.did_series import Series

#: The prior of a series' spectrum where little history is seen: worth so many blocks, half of the variance slow.
PRIOR_BLOCKS = 24.0
PRIOR_PHI, PRIOR_SLOW_SD, PRIOR_NOISE_SD = 0.9, 0.05, 0.05
HUBER = 2.5  # sds, beyond which an innovation counts by its size and no more by its square
_PHIS = np.array([0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995])
_SHARES = np.array([0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])
_SPIKE = 5.0  # sds from the running median, before the spectrum is taken
_CLIP = 3.0  # sds, of what one innovation may move the level
_LONG = 860  # innovations of three days: from then on their scale is known well enough
_DOUBT = 1.5  # of -2 ln likelihood, by which a model may be worse than the best and still be the one that is taken
_BAND = (12, 48)  # blocks: periods at which an effect of the action would be seen
_DIFFUSE = 100.0  # variance of μ at the start, log units²


@dataclass(frozen=True)
class Model:
    """φ, the variances of the slow component and of the noise, and how many blocks they were fitted on."""

    phi: float
    slow: float
    noise: float
    blocks: int


@dataclass(frozen=True)
class State:
    """What the filter knows after a block: means of μ and x, their covariance, the scale of innovations."""

    mu: float
    x: float
    p: tuple[float, float, float]  # var μ, cov, var x
    scale: float


def fit(series: Series, before: int) -> Model:
    """The model of the first `before` blocks."""
    d = series.d[:before]
    d = d[np.isfinite(d).argmax() :]  # statements may have a shorter past than others
    seen = np.isfinite(d)
    count = int(seen.sum())
    centred = np.zeros(len(d))
    if count:
        calm = _without_spikes(d[seen])
        centred[seen] = calm - calm.mean()
    length = max(len(d), 8)
    frequency = 2 * np.pi * np.arange(1, length // 2 + 1) / length
    power = np.abs(np.fft.rfft(centred, length)[1:]) ** 2 / max(count, 1)
    prior = PRIOR_SLOW_SD**2 * _ar_spectrum(np.array([PRIOR_PHI]), frequency)[0] + PRIOR_NOISE_SD**2
    power = (count * power + PRIOR_BLOCKS * prior) / (count + PRIOR_BLOCKS)
    slow = _ar_spectrum(_PHIS, frequency)
    shape = _SHARES[:, None, None] * slow + (1 - _SHARES[:, None, None])
    scale = (power / shape).mean(axis=2)
    deviance = np.log(scale) + np.log(shape).mean(axis=2)
    # Of the models that the data allow, the one that wanders most at the scale of a verdict: errors in the fit then
    # make a verdict late, not false.
    band = (frequency >= 2 * np.pi / _BAND[1]) & (frequency <= 2 * np.pi / _BAND[0])
    wander = scale * shape[..., band if band.any() else frequency > 0].mean(axis=2)
    allowed = (count + PRIOR_BLOCKS) * (deviance - deviance.min()) <= _DOUBT
    share, phi = np.unravel_index(int(np.where(allowed, wander, -1.0).argmax()), deviance.shape)
    total = float(scale[share, phi])
    return Model(float(_PHIS[phi]), float(_SHARES[share]) * total, float(1 - _SHARES[share]) * total, count)


def _without_spikes(d: np.ndarray) -> np.ndarray:
    """The values, those that stand out from their neighbours for a block or two pulled in. Steps of the level stay."""
    around = (
        np.median(np.lib.stride_tricks.sliding_window_view(np.pad(d, 2, mode="reflect"), 5), axis=1)
        if len(d) >= 5
        else np.full(len(d), np.median(d))
    )
    spread = 1.4826 * float(np.median(np.abs(d - around)))
    return np.clip(d, around - _SPIKE * spread, around + _SPIKE * spread) if spread > 0 else d


def _ar_spectrum(phis: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Spectrum of AR(1) processes of variance 1. Shape: φ × frequency."""
    phi = phis[:, None]
    return (1 - phi**2) / (1 - 2 * phi * np.cos(frequency) + phi**2)


def noise_of(series: Series, model: Model, before: int) -> np.ndarray:
    """The noise variance of each block: the model's, by the block's sampling variance over the usual one."""
    past = series.noise[:before]
    usual = float(np.mean(past[np.isfinite(past)])) if np.isfinite(past).any() else 0.0
    if usual <= 0:
        return np.full(len(series.d), model.noise)
    return model.noise * np.clip(np.nan_to_num(series.noise, nan=usual) / usual, 0.05, 100.0)


def learn_state(series: Series, model: Model, noise: np.ndarray, before: int) -> State:
    """Filter the baseline; returns the state at its end."""
    phi, inject = model.phi, (1 - model.phi**2) * model.slow
    mu, x, pm, pc, px = 0.0, 0.0, _DIFFUSE, 0.0, model.slow
    found: list[float] = []
    values, noises = series.d[:before].tolist(), noise[:before].tolist()
    begun = False
    for value, variance in zip(values, noises, strict=True):
        x, pc, px = phi * x, phi * pc, phi * phi * px + inject
        if value != value:
            continue
        total = pm + 2 * pc + px + variance
        sd = math.sqrt(total)
        innovation = value - mu - x
        if begun:
            found.append(innovation / sd)
            innovation = max(-_CLIP * sd, min(_CLIP * sd, innovation))
        begun = True
        a, b = (pm + pc) / total, (pc + px) / total
        mu, x = mu + a * innovation, x + b * innovation
        pm, pc, px = pm - a * a * total, pc - a * b * total, px - b * b * total
    return State(mu, x, (pm, pc, px), scale_of(np.array(found)))


def scale_of(z: np.ndarray) -> float:
    """The scale at which E[ψ²] = E[ψ'] holds for Huber's score ψ on the innovations `z`.

    For small effects a likelihood ratio then has expectation 1 whatever the innovations' distribution is: the e-value
    is calibrated by the baseline. Short baselines count as if the innovations were wider, by their own uncertainty.
    """
    if len(z) < 2:
        return 2.0
    scales = np.geomspace(0.5, 4.0, 40)
    size = np.abs(z[:, None] / scales)
    excess = (np.minimum(size, HUBER) ** 2 - (size < HUBER)).mean(axis=0)
    calm = np.flatnonzero(excess <= 0)
    found = float(scales[calm[0]]) if len(calm) else float(scales[-1])
    short = math.sqrt(2 / len(z)) - math.sqrt(2 / _LONG)
    return max(found, 0.7) * math.sqrt(1 + 1.5 * max(0.0, short))


def log_densities(
    state: State, model: Model, d: np.ndarray, noise: np.ndarray, shifts: np.ndarray, ahead: int = 0
) -> np.ndarray:
    """Log density of each block after the baseline, had the action shifted the series by each of `shifts`.

    d, noise: the blocks after; ahead: missing blocks in between. Returns blocks × shifts, 0 where a block is missing.
    """
    phi, inject = model.phi, (1 - model.phi**2) * model.slow
    pm, pc, px = state.p
    x = np.full(len(shifts), state.x)
    mu = state.mu + shifts
    found = np.zeros((len(d), len(shifts)))
    for _ in range(ahead):
        x, pc, px = phi * x, phi * pc, phi * phi * px + inject
    for t, (value, variance) in enumerate(zip(d.tolist(), noise.tolist(), strict=True)):
        x, pc, px = phi * x, phi * pc, phi * phi * px + inject
        if value != value:
            continue
        total = pm + 2 * pc + px + variance
        sd = math.sqrt(total)
        innovation = value - mu - x
        size = np.abs(innovation) / (sd * state.scale)
        core = np.minimum(size, HUBER)
        found[t] = core * (0.5 * core - size)
        np.clip(innovation, -_CLIP * sd, _CLIP * sd, out=innovation)
        a, b = (pm + pc) / total, (pc + px) / total
        mu, x = mu + a * innovation, x + b * innovation
        pm, pc, px = pm - a * a * total, pc - a * b * total, px - b * b * total
    return found


def standard_error(state: State, model: Model, d: np.ndarray, noise: np.ndarray, ahead: int = 0) -> float:
    """Of a shift, told from the blocks after by the linear filter: from its innovations' response to a unit step."""
    phi, inject = model.phi, (1 - model.phi**2) * model.slow
    pm, pc, px = state.p
    mu, x, information = 0.0, 0.0, 0.0
    for _ in range(ahead):
        pc, px = phi * pc, phi * phi * px + inject
    for value, variance in zip(d.tolist(), noise.tolist(), strict=True):
        x, pc, px = phi * x, phi * pc, phi * phi * px + inject
        if value != value:
            continue
        total = pm + 2 * pc + px + variance
        response = 1 - mu - x
        information += response * response / total
        a, b = (pm + pc) / total, (pc + px) / total
        mu, x = mu + a * response, x + b * response
        pm, pc, px = pm - a * a * total, pc - a * b * total, px - b * b * total
    return state.scale / math.sqrt(information) if information > 0 else math.inf
