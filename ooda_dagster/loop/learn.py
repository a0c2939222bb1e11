"""Learn: what did the actions change, what was undone, and when is it worth looking again?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from ooda_dagster.core.cadence import Closed, Delay, Pace, Woken, due_at, jitter_of, next_delay
from ooda_dagster.core.cadence_settings import Cadence
from ooda_dagster.core.journal import OPEN, State
from ooda_dagster.core.messages import ActionResults, LearningDelta, VerdictRow
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.core.windows import next_opening, open_until, parse_window
from ooda_dagster.ledger import Action, Cycle
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.own_audit import audit_if_due
from ooda_dagster.loop.second_look import look_twice
from ooda_dagster.loop.verdict_bar import last_audit
from ooda_dagster.loop.verify import record_improvement, verify

#: The document's windows: 24 hours to 5 minutes ago, and the last 5 minutes.
_BASELINE = timedelta(hours=24)
_CURRENT = timedelta(minutes=5)
#: What is said of an action that ended without a verdict.
_UNJUDGED = {
    State.FAILED: "failed",
    State.REVERTED: "undone",
    State.REVERT_FAILED: "undo failed",
    State.REJECTED: "rejected",
}


def learn(loop: Loop, results: ActionResults) -> LearningDelta:
    """Report the verdicts that closed since the last cycle, and set the delay by them."""
    begun = loop.ledger.cycles.get(results.analysis_id)
    if not results.replayed and not (begun and begun.dry_run):  # a verdict may undo what it is about
        verify(loop)
        look_twice(loop)
        audit_if_due(loop)
    ended = list(loop.ledger.actions.unlearned(loop.name, results.analysis_id))
    open_actions = loop.ledger.actions.list(loop.name, states=OPEN)
    delay = _delay(loop, begun, ended, len(open_actions), replayed=results.replayed)
    for action in loop.ledger.actions.unrecorded(loop.name):  # failed, undone by recovery, or its verdict broke off
        record_improvement(loop, action)
    if not results.replayed:
        loop.ledger.actions.learned([a.action_id for a in ended], results.analysis_id)
    now = loop.clock()
    due, why, minutes = due_at(now, delay, _jitter(loop, results.analysis_id)), delay.reason, delay.minutes
    if (opening := _opening(loop, now)) and opening < due:
        due, why = opening, "a maintenance window opens"
        minutes = min(minutes, math.ceil((due - now).total_seconds() / 60))
    loop.ledger.messages.prune(loop.name, now - timedelta(days=loop.settings.messages.keep_d))
    return LearningDelta(
        analysis_id=results.analysis_id,
        target=loop.name,
        timestamp=now,
        replayed=results.replayed,
        performance_metrics=global_health(loop, now),
        action_outcomes={
            "successfulActions": sum(a.outcome == Outcome.BETTER for a in ended),
            "regressedActions": sum(a.outcome == Outcome.WORSE for a in ended),
            "failedActions": sum(a.state == State.FAILED for a in ended),
            "totalActions": len(ended),
        },
        outcomes=verdict_rows(loop, ended),
        open=verdict_rows(loop, open_actions),
        next_due_at=due,
        next_due_reason=why,
        delay_minutes=minutes,
        pace=delay.pace,
        verdict_audit=last_audit(loop.ledger, loop.name, loop.settings.verifying),
    )


def _opening(loop: Loop, now: datetime) -> datetime | None:
    """When the next maintenance window opens, where something waits for one."""
    windows = [parse_window(text) for text in loop.settings.acting.windows]
    if not windows or not loop.settings.mode.acts or open_until(windows, now):
        return None
    waits = loop.ledger.actions.list(loop.name, states=(State.PROPOSED, State.APPROVED))
    return next_opening(windows, now) if waits else None


def _delay(loop: Loop, begun: Cycle | None, ended: list[Action], open_actions: int, *, replayed: bool) -> Delay:
    """The delay after this cycle. Where a person started it, or nothing was done, it is no sign of quiet."""
    last = loop.ledger.messages.latest(LearningDelta, loop.name)
    woken = Woken.HAND
    if begun and not begun.dry_run and not replayed:
        woken = {"schedule": Woken.TIMER, "alarm": Woken.ALARM}.get(begun.trigger, Woken.HAND)
    return delay_after(ended, open_actions, last.pace if last else None, woken, loop.settings.cadence)


def _jitter(loop: Loop, analysis_id: str) -> float:
    return jitter_of(f"{loop.name}/{analysis_id}", loop.settings.cadence.jitter_share)


def delay_after(
    ended: list[Action],
    open_verifications: int,
    before: Pace | None = None,
    woken: Woken = Woken.HAND,
    policy: Cadence | None = None,
) -> Delay:
    """The delay that follows from what ended, and from the pace so far."""
    closed = [
        Closed(Outcome(a.outcome), a.ratio)
        for a in ended
        if a.state in (State.KEPT, State.INCONCLUSIVE, State.REVERTED, State.REVERT_FAILED) and a.outcome
    ]
    failed = sum(a.state == State.FAILED for a in ended)
    return next_delay(
        closed,
        failed=failed,
        open_verifications=open_verifications,
        before=before or Pace(),
        woken=woken,
        policy=policy or Cadence(),
    )


def verdict_rows(loop: Loop, actions: Sequence[Action]) -> list[VerdictRow]:
    """Actions as learning reports them, with the calls that their newest look judged."""
    calls: dict[str, int] = {}
    for change_set in {a.change_set_id for a in actions if a.change_set_id}:
        looks = loop.ledger.verifications.looks(change_set)
        calls[change_set] = int(looks[-1]["n"].get("calls_after", 0)) if looks else 0
    return [_verdict_row(a, calls.get(a.change_set_id or "", 0)) for a in actions]


def _verdict_row(action: Action, calls: int) -> VerdictRow:
    def pct(ratio: float | None) -> float | None:
        return None if ratio is None else (ratio - 1) * 100

    return VerdictRow(
        action_id=action.action_id,
        hypothesis_type=action.action_type,
        description=action.description,
        state=action.state,
        outcome=action.outcome or _UNJUDGED.get(action.state, "open"),
        outcome_class=action.outcome_class or ("Failed" if action.state == State.FAILED else "Neutral"),
        effect_pct=pct(action.ratio),
        ci_low_pct=pct(action.ratio_low),
        ci_high_pct=pct(action.ratio_high),
        n=calls,
        closed_at=action.closed_at,
        reason=action.revert_reason or action.verdict_reason or action.error or "",
    )


def global_health(loop: Loop, now: datetime) -> dict[str, float | None]:
    """The naive before/after comparison of all statements (ms per call, calls per minute). It decides nothing."""

    def rates(since: datetime, until: datetime) -> tuple[float | None, float | None]:
        totals = loop.ledger.rollups.totals(loop.name, since, until)
        _, covered_s = loop.ledger.rollups.coverage(loop.name, since, until)
        calls = float(totals["n"].sum())
        if not calls or not covered_s:
            return None, None
        return float(totals["sum_ms"].sum()) / calls, 60 * calls / covered_s

    base_ms, base_rate = rates(now - _BASELINE, now - _CURRENT)
    current_ms, current_rate = rates(now - _CURRENT, now)
    return {
        "baselineLatencyMs": base_ms,
        "currentLatencyMs": current_ms,
        "latencyImprovement": None if not base_ms or current_ms is None else 100 * (base_ms - current_ms) / base_ms,
        "throughputChange": None
        if not base_rate or current_rate is None
        else 100 * (current_rate - base_rate) / base_rate,
    }
