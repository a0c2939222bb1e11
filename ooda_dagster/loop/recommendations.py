"""What became slower, as the observation tells it: the regressions of a target, with both plans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ooda_dagster.core.regressions import KINDS
from ooda_dagster.core.seen import QueryStoreRecommendation
from ooda_dagster.core.text import cut
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.plans import KeptPlan
from ooda_dagster.ledger.regressions import Regression

#: A message is a row of the ledger, and its tables rows of somebody's event log.
_MOST = 10
_LONGEST_PLAN = 1500


def recommendations(
    ledger: Ledger, target: str, found: Sequence[Regression], analysis_id: str
) -> list[QueryStoreRecommendation]:
    """The open regressions, those that this analysis found first; not what only depends on its parameters."""
    chosen = [r for r in found if r.kind != "parameter_sensitive"]
    chosen.sort(key=lambda r: (r.opened_by != analysis_id, -r.extra_s))
    chosen = chosen[:_MOST]
    if not chosen:
        return []
    fingerprints = {r.fingerprint for r in chosen}
    statements = ledger.rollups.statements(target, fingerprints)
    texts = dict(zip(statements["fingerprint"], statements["text"], strict=True))
    plans = ledger.plans.of(target, fingerprints)
    return [_recommendation(r, str(texts.get(r.fingerprint, "")), plans, analysis_id) for r in chosen]


def plan_text(plans: Iterable[KeptPlan], fingerprint: str, source: str | None, plan_hash: str | None) -> str | None:
    """A plan of a statement; None where it is not known, or not kept any more."""
    return next(
        (p.text for p in plans if (p.fingerprint, p.source, p.plan_hash) == (fingerprint, source, plan_hash)), None
    )


def _recommendation(
    one: Regression, text: str, plans: Sequence[KeptPlan], analysis_id: str
) -> QueryStoreRecommendation:
    before = plan_text(plans, one.fingerprint, one.source, one.plan_before)
    after = plan_text(plans, one.fingerprint, one.source, one.plan_after)
    return QueryStoreRecommendation(
        recommendation_type=KINDS[one.kind],
        impact_score=one.score,
        query_id=one.fingerprint,
        regressed_plan_id=one.plan_after,
        recommended_plan_id=one.plan_before if one.plan_before != one.plan_after else None,
        kind=one.kind,
        new=one.opened_by == analysis_id,
        text=cut(text),
        since=one.since,
        before_ms=one.before_ms,
        after_ms=one.after_ms,
        ratio=one.ratio,
        extra_s=one.extra_s,
        calls_before=one.calls_before,
        calls_after=one.calls_after,
        reason=one.reason,
        plan_source=one.source,
        plan_before=_short(before),
        plan_after=_short(after) if one.plan_before != one.plan_after else None,
    )


def _short(plan: str | None) -> str | None:
    """Whole lines, at most so many characters."""
    if plan is None or len(plan) <= _LONGEST_PLAN:
        return plan
    return plan[:_LONGEST_PLAN].rpartition("\n")[0] + "\n…"
