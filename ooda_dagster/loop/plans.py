"""Which plans do the target's statements have, and which statements became slower? Reads; keeps both in the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import timedelta

import pandas as pd

from ooda_dagster.core.catalogue import Catalogue
from ooda_dagster.core.regressions import Known, find_regressions
from ooda_dagster.core.seen import BlindSpot, QueryStoreRecommendation
from ooda_dagster.core.text import many
from ooda_dagster.ledger import Cycle
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.estimated_plans import estimate_plans
from ooda_dagster.loop.executed_plans import read_executed_plans
from ooda_dagster.loop.recommendations import recommendations
from ooda_dagster.targets.base import Observing, TargetError

#: Statements beside those that became slower, which tell how busy the machine was.
_OTHERS = 50
#: Looks that are the newest part when candidates are chosen: as many as must be slow in a row, twice.
_NEWEST = 2


def watch_plans(
    loop: Loop, session: Observing, cycle: Cycle, catalogue: Catalogue, blind: list[BlindSpot]
) -> list[QueryStoreRecommendation]:
    """Read what plans there are, find what became slower; the open findings, those of this cycle first.

    What could not be read is added to `blind`; nothing of it ends the cycle.
    """
    if not session.capabilities().statements_ok:
        return []
    now, policy = loop.clock(), loop.settings.regressions
    totals, slower = _work(loop)
    if loop.settings.plans.enabled:
        try:
            blind += read_executed_plans(loop, session, catalogue)
        except TargetError as error:
            blind.append(BlindSpot(what="the plan log", why=str(error)))
        try:
            estimate_plans(loop, session, catalogue, totals, slower)
        except TargetError as error:
            blind.append(BlindSpot(what="estimates of plans", why=str(error)))
    if policy.enabled:
        _find(loop, cycle, totals, slower)
        loop.ledger.regressions.prune(loop.name, now=now, keep_d=policy.keep_d)
    open_now = loop.ledger.regressions.list(loop.name)
    needed = {hash_ for r in open_now for hash_ in (r.plan_before, r.plan_after) if hash_}
    kept = loop.settings.plans
    loop.ledger.plans.prune(loop.name, now=now, keep_d=kept.keep_d, per_statement=kept.max_per_statement, needed=needed)
    return recommendations(loop.ledger, loop.name, open_now, cycle.analysis_id) if policy.enabled else []


def _work(loop: Loop) -> tuple[pd.DataFrame, list[str]]:
    """Statements by time over the lookback, heaviest first, and those whose calls take longer than they did.

    The second is a coarse choice, by two sums each; what is chosen is looked at closely.
    """
    policy, now = loop.settings.regressions, loop.clock()
    since = now - timedelta(hours=policy.lookback_h)
    newest = now - timedelta(seconds=policy.look_s * policy.looks * _NEWEST)
    totals = loop.ledger.rollups.totals(loop.name, since, now)
    if totals.empty:
        return totals, []
    recent = loop.ledger.rollups.totals(loop.name, newest, now).set_index("fingerprint")[["n", "sum_ms"]].astype(float)
    earlier = totals.set_index("fingerprint").reindex(recent.index)[["n", "sum_ms"]].astype(float)
    n, ms = earlier["n"] - recent["n"], earlier["sum_ms"] - recent["sum_ms"]
    before, after = ms / n.where(n > 0), recent["sum_ms"] / recent["n"].where(recent["n"] > 0)
    halfway = 1 + (policy.min_ratio - 1) / 2
    extra = ((after - before) * recent["n"])[after >= before * halfway]
    return totals, [str(f) for f in extra.nlargest(policy.max_statements).index]


def _find(loop: Loop, cycle: Cycle, totals: pd.DataFrame, slower: list[str]) -> None:
    policy, now, ledger = loop.settings.regressions, loop.clock(), loop.ledger
    known = [Known(r.fingerprint, r.since, r.before_ms) for r in ledger.regressions.list(loop.name)]
    looked_at = {*slower, *(k.fingerprint for k in known)}
    if not looked_at:
        return
    since = now - timedelta(hours=policy.lookback_h)
    others = totals[~totals["fingerprint"].isin(list(looked_at))].head(_OTHERS)
    work = ledger.rollups.frame(loop.name, since, now, fingerprints={*looked_at, *others["fingerprint"]})
    uses = ledger.plans.uses(loop.name, looked_at, since)
    found = find_regressions(work, uses, now=now, policy=policy, known=known, candidates=slower)
    ledger.regressions.record(loop.name, found.steps, found.gone, analysis_id=cycle.analysis_id, now=now)
    _say(loop, [s.kind for s in found.steps if s.fingerprint not in {k.fingerprint for k in known}], found.gone)


def _say(loop: Loop, new: Collection[str], gone: Collection[str]) -> None:
    kinds = Counter("depends on its parameters" if k == "parameter_sensitive" else "became slower" for k in new)
    for words, count in kinds.items():
        loop.say(f"{many(count, 'statement')} {words}: ooda regressions --target {loop.name}")
    if gone:
        loop.say(f"{many(len(gone), 'regression')} gone")
