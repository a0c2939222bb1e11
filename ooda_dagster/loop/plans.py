"""Which plans do the target's statements have, and which statements became slower? Reads; keeps both in the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import timedelta

from ooda_dagster.core.catalogue import Catalogue
from ooda_dagster.core.regressions import Known
from ooda_dagster.core.seen import BlindSpot, QueryStoreRecommendation
from ooda_dagster.core.text import many
from ooda_dagster.ledger import Cycle
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.estimated_plans import estimate_plans
from ooda_dagster.loop.executed_plans import read_executed_plans
from ooda_dagster.loop.recommendations import recommendations
from ooda_dagster.loop.slower_statements import Work, steps_of, work_of
from ooda_dagster.targets.base import Observing, TargetError


def watch_plans(
    loop: Loop, session: Observing, cycle: Cycle, catalogue: Catalogue, blind: list[BlindSpot]
) -> list[QueryStoreRecommendation]:
    """Read what plans there are, find what became slower; the open findings, those of this cycle first.

    What could not be read is added to `blind`; nothing of it ends the cycle.
    """
    if not session.capabilities().statements_ok:
        return []
    now, policy = loop.clock(), loop.settings.regressions
    work = work_of(loop, now)
    if loop.settings.plans.enabled:
        try:
            blind += read_executed_plans(loop, session, catalogue)
        except TargetError as error:
            blind.append(BlindSpot(what="the plan log", why=str(error)))
        try:
            estimate_plans(loop, session, catalogue, work.totals, work.slower)
        except TargetError as error:
            blind.append(BlindSpot(what="estimates of plans", why=str(error)))
    if policy.enabled:
        _find(loop, cycle, work)
        loop.ledger.regressions.prune(loop.name, now=now, keep_d=policy.keep_d)
    open_now = loop.ledger.regressions.list(loop.name)
    needed = {hash_ for r in open_now for hash_ in (r.plan_before, r.plan_after) if hash_}
    kept = loop.settings.plans
    loop.ledger.plans.prune(loop.name, now=now, keep_d=kept.keep_d, per_statement=kept.max_per_statement, needed=needed)
    return recommendations(loop.ledger, loop.name, open_now, cycle.analysis_id) if policy.enabled else []


def _find(loop: Loop, cycle: Cycle, work: Work) -> None:
    now, ledger = loop.clock(), loop.ledger
    known = [Known(r.fingerprint, r.since, r.before_ms) for r in ledger.regressions.list(loop.name)]
    since = now - timedelta(hours=loop.settings.regressions.lookback_h)
    uses = ledger.plans.uses(loop.name, {*work.slower, *(k.fingerprint for k in known)}, since)
    found = steps_of(loop, work, now, known=known, uses=uses)
    if found is None:
        return
    ledger.regressions.record(loop.name, found.steps, found.gone, analysis_id=cycle.analysis_id, now=now)
    _say(loop, [s.kind for s in found.steps if s.fingerprint not in {k.fingerprint for k in known}], found.gone)


def _say(loop: Loop, new: Collection[str], gone: Collection[str]) -> None:
    kinds = Counter("depends on its parameters" if k == "parameter_sensitive" else "became slower" for k in new)
    for words, count in kinds.items():
        loop.say(f"{many(count, 'statement')} {words}: ooda regressions --target {loop.name}")
    if gone:
        loop.say(f"{many(len(gone), 'regression')} gone")
