"""One loser among winners: which statements paid for a change that helps on the whole, and who mends them?

The smallest remedy comes first: what the planner knows of that statement's tables. The change itself falls only where
the work of all its statements, each by its calls, rose: that is the verdict on the whole set.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ooda_dagster.core.change_types import is_statistics
from ooda_dagster.core.journal import LIVE
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.loop.comparison import Comparison
from ooda_dagster.loop.context import Loop

#: Most statements of a change set that are judged one by one: those with the most work.
_MOST = 30


@dataclass(frozen=True)
class Loser:
    """A statement that an action of ours made slower, and that is not mended yet. since: when that was proven."""

    fingerprint: str
    ratio: float
    lost_ms_per_hour: float
    action_id: str
    description: str
    since: datetime

    @property
    def why(self) -> str:
        return (
            f"a statement takes {self.ratio:.1f} times the work since action {self.action_id[:8]}, "
            "which gains on the whole"
        )


def proven_losers(compared: Comparison) -> list[dict[str, Any]]:
    """Statements of a change set that surely got slower, each with ratio and interval, for the verdict's evidence.

    The bar is that of the set times the number of statements that are judged (Bonferroni): where none changed, the
    chance that any is called a loser stays the set's.
    """
    verification = compared.verification
    assert verification.acted_until is not None
    frame = compared.frame
    after = frame[frame["fingerprint"].isin(verification.treated) & (frame["minute"] >= verification.acted_until)]
    heaviest = after.groupby("fingerprint", observed=True)["sum_ms"].sum().sort_values(ascending=False).index[:_MOST]
    if len(heaviest) < 2:
        return []
    policy = compared.policy.model_copy(update={"decide_e": compared.policy.decide_e * len(heaviest)})
    found = []
    for fingerprint in heaviest:
        verdict = compared.verdict([str(fingerprint)], policy)
        if verdict.outcome != Outcome.WORSE or verdict.interval is None:
            continue
        found.append(
            {
                "fingerprint": str(fingerprint),
                "ratio": verdict.ratio,
                "low": verdict.interval[0],
                "high": verdict.interval[1],
                "calls_after": verdict.n["calls_after"],
                "lost_ms_per_hour": -verdict.evidence["saved_ms_per_hour"],
            }
        )
    return found


def open_losers(loop: Loop) -> dict[str, Loser]:
    """fingerprint → loser of a change of ours that stands, as far as no later change was proven to mend it."""
    since = loop.clock() - timedelta(hours=loop.settings.acting.failure_memory_h)
    standing = {a.change_set_id: a for a in loop.ledger.actions.list(loop.name, states=LIVE, since=since)}
    found: dict[str, Loser] = {}
    for look in loop.ledger.verifications.final_looks(loop.name, since):
        action = standing.get(look["change_set_id"])
        if action is None:
            continue
        treated = loop.ledger.verifications.get(look["change_set_id"]).treated
        if is_statistics(action.action_type) and look["outcome"] == Outcome.BETTER:
            found = {f: loser for f, loser in found.items() if f not in treated}
        for lost in look["evidence"].get("losers") or ():
            found[lost["fingerprint"]] = Loser(
                fingerprint=lost["fingerprint"],
                ratio=lost["ratio"],
                lost_ms_per_hour=lost["lost_ms_per_hour"],
                action_id=action.action_id,
                description=action.description,
                since=look["looked_at"],
            )
    return found
