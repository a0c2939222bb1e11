"""Which statements became slower, since when, and is it the plan?

A statement's calls are put together into looks: stretches of time with some calls in each. The moment from which it is
slower is the split of its looks that explains most of what their times per call (as logarithms, weighted by calls)
differ by. It counts as slower where all hold:

- each side has enough looks and calls, and each of the last looks is slower than before by the ratio: no single spike;
- the ratio, over that by which the other statements became slower meanwhile: a busy machine is nobody's regression;
- the step stands out of how its looks differed before (median absolute deviation);
- what its calls cost more than before adds up to seconds that matter. The floor of 10 s is the one by which SQL Server
  forces a plan: (executions of both plans) × (difference in CPU time per call) > 10 s.

What it is called then depends on its plans, of one source: executed ones tell more than the planner's estimates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ooda_dagster.core.plan_settings import Regressions
from ooda_dagster.core.plan_use import PlanUse, Sides, sides_of

Kind = Literal["plan_regression", "slower_same_plan", "slower_plan_unknown", "parameter_sensitive"]

Numbers = NDArray[np.floating]

#: The kinds in words.
KINDS: Mapping[Kind, str] = {
    "plan_regression": "plan regression",
    "slower_same_plan": "slower, same plan",
    "slower_plan_unknown": "slower, plan not known",
    "parameter_sensitive": "parameter-sensitive",
}
#: Looks of one statement scatter by so much (as a logarithm) even where nothing happens.
_LEAST_SPREAD = 0.05
#: Others that must be there to tell how busy the machine was.
_MIN_OTHERS = 3


@dataclass(frozen=True)
class Step:
    """A statement that is slower than it was. Times are means per call; `drift` is the ratio of the other statements.

    score: 0 to 100, the share of all time of the statements looked at that is spent beyond what it cost before.
    plan_before, plan_after: hashes, of `source`; None where they are not known.
    """

    fingerprint: str
    kind: Kind
    since: datetime
    before_ms: float
    after_ms: float
    calls_before: int
    calls_after: int
    extra_s: float
    rows_ratio: float
    blocks_ratio: float
    reason: str
    drift: float = 1.0
    score: float = 0.0
    source: Literal["executed", "estimate"] | None = None
    plan_before: str | None = None
    plan_after: str | None = None

    @property
    def ratio(self) -> float:
        return self.after_ms / self.before_ms if self.before_ms else math.inf


@dataclass(frozen=True)
class Known:
    """An open finding: what it was called, since when, and what a call cost before."""

    fingerprint: str
    since: datetime
    before_ms: float


@dataclass(frozen=True)
class Found:
    """steps: new findings, and the known ones that still hold, by today's numbers; gone: fingerprint → why."""

    steps: list[Step]
    gone: dict[str, str]


def find_regressions(
    work: pd.DataFrame,
    uses: Iterable[PlanUse],
    *,
    now: datetime,
    policy: Regressions,
    known: Sequence[Known] = (),
    candidates: Iterable[str] | None = None,
) -> Found:
    """Steps in the time per call of the statements of `work`.

    work: buckets as `Rollups.frame` gives them (minute, span_s, fingerprint, n, sum_ms, sum_ms_sq, rows, blocks_hit,
    blocks_read), any grain, UTC. candidates: whose steps are looked for (None: all); the others tell how busy the
    machine was. A known finding is held against what it cost before, however long ago that is; one of which `work` has
    nothing stays as it is, in neither list.
    """
    looks = (
        {str(f): _looks(frame, policy) for f, frame in work.groupby("fingerprint", observed=True)} if len(work) else {}
    )
    plans: dict[str, list[PlanUse]] = {}
    for use in uses:
        plans.setdefault(use.fingerprint, []).append(use)
    held = {k.fingerprint: k for k in known}
    steps, gone = [], {}
    for fingerprint in sorted({*(looks if candidates is None else candidates), *held} & looks.keys()):
        one, open_one = looks[fingerprint], held.get(fingerprint)
        if open_one is not None and (why := _recovered(one, open_one, policy)):
            gone[fingerprint] = why
            continue
        split = _split(one, policy) if open_one is None else one.before(open_one.since.timestamp())
        if not 0 < split < len(one.n):
            continue
        step = _step(fingerprint, one, split)
        if open_one is not None:
            step = _against(step, open_one)
        elif not _matters(step, policy):
            continue
        step = _among(step, [looks[f] for f in looks if f != fingerprint and f not in held], looks.values(), policy)
        if open_one is None and not _stands_out(one, split, step, policy):
            continue
        sides = sides_of(plans.get(fingerprint, ()), step.since, timedelta(seconds=policy.look_s), now)
        steps.append(_called(step, sides, one, split, policy))
    return Found(sorted(steps, key=lambda s: -s.extra_s), gone)


@dataclass(frozen=True)
class _Looks:
    """Time, squared time (ms), calls, rows and blocks by look, oldest first; start in Unix seconds."""

    start: Numbers
    n: Numbers
    ms: Numbers
    sq: Numbers
    rows: Numbers
    blocks: Numbers

    @property
    def mean(self) -> Numbers:
        return self.ms / self.n

    def before(self, moment: float) -> int:
        """How many looks began before a moment."""
        return int((self.start < moment).sum())


def _looks(frame: pd.DataFrame, policy: Regressions) -> _Looks:
    """Each look is at least look_s long and holds its share of the least executions; the newest are made first."""
    frame = frame[(frame["n"] > 0) & (frame["sum_ms"] > 0) & np.isfinite(frame["sum_ms"].to_numpy(dtype=float))]
    since_1970 = pd.to_datetime(frame["minute"], utc=True) - pd.Timestamp(0, tz="UTC")
    seconds = since_1970.dt.total_seconds().to_numpy(dtype=float)
    order = np.argsort(seconds, kind="stable")
    columns = [frame[c].to_numpy(dtype=float)[order] for c in ("n", "sum_ms", "sum_ms_sq", "rows")]
    columns.append((frame["blocks_hit"].to_numpy(dtype=float) + frame["blocks_read"].to_numpy(dtype=float))[order])
    seconds = seconds[order]
    least, firsts, calls = math.ceil(policy.min_executions / policy.looks), [], 0.0
    blocks = np.floor(seconds / policy.look_s)
    for k in range(len(seconds) - 1, -1, -1):
        calls += columns[0][k]
        if calls >= least and (k == 0 or blocks[k - 1] != blocks[k]):
            firsts.append(k)
            calls = 0.0
    if calls and len(seconds):  # what is left at the old end
        firsts.append(0)
    starts = np.asarray(firsts[::-1], dtype=int)
    if not len(starts):
        return _Looks(*(np.empty(0) for _ in range(6)))
    return _Looks(seconds[starts], *(np.add.reduceat(column, starts) for column in columns))


def _split(looks: _Looks, policy: Regressions) -> int:
    """How many looks are before the step; 0 where one side has too little, or nothing became slower."""
    at = np.arange(policy.looks, len(looks.n) - policy.looks + 1)
    if not len(at):
        return 0
    weight, weighted = np.cumsum(looks.n), np.cumsum(looks.n * np.log(looks.mean))
    left, right = weight[at - 1], weight[-1] - weight[at - 1]
    step = (weighted[-1] - weighted[at - 1]) / right - weighted[at - 1] / left
    explained = np.where(np.minimum(left, right) >= policy.min_executions, step * np.abs(step) * left * right, 0.0)
    best = int(np.argmax(explained))
    return int(at[best]) if explained[best] > 0 else 0


def _step(fingerprint: str, looks: _Looks, split: int) -> Step:
    n_before, n_after = float(looks.n[:split].sum()), float(looks.n[split:].sum())
    before_ms, after_ms = float(looks.ms[:split].sum()) / n_before, float(looks.ms[split:].sum()) / n_after

    def per_call(counted: Numbers) -> float:
        was, is_now = float(counted[:split].sum()) / n_before, float(counted[split:].sum()) / n_after
        return is_now / was if was > 0 else 1.0

    return Step(
        fingerprint=fingerprint,
        kind="slower_plan_unknown",
        since=datetime.fromtimestamp(float(looks.start[split]), UTC),
        before_ms=before_ms,
        after_ms=after_ms,
        calls_before=int(n_before),
        calls_after=int(n_after),
        extra_s=(after_ms - before_ms) * n_after / 1000,
        rows_ratio=per_call(looks.rows),
        blocks_ratio=per_call(looks.blocks),
        reason="",
    )


def _against(step: Step, known: Known) -> Step:
    """The step held against what a call cost before it was found."""
    extra_s = (step.after_ms - known.before_ms) * step.calls_after / 1000
    return replace(step, since=known.since, before_ms=known.before_ms, extra_s=extra_s)


def _among(step: Step, others: Iterable[_Looks], everything: Iterable[_Looks], policy: Regressions) -> Step:
    """With how much slower a call of the other statements became (the median of their ratios, at least 1), and what
    share of all time since is spent on the step."""
    since, ratios, spent_ms = step.since.timestamp(), [], 0.0
    for looks in others:
        at = looks.before(since)
        before, after = float(looks.n[:at].sum()), float(looks.n[at:].sum())
        if min(before, after) >= policy.min_executions:
            ratios.append((float(looks.ms[at:].sum()) / after) / (float(looks.ms[:at].sum()) / before))
    for looks in everything:
        spent_ms += float(looks.ms[looks.before(since) :].sum())
    drift = max(1.0, float(np.median(ratios))) if len(ratios) >= _MIN_OTHERS else 1.0
    share = min(1.0, max(0.0, step.extra_s * 1000 / spent_ms)) if spent_ms else 0.0
    return replace(step, drift=drift, score=round(100 * share, 1))


def _matters(step: Step, policy: Regressions) -> bool:
    return step.after_ms >= step.before_ms * policy.min_ratio and step.extra_s >= policy.min_extra_s


def _stands_out(looks: _Looks, split: int, step: Step, policy: Regressions) -> bool:
    """Whether each of the last looks is slower, whatever the others did, and the step is no usual difference."""
    wanted = step.before_ms * policy.min_ratio * step.drift
    logs = np.log(looks.mean[:split])
    spread = max(1.4826 * float(np.median(np.abs(logs - np.median(logs)))), _LEAST_SPREAD)
    return bool(
        step.after_ms >= wanted
        and (looks.mean[-policy.looks :] >= wanted).all()
        and math.log(step.ratio / step.drift) >= policy.sigmas * spread
    )


def _recovered(looks: _Looks, known: Known, policy: Regressions) -> str:
    """Why a known finding is gone; an empty text where it is not. It takes as many looks as it took to find it.

    The bound lies halfway to what is called slower, so that a statement at the bound does not come and go.
    """
    first = max(len(looks.n) - policy.looks, looks.before(known.since.timestamp()))
    bound = known.before_ms * (1 + (policy.min_ratio - 1) / 2)
    if len(looks.n) - first < policy.looks or (looks.mean[first:] > bound).any():
        return ""
    mean = float(looks.ms[first:].sum() / looks.n[first:].sum())
    return f"a call takes {mean:,.3g} ms again, and took {known.before_ms:,.3g} ms before"


def _called(step: Step, sides: Sides | None, looks: _Looks, split: int, policy: Regressions) -> Step:
    """What kind of step it is, with the reason in words."""
    if sides is not None:
        step = replace(step, source=sides.source, plan_before=sides.before, plan_after=sides.after)

    def kind(found: Kind, reason: str) -> Step:
        return replace(step, kind=found, reason=reason)

    slower = f"a call takes {step.ratio:,.3g} times as long"
    if step.rows_ratio >= policy.min_ratio and step.ratio / step.rows_ratio < policy.min_ratio:
        return kind(
            "parameter_sensitive",
            f"{slower} and returns {step.rows_ratio:,.3g} times as many rows: it is asked for more",
        )
    if sides is not None and sides.alternate:
        return kind("parameter_sensitive", f"{slower}: {sides.alternate}")
    if sides is not None and sides.flipped:
        told = "it is executed by" if sides.source == "executed" else "by the planner's estimate it has"
        return kind("plan_regression", f"{slower} since {told} another plan")
    heavy_ms = float(np.median(looks.sq[:split] / looks.ms[:split]))
    if heavy_ms * policy.min_ratio >= step.after_ms:
        return kind(
            "parameter_sensitive",
            f"{slower}, and calls that took {heavy_ms:,.3g} ms made up its time before: there are more of them",
        )
    if sides is None:
        return kind("slower_plan_unknown", f"{slower}; its plans are not known on both sides")
    told = "the same plan" if sides.source == "executed" else "the same plan by the planner's estimate"
    return kind("slower_same_plan", f"{slower} by {told}")
