"""How often would a verdict be wrong here? The same code at past moments at which nothing was done.

Each placebo is an "action" at a random moment of a target's own history that touches a random set of its statements.
Any verdict on it is false. Placebos of neighbouring hours see the same hours, so they are fewer than they seem: the
effective number comes from a bootstrap of whole stretches of time (Künsch, Annals of Statistics 17, 1989), taken on
the upper tenth of the e-values, since verdicts themselves are too rare to tell.

Where even the lower end of the interval is above what is promised, the bar goes up: to the e-value that one placebo in
a hundred reaches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from scipy import stats

from ooda_dagster.core.settings import Verifying
from ooda_dagster.core.verdict import judge

#: What is promised: at most this share of actions without effect gets a verdict, or is undone by the looser bar.
PROMISED, PROMISED_UNDO = 0.01, 0.05
_FEWEST_STATEMENTS = 4
_SHARES = (0.03, 0.5)  # of the calls, that a random set touches
_RESAMPLES = 500
_MOST_E = 1e6


class TooLittleHistoryError(ValueError):
    """The history does not hold one baseline and one verdict after it, or too few statements."""


@dataclass(frozen=True)
class Rate:
    """A share of placebos with its 95 % interval by the effective number."""

    count: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Audit:
    """placebos: how many were judged; effective: how many independent ones they are worth.

    false: verdicts; undone: undos by the looser bar. needed_e: the bar that the promise needs here, never below the
    policy's; needed_revert_e: the same of undos. since, until: moments of the first and last placebo.
    """

    placebos: int
    effective: float
    false: Rate
    undone: Rate
    decide_e: float
    needed_e: float
    revert_e: float
    needed_revert_e: float
    since: datetime
    until: datetime


@dataclass(frozen=True)
class _Placebo:
    """One that could be judged. Log e-values are the highest of any block: of an effect either way, and of a loss."""

    moment: datetime
    fired: bool
    undone: bool
    log_e: float
    log_e_worse: float


def audit(
    rollup: pd.DataFrame,
    *,
    policy: Verifying,
    number: int = 1000,
    seed: int = 0,
    excluded: Sequence[tuple[datetime, datetime]] = (),
    progress: Callable[[int, int], None] = lambda done, of: None,
    enough: Callable[[], bool] = lambda: False,
) -> Audit:
    """Judge `number` placebos on a rollup as `judge` takes it, of statements that no action changed.

    progress: called with how many are done, and of how many. enough: asked after each, whether to stop; they are judged
    in an order by chance, so that those so far are spread over all of the history. Raises TooLittleHistoryError.
    """
    chance = np.random.default_rng(seed)
    rollup = rollup[rollup["n"] > 0].sort_values("minute", kind="stable")
    rollup = rollup.assign(fingerprint=rollup["fingerprint"].astype("category"))
    moments = _moments(rollup, policy, number, chance)
    calls = rollup.groupby("fingerprint", observed=True)["n"].sum()
    if len(calls) < _FEWEST_STATEMENTS:
        raise TooLittleHistoryError(
            f"{len(calls)} statements without an action were called; {_FEWEST_STATEMENTS} are needed"
        )
    starts = pd.DatetimeIndex(rollup["minute"])
    found: list[_Placebo] = []
    for done, moment in enumerate((moments[i] for i in chance.permutation(len(moments))), 1):
        now = moment + timedelta(seconds=policy.deadline_s + policy.settle_s)
        first = moment - timedelta(hours=policy.baseline_h)
        seen = rollup.iloc[int(starts.searchsorted(first)) : int(starts.searchsorted(now))]
        treated = _touched(calls, chance)
        verdict = judge(seen, acted_at=moment, treated=treated, now=now, excluded=excluded, policy=policy)
        progress(done, number)
        if verdict.interval is not None:
            low, high = verdict.interval
            log_e, worse = verdict.evidence["log_e"], verdict.evidence["log_e_worse"]
            found.append(_Placebo(moment, not low <= 1 <= high, verdict.revert, log_e, worse))
        if enough():
            break
    if not found:
        raise TooLittleHistoryError(f"none of {number} placebos had enough calls and blocks around it to be judged")
    found.sort(key=lambda p: p.moment)
    log_e = [p.log_e for p in found]
    effective = effective_number([p.moment for p in found], np.array(log_e), policy.deadline_s, chance)
    fired, undone = [p.fired for p in found], [p.undone for p in found]
    false, harmed = _rate(fired, effective), _rate(undone, effective)
    return Audit(
        placebos=len(found),
        effective=effective,
        false=false,
        undone=harmed,
        decide_e=policy.decide_e,
        needed_e=needed_bar(false, log_e, PROMISED, policy.decide_e),
        revert_e=policy.revert_e,
        needed_revert_e=needed_bar(harmed, [p.log_e_worse for p in found], PROMISED_UNDO, policy.revert_e),
        since=found[0].moment,
        until=found[-1].moment,
    )


def _moments(rollup: pd.DataFrame, policy: Verifying, number: int, chance: np.random.Generator) -> list[datetime]:
    """Random moments with a deadline after them and, before them, as long a baseline as half the history allows."""
    deadline_h = (policy.deadline_s + policy.settle_s) / 3600
    first, last = (rollup["minute"].min(), rollup["minute"].max()) if len(rollup) else (None, None)
    hours = (last - first).total_seconds() / 3600 if first is not None and last is not None else 0.0
    least_h = max(policy.min_baseline_h, policy.min_blocks_before * policy.block_s / 3600)
    if first is None or hours <= least_h + deadline_h:
        raise TooLittleHistoryError(
            f"the ledger has {_span(hours)} of history; {_span(least_h + deadline_h)} and more are needed"
        )
    baseline_h = max(least_h, min(policy.baseline_h, (hours - deadline_h) / 2))
    offsets = np.sort(chance.uniform(baseline_h, hours - deadline_h, number))
    return [first.to_pydatetime() + timedelta(seconds=round(float(h) * 3600)) for h in offsets]


def _span(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"


def _touched(calls: pd.Series, chance: np.random.Generator) -> list[str]:
    """A random set of statements with a random share of the calls, never all of them."""
    order = chance.permutation(len(calls))
    share = calls.to_numpy()[order].cumsum() / calls.sum()
    wanted = math.exp(chance.uniform(*np.log(_SHARES)))
    some = min(int(np.searchsorted(share, wanted)) + 1, len(calls) - 1)
    return [str(f) for f in calls.index[order[:some]]]


def effective_number(
    moments: Sequence[datetime], log_e: np.ndarray, stretch_s: float, chance: np.random.Generator
) -> float:
    """How many independent placebos these are worth, at most as many as there are; moments in time order."""
    high = (log_e >= np.quantile(log_e, 0.9)).astype(float)
    begin = moments[0]
    number = np.array([int((m - begin).total_seconds() // stretch_s) for m in moments])
    _, number = np.unique(number, return_inverse=True)
    count, hits = np.bincount(number), np.bincount(number, high)
    share = float(high.mean())
    if len(count) < 2 or not 0 < share < 1:
        return float(len(count))
    drawn = chance.integers(0, len(count), (_RESAMPLES, len(count)))
    rates = hits[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    variance = float(rates.var(ddof=1))
    return float(np.clip(share * (1 - share) / variance if variance > 0 else len(moments), 1.0, len(moments)))


def _rate(hits: list[bool], effective: float) -> Rate:
    """Clopper and Pearson's interval, of the effective number."""
    count = int(sum(hits))
    share = count / len(hits)
    k = share * effective
    low = float(stats.beta.ppf(0.025, k, effective - k + 1)) if k > 0 else 0.0
    high = float(stats.beta.ppf(0.975, k + 1, effective - k)) if k < effective else 1.0
    return Rate(count, share, low, high)


def needed_bar(rate: Rate, log_e: Sequence[float], promised: float, bar: float) -> float:
    """The bar that keeps the promise: `bar`, or what a share of `promised` reaches, where `rate` is surely above it."""
    if rate.low <= promised:
        return bar
    return float(np.clip(math.exp(min(float(np.quantile(log_e, 1 - promised)), math.log(_MOST_E))), bar, _MOST_E))
