"""Services drawn at random, to be judged on what detection was not tuned to: for benchmarks/detect.py.

A kind is a shape of noise; a seed draws the rest: 1 to 50 groups of equal or very unequal size, 2,000 to 100,000
requests a day, tokens known, partly known or absent, a wave over the day, a spread that grows with the load, whole
milliseconds or not, and a reference of another level. TUNED kinds with even seeds may be looked at while detection is
changed; all others only tell what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special, stats

from ooda_dagster_tests.core.request_days import DAY_S, MIX, Numbers, moments, plant


@dataclass(frozen=True)
class Noise:
    """Of the logarithm of a duration: what draws n of it, and its log density; both scaled to a spread of about 1."""

    draw: Callable[[np.random.Generator, int], Numbers]
    density: Callable[[Numbers], Numbers]


def tailed(share: float, power: float, sd: float) -> Noise:
    """Normal with, in a share, a Pareto factor on the duration: an exponential of rate power on the logarithm. sd: of
    the normal part, so that x is in its units."""
    rate = power * sd

    def draw(chance: np.random.Generator, n: int) -> Numbers:
        return chance.normal(0, 1, n) + np.where(chance.random(n) < share, chance.exponential(1 / rate, n), 0)

    def density(x: Numbers) -> Numbers:
        both = np.log(rate) + rate**2 / 2 - rate * x + special.log_ndtr(x - rate)
        return np.logaddexp(np.log1p(-share) + stats.norm.logpdf(x), np.log(share) + both)

    return Noise(draw, density)


def _of(law: stats.rv_continuous, *shape: float, scale: float = 1.0, at: float = 0.0) -> Noise:
    frozen = law(*shape, loc=at, scale=scale)
    return Noise(lambda chance, n: frozen.rvs(n, random_state=chance), frozen.logpdf)


NOISE: Mapping[str, Callable[[float], Noise]] = {
    "lognormal, 1 % Pareto tail": lambda sd: tailed(0.01, 1.5, sd),
    "lognormal": lambda sd: _of(stats.norm),
    "Student's t, 8 degrees": lambda sd: _of(stats.t, 8, scale=0.9),
    "gamma": lambda sd: _of(stats.loggamma, 4.0, scale=2.0, at=-2.5),
    "lognormal, 3 % Pareto tail": lambda sd: tailed(0.03, 2.5, sd),
    "Laplace": lambda sd: _of(stats.laplace, scale=0.7),
    "logistic": lambda sd: _of(stats.logistic, scale=0.55),
    "skewed": lambda sd: _of(stats.skewnorm, 4.0, scale=1.4, at=-1.0),
}
KINDS = list(NOISE)
#: The first half; the rest is never tuned on.
TUNED = KINDS[:4]


@dataclass(frozen=True)
class Case:
    """before, spoilt, clean, planted: frames, spoilt is before with planted rows; kind: of each planted row.

    likelihood: of each row of planted, see likelihood().
    """

    what: str
    before: pd.DataFrame
    spoilt: pd.DataFrame
    clean: pd.DataFrame
    planted: pd.DataFrame
    kind: pd.Series
    likelihood: Numbers


@dataclass(frozen=True)
class Truth:
    """What an oracle knows of each row (n). mid, sd: of the log duration given what is known, mid without what the
    tokens out add; slope: on the log of these; out_mid, out_sd: of the log of these."""

    mid: Numbers
    sd: Numbers
    slope: Numbers
    out_mid: float
    out_sd: float


def case(kind: str, seed: int, share: float = 0.005) -> Case:
    chance = np.random.default_rng((seed, KINDS.index(kind)))
    n = int(np.exp(chance.uniform(np.log(2_000), np.log(100_000))))
    groups = int(np.exp(chance.uniform(0, np.log(50.99))))
    size = 1 / np.arange(1, groups + 1) ** chance.choice([0.0, 0.7, 1.2])
    tokens = str(chance.choice(["known", "known", "known", "partly known", "absent"]))
    wave, grows = chance.uniform(0, 0.4), float(chance.choice([0.0, 0.0, 0.3]))
    shift = float(chance.choice([0.0, 0.0, 0.0, 0.3, -0.3]))
    whole = bool(chance.random() < 0.4)
    base, slope = chance.uniform(3, 7, groups), chance.uniform(0.3, 0.9, groups)
    out_mid, out_sd = chance.uniform(4, 5), chance.uniform(0.4, 0.8)
    sd = chance.uniform(0.25, 0.6)
    sds = sd * np.exp(chance.normal(0, 0.2, groups))
    noise = NOISE[kind](sd)

    def day(number: int) -> tuple[pd.DataFrame, Truth]:
        own = np.random.default_rng((seed, KINDS.index(kind), number))
        group, at = own.choice(groups, n, p=size / size.sum()), np.sort(moments(own, n))
        tin = np.exp(own.normal(5, 0.7, n)).round()
        out = own.normal(out_mid, out_sd, n)
        turn = np.sin(2 * np.pi * (at / DAY_S - 0.35))
        mid = base[group] + wave * turn + (shift if number else 0.0)
        spread = sds[group] * (1 + grows * turn)
        by_tokens = slope[group] * (out - out_mid)
        ms = np.exp(mid + by_tokens + spread * noise.draw(own, n))
        silent = own.random(n) < {"known": 0.0, "partly known": 0.4, "absent": 1.0}[tokens]
        frame = pd.DataFrame(
            {
                "requested_at": pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(number * DAY_S + at, unit="s"),
                "model": [f"m{g // 2}" for g in group],
                "operation": [f"o{g % 2}" for g in group],
                "duration_ms": ms.round() if whole else ms.round(3),
                "tokens_in": np.where(tokens == "absent", np.nan, tin),
                "tokens_out": np.where(silent, np.nan, np.exp(out).round()),
            }
        )
        truth = Truth(
            np.where(silent, mid, mid - slope[group] * out_mid),
            np.where(silent, np.hypot(spread, slope[group] * out_sd), spread),
            slope[group],
            out_mid,
            out_sd,
        )
        return frame, truth

    before, (clean, truth) = day(0)[0], day(1)
    known = clean["tokens_out"].notna()
    mix = MIX if tokens != "absent" else {name: part / 0.8 for name, part in MIX.items() if name != "runaway"}
    (spoilt, _), (planted, of_kind) = plant(before, share, seed + 1000, mix), plant(clean, share, seed, mix)
    spoilt["tokens_out"] = spoilt["tokens_out"].where(before["tokens_out"].notna())
    planted["tokens_out"] = planted["tokens_out"].where(known)
    what = (
        f"{kind}; n {n:,}, {groups} groups, tokens {tokens}, sd {sd:.2f}"
        + (f", level x{np.exp(shift):.2f}" if shift else "")
        + (", spread grows" if grows else "")
    )
    return Case(what, before, spoilt, clean, planted, of_kind, likelihood(planted, truth, noise.density, mix))


def likelihood(
    rows: pd.DataFrame, truth: Truth, density: Callable[[Numbers], Numbers], mix: Mapping[str, float] = MIX
) -> Numbers:
    """Log of the likelihood of each row under the planted mix, over that of an ordinary row: what no detector that
    knows only these columns can be better than (Neyman and Pearson, 1933)."""
    log, out = (
        np.log(np.maximum(rows["duration_ms"].to_numpy(float), 0.5)),
        np.log(rows["tokens_out"].to_numpy(float).clip(1)),
    )

    def row(by_ms: float, by_out: float) -> Numbers:
        """Log density of what the row was before these (natural logarithms) were added."""
        tokens = np.where(np.isnan(out), 0.0, stats.norm.logpdf(out - by_out, truth.out_mid, truth.out_sd))
        mid = truth.mid + np.where(np.isnan(out), 0.0, truth.slope * (out - by_out))
        return density((log - by_ms - mid) / truth.sd) + tokens

    ordinary = row(0.0, 0.0)
    return mixed(row, mix) - ordinary


def mixed(row: Callable[[float, float], Numbers], mix: Mapping[str, float] = MIX) -> Numbers:
    """Log density under the planted mix; row: see likelihood()."""
    strong, slight = (np.linspace(np.log(low), np.log(high), many) for low, high, many in ((8, 40, 17), (3, 5, 9)))
    parts = []
    for name, share in mix.items():
        factors = slight if name == "contextual" else strong
        for u in factors:
            if name == "runaway":
                parts += [np.log(share / 2 / len(factors)) + row(slow * u / 2, u) for slow in (0, 1)]
            else:
                parts.append(np.log(share / len(factors)) + row(-u if name == "too fast" else u, 0.0))
    return special.logsumexp(np.array(parts), axis=0)
