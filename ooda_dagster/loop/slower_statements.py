"""Which statements became slower, or are new and heavy: for a cycle, and for what calls one early."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pandas as pd

from ooda_dagster.core.new_load import new_load
from ooda_dagster.core.plan_use import PlanUse
from ooda_dagster.core.regressions import Found, Known, find_regressions
from ooda_dagster.loop.context import Loop

#: Statements beside those that became slower, which tell how busy the machine was.
_OTHERS = 50
#: Looks that are the newest part when candidates are chosen: as many as must be slow in a row, twice.
_NEWEST = 2


@dataclass(frozen=True)
class Work:
    """What statements took. Times are ms.

    totals: statements by time over the lookback, heaviest first. slower: those whose calls take longer in its newest
    part than before, by two sums each, a coarse choice; what is chosen is looked at closely. known: those that were
    called before the newest part.
    """

    totals: pd.DataFrame
    slower: list[str]
    known: frozenset[str] = frozenset()


def work_of(loop: Loop, now: datetime) -> Work:
    """Of the lookback that ends with `now`."""
    policy = loop.settings.regressions
    since = now - timedelta(hours=policy.lookback_h)
    newest = now - timedelta(seconds=policy.look_s * policy.looks * _NEWEST)
    totals = loop.ledger.rollups.totals(loop.name, since, now)
    if totals.empty:
        return Work(totals, [])
    recent = loop.ledger.rollups.totals(loop.name, newest, now).set_index("fingerprint")[["n", "sum_ms"]].astype(float)
    earlier = totals.set_index("fingerprint").reindex(recent.index)[["n", "sum_ms"]].astype(float)
    n, ms = earlier["n"] - recent["n"], earlier["sum_ms"] - recent["sum_ms"]
    before, after = ms / n.where(n > 0), recent["sum_ms"] / recent["n"].where(recent["n"] > 0)
    halfway = 1 + (policy.min_ratio - 1) / 2
    extra = ((after - before) * recent["n"])[after >= before * halfway]
    new = recent.index[n <= 0]
    known = frozenset(totals["fingerprint"]) - frozenset(new)
    return Work(totals, [str(f) for f in extra.nlargest(policy.max_statements).index], known)


def steps_of(
    loop: Loop, work: Work, now: datetime, *, known: Sequence[Known], uses: Collection[PlanUse] = ()
) -> Found | None:
    """The steps in the time per call of what became slower and what is known; None where there is neither."""
    policy = loop.settings.regressions
    looked_at = {*work.slower, *(k.fingerprint for k in known)}
    if not looked_at:
        return None
    others = work.totals[~work.totals["fingerprint"].isin(list(looked_at))].head(_OTHERS)
    wanted = {*looked_at, *others["fingerprint"]}
    frame = loop.ledger.rollups.frame(loop.name, now - timedelta(hours=policy.lookback_h), now, fingerprints=wanted)
    return find_regressions(frame, uses, now=now, policy=policy, known=known, candidates=work.slower)


def worth_a_cycle(loop: Loop, now: datetime, began: datetime | None) -> Iterator[tuple[str, str]]:
    """Fingerprints, each with why in words, of what the last cycle (it began at `began`) could not know.

    A statement that became slower by what core/regressions.py asks, unless it is merely asked for more; one that is new
    in the lookback, of which half must be known, and has `regressions.alarm_new_share` of the time by now.
    """
    policy = loop.settings.regressions
    stretch = timedelta(seconds=policy.look_s * policy.looks)
    if began is None or now - began < stretch:  # less than a finding takes
        return
    work = work_of(loop, now)
    if work.totals.empty:
        return
    known = {r.fingerprint for r in loop.ledger.regressions.list(loop.name)}
    found = steps_of(loop, replace(work, slower=[f for f in work.slower if f not in known]), now, known=())
    for step in found.steps if found else ():
        if step.kind != "parameter_sensitive":
            yield step.fingerprint, f"statement {step.fingerprint[:8]}: {step.reason.split('; ')[0]}"
    first, _ = loop.ledger.rollups.coverage(loop.name, now - timedelta(hours=policy.lookback_h), now)
    if first is None or now - _NEWEST * stretch - first < timedelta(hours=policy.lookback_h) / 2:
        return
    recent = loop.ledger.rollups.totals(loop.name, now - stretch, now)  # of which it was there all along
    heavy = new_load(recent, work.known, min_share=policy.alarm_new_share, min_s=policy.min_extra_s)
    for fingerprint, share in heavy.items():
        yield fingerprint, f"statement {fingerprint[:8]} is new and takes {share:.0%} of the time"
