"""Learn: what did the actions change, what was undone, and when is it worth looking again?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from ooda_dagster.core.cadence import Closed, Delay, Pace, Woken, due_at, jitter_of, next_delay
from ooda_dagster.core.cadence_settings import Cadence
from ooda_dagster.core.change_types import changes_statements
from ooda_dagster.core.journal import OPEN, State
from ooda_dagster.core.messages import ActionResults, LearningDelta, VerdictRow
from ooda_dagster.core.predictions import rung_of
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.core.windows import next_opening, open_until, parse_window
from ooda_dagster.ledger import Action, Cycle
from ooda_dagster.ledger.verifications import look_of
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.improvement import record_improvement
from ooda_dagster.loop.learned import global_health, newest_lessons
from ooda_dagster.loop.own_audit import audit_if_due
from ooda_dagster.loop.second_look import look_twice
from ooda_dagster.loop.verdict_bar import last_audit
from ooda_dagster.loop.verify import verify

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
    known, (health, source) = newest_lessons(loop, now), global_health(loop, now)
    return LearningDelta(
        analysis_id=results.analysis_id,
        target=loop.name,
        timestamp=now,
        replayed=results.replayed,
        performance_metrics=health,
        performance_source=source,
        proven_improvement=proven_improvement(ended),
        action_outcomes={
            "successfulActions": sum(a.outcome == Outcome.BETTER for a in ended),
            "regressedActions": sum(a.outcome == Outcome.WORSE for a in ended),
            "failedActions": sum(a.state == State.FAILED for a in ended),
            "neutralActions": sum(
                a.state != State.FAILED and a.outcome not in (Outcome.BETTER, Outcome.WORSE) for a in ended
            ),
            "totalActions": len(ended),
        },
        outcomes=verdict_rows(loop, ended),
        open=verdict_rows(loop, open_actions),
        learned=known.rows,
        predictions=known.points,
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
        if a.state in (State.KEPT, State.INCONCLUSIVE, State.REVERTED, State.REVERT_FAILED)
        and a.outcome
        and changes_statements(a.action_type)
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


def proven_improvement(ended: Sequence[Action]) -> float | None:
    """Less work per call, in per cent, by the verdicts that closed: the largest loss, else the largest gain."""
    proven = [
        100 * (1 - a.ratio) for a in ended if a.outcome in (Outcome.BETTER, Outcome.WORSE) and a.ratio is not None
    ]
    return min(proven) if any(gain < 0 for gain in proven) else max(proven, default=None)


def verdict_rows(loop: Loop, actions: Sequence[Action]) -> list[VerdictRow]:
    """Actions as learning reports them, with the calls since the deed that were judged."""
    change_sets = {a.change_set_id for a in actions if a.change_set_id}
    looks = {change_set: loop.ledger.verifications.looks(change_set) for change_set in change_sets}
    files = loop.ledger.evidence.files([a.action_id for a in actions])
    paths = {action_id: file.path for action_id, file in files.items()}
    return [_verdict_row(a, _calls(a, looks.get(a.change_set_id or "", ())), paths.get(a.action_id)) for a in actions]


def _calls(action: Action, looks: Sequence[Mapping[str, Any]]) -> int:
    """Calls since the deed, by the look that judged the action; by the newest while none has."""
    look = look_of(action, looks) or (looks[-1] if looks and action.outcome is None else None)
    return int(look["n"].get("calls_after", 0)) if look else 0


def _verdict_row(action: Action, calls: int, evidence: str | None) -> VerdictRow:
    def pct(ratio: float | None) -> float | None:
        return None if ratio is None else (ratio - 1) * 100

    shown = action.outcome in (Outcome.BETTER, Outcome.WORSE) and action.ratio is not None
    status: Literal["Executed", "Failed", "Skipped"] = "Executed" if action.applied_at is not None else "Skipped"
    predicted = action.predicted
    return VerdictRow(
        action_id=action.action_id,
        hypothesis_id=action.hypothesis_id,
        hypothesis_type=action.action_type,
        action_status="Failed" if action.state == State.FAILED else status,
        impact_score=100 * (1 - action.ratio) if shown and action.ratio is not None else None,
        execution_time_ms=action.duration_ms,
        predicted_pct=predicted.get("predicted_pct"),
        expected_pct=predicted.get("expected_pct"),
        rung=rung_of(predicted.get("backend") or "", estimate=bool(predicted.get("estimate")))
        if action.hypothesis_id
        else "",
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
        evidence=evidence,
    )
