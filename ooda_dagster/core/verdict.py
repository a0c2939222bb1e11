"""Did it help? Better, worse, inconclusive or unattributed - with a ratio, an interval and the evidence.

Difference-in-differences of mix-adjusted log work per call (core/did_series.py), a model of the series fitted on the
time before the action only (core/filtering.py), and an e-process over the blocks since (core/evalue.py): a verdict may
be looked at as often as one likes, and the chance that it is ever wrong about an action without effect is bounded by
1 / `decide_e`. The error comes from the series' own past, never from the number of calls: calls of one block share a
load level. For an undo, the cheap mistake, `revert_e` is enough.

The effect that is told is the one that the touched statements share. Where they differ, what counts is the net change
of their work: a statement that pays for an index is among them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ooda_dagster.core import evalue, filtering
from ooda_dagster.core.blocks import Blocks, gather
from ooda_dagster.core.did_series import Series, difference
from ooda_dagster.core.settings import Verifying

_DIFFER_SDS = 3.0  # that the two weightings of the statements may lie apart before they count as differing
_MOST = math.log(1000)  # that an effect or a bound is told to be, in log units
DEFAULT_POLICY = Verifying()


class Outcome(StrEnum):
    """What a verdict says."""

    BETTER = "better"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"
    UNATTRIBUTED = "unattributed"  # it changed, but nothing untouched ran beside it


class OutcomeClass(StrEnum):
    """The seed document's classes, derived from the verdict."""

    HIGH_SUCCESS = "HighSuccess"
    SUCCESS = "Success"
    REGRESSED = "Regressed"
    FAILED = "Failed"
    NEUTRAL = "Neutral"


@dataclass(frozen=True)
class Verdict:
    """Outcome of one look. `ratio` is work per call after ÷ before (0.4: 60 % less); `interval` its bounds."""

    outcome: Outcome
    ratio: float | None
    interval: tuple[float, float] | None
    reason: str
    n: dict[str, int] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    revert: bool = False  # worse, if only by the looser bar that is enough for an undo

    @property
    def effect_pct(self) -> float | None:
        """Change in work per call, in per cent; negative is faster."""
        return None if self.ratio is None else (self.ratio - 1) * 100


def classify(verdict: Verdict | None, policy: Verifying) -> OutcomeClass:
    """The document's class. None stands for an action that failed."""
    if verdict is None:
        return OutcomeClass.FAILED
    if verdict.outcome == Outcome.BETTER and verdict.ratio is not None:
        return OutcomeClass.HIGH_SUCCESS if verdict.ratio < policy.high_success_ratio else OutcomeClass.SUCCESS
    return OutcomeClass.REGRESSED if verdict.outcome == Outcome.WORSE else OutcomeClass.NEUTRAL


def judge(
    rollup: pd.DataFrame,
    *,
    acted_at: datetime,
    treated: Collection[str],
    now: datetime,
    control: Collection[str] | None = None,
    excluded: Sequence[tuple[datetime, datetime]] = (),
    acted_until: datetime | None = None,
    policy: Verifying = DEFAULT_POLICY,
) -> Verdict:
    """Judge an action by the work per call of the statements it touches.

    rollup: columns `minute` (aware start of the bucket), `fingerprint`, `n`, `sum_ms` and, where known, `sum_ms_sq`,
        `sum_log_ms`, `sum_log_ms_sq` (null where requests are not seen singly) and `span_s` (length of the bucket in
        seconds, else 60). Other columns are ignored. The sums may be of any measure of work.
    acted_at, acted_until: when the deed began and ended; buckets that overlap it are left out.
    treated: fingerprints that the action can reach; control: those it cannot (None: all others).
    excluded: times to leave out, such as gaps and other actions' builds.

    Statements that were not called before the action have no expectation and are left out of both sides. A look at
    `now` takes every block since the action into account as if it had been looked at by itself.
    """
    blocks = gather(
        rollup,
        acted_at=acted_at,
        ended=acted_until or acted_at,
        now=now,
        treated=treated,
        control=control,
        excluded=excluded,
        policy=policy,
    )
    counts = {
        "calls_before": blocks.calls(treated=True, after=False),
        "calls_after": blocks.calls(treated=True, after=True),
        "control_calls_before": blocks.calls(treated=False, after=False),
        "control_calls_after": blocks.calls(treated=False, after=True),
    }
    has_control = counts["control_calls_before"] > 0 and counts["control_calls_after"] > 0
    before, after = (_seen(blocks, after=side, has_control=has_control) for side in (False, True))
    evidence: dict[str, Any] = {
        "method": "difference-in-differences" if has_control else "before-after without control",
        "blocks_before": before,
        "blocks_after": after,
        "block_s": policy.block_s,
        "decide_e": policy.decide_e,
        "revert_e": policy.revert_e,
        "control_statements": int((~blocks.treated).sum()),
        "treated_statements": int(blocks.treated.sum()),
    }
    missing = _missing(before, after, counts, policy)
    if missing:
        return Verdict(Outcome.INCONCLUSIVE, None, None, missing, counts, evidence)

    pair = difference(blocks, has_control=has_control)
    shared, net = (_Effect(series, blocks, policy) for series in (pair.precise, pair.work))
    apart = (net.log - shared.log) ** 2
    differ = apart > _DIFFER_SDS**2 * (net.error**2 - shared.error**2) + 1e-4
    found = net if differ else shared
    (low, high), lasting = found.bounds()
    ratio, interval = math.exp(min(max(found.log, low), high)), (math.exp(low), math.exp(high))
    proof = found.log_e()
    hours = after * policy.block_s / 3600
    evidence |= found.model_evidence() | {
        "measure": pair.measure,
        "weights": "work, as the statements differ" if differ else "precision",
        "net_ratio": math.exp(net.log),
        "log_e": proof.either,
        "log_e_better": proof.better,
        "log_e_worse": proof.worse,
        "saved_ms_per_hour": float(pair.expected_ms[blocks.first_after :].sum()) * (1 - math.exp(net.log)) / hours,
    }
    outcome, reason = _outcome(interval, lasting, has_control, net.log, blocks.baseline_s, policy)
    probably = proof.worse >= math.log(policy.revert_e) and min(found.log, net.log) > 0
    revert = outcome == Outcome.WORSE or (outcome == Outcome.INCONCLUSIVE and has_control and lasting and probably)
    if revert and outcome == Outcome.INCONCLUSIVE:
        reason = f"probably worse: e = {math.exp(proof.worse):.0f}, which is enough for an undo"
    return Verdict(outcome, ratio, interval, reason, counts, evidence, revert)


@dataclass(frozen=True)
class _Proof:
    """Log e-values, the highest of any block: of an effect either way, of a gain, of a loss."""

    either: float
    better: float
    worse: float


class _Effect:
    """What one series says of an effect: `log` is its most likely size in log units, `error` its standard error."""

    def __init__(self, series: Series, blocks: Blocks, policy: Verifying) -> None:
        before, first = blocks.before, blocks.first_after
        self._model = filtering.fit(series, before)
        noise = filtering.noise_of(series, self._model, before)
        self._state = filtering.learn_state(series, self._model, noise, before)
        after, noise, deed = series.d[first:], noise[first:], first - before
        self._densities = partial(filtering.log_densities, self._state, self._model, after, noise, ahead=deed)
        self.error = filtering.standard_error(self._state, self._model, after, noise, deed)
        seen = np.flatnonzero(np.isfinite(after))
        around = float(np.median(after[seen])) - self._state.mu
        reach = max(6 * self.error, float(np.ptp(after[seen])))
        self.log = min(max(evalue.estimate(self._densities, around, reach), -_MOST), _MOST)
        self._log_bar = math.log(policy.decide_e)
        # Fewer blocks than the policy wants decide nothing, whatever they say.
        self._first, self._last = int(seen[policy.min_blocks_after - 1]), len(after) - 1

    def log_e(self) -> _Proof:
        found, since = evalue.evidence(self._densities), slice(self._first, None)
        return _Proof(*(float(e[since].max()) for e in (found.log_e, found.log_e_lower, found.log_e_higher)))

    def bounds(self) -> tuple[tuple[float, float], bool]:
        """Bounds of the effect in log units, and whether one effect explains all blocks since the action."""
        for first, lasting in ((self._first, True), (self._last, False)):
            found = evalue.confidence_sequence(
                self._densities, self.log, self.error, log_bar=self._log_bar, first=first
            )
            if found is not None:
                return (max(found[0], -_MOST), min(found[1], _MOST)), lasting
        return (-_MOST, _MOST), False

    def model_evidence(self) -> dict[str, Any]:
        return {
            "effect_log": self.log,
            "standard_error": self.error,
            "phi": self._model.phi,
            "slow_sd": math.sqrt(self._model.slow),
            "noise_sd": math.sqrt(self._model.noise),
            "scale": self._state.scale,
            "prior_blocks": filtering.PRIOR_BLOCKS,
        }


def _seen(blocks: Blocks, *, after: bool, has_control: bool) -> int:
    seen = blocks.seen(treated=True, after=after)
    return int((seen & blocks.seen(treated=False, after=after) if has_control else seen).sum())


def _missing(before: int, after: int, counts: dict[str, int], policy: Verifying) -> str:
    """What is missing for a verdict, or nothing."""
    if counts["calls_before"] < policy.min_calls:
        return f"only {counts['calls_before']} calls before the action; {policy.min_calls} are needed"
    if before < policy.min_blocks_before:
        return f"only {_blocks(before)} before the action; {policy.min_blocks_before} are needed"
    if counts["calls_after"] < policy.min_calls:
        return f"only {counts['calls_after']} calls since the action; {policy.min_calls} are needed"
    if after < policy.min_blocks_after:
        return f"only {_blocks(after)} since the action; {policy.min_blocks_after} are needed"
    return ""


def _blocks(count: int) -> str:
    return f"{count} block{'' if count == 1 else 's'}"


def _outcome(
    interval: tuple[float, float], lasting: bool, has_control: bool, net: float, baseline_s: float, policy: Verifying
) -> tuple[Outcome, str]:
    low, high = interval
    if low <= 1 <= high:
        return Outcome.INCONCLUSIVE, "no difference shown: the interval holds 1"
    if not lasting:
        return Outcome.INCONCLUSIVE, "it changed and changed again: no single effect explains the time since"
    if not has_control:
        return Outcome.UNATTRIBUTED, "it changed, but no untouched statement ran beside it to compare with"
    if (low > 1) != (net > 0):
        return Outcome.INCONCLUSIVE, "calls changed one way and the work of all of them the other way"
    if low > 1:
        return Outcome.WORSE, "work per call rose, and the whole interval is above 1"
    baseline_h = baseline_s / 3600
    if baseline_h < policy.min_baseline_h:
        return (
            Outcome.INCONCLUSIVE,
            f"better, but from a baseline of {baseline_h:.1f} h; {policy.min_baseline_h:g} h are needed to claim it",
        )
    return Outcome.BETTER, "work per call fell, and the whole interval is below 1"


def to_undo(verdict: Verdict) -> Verdict:
    """The verdict that an undo by the looser bar is recorded with: worse."""
    return replace(verdict, outcome=Outcome.WORSE) if verdict.revert else verdict
