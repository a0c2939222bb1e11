"""Decide: allowed, queued for a person, or denied - with the rule that spoke and what would change its mind."""

from __future__ import annotations

from datetime import timedelta

from ooda_dagster.actions.registry import TYPES
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Decision, Decisions, Hypotheses, Hypothesis
from ooda_dagster.core.policy import Ruling, Situation, rule
from ooda_dagster.ledger import Action
from ooda_dagster.loop.bindings import supersede_stale
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.situation import POLICY, situation


def decide(loop: Loop, hypotheses: Hypotheses) -> Decisions:
    """Rule on each hypothesis by falling priority, and enter it in the journal as an action."""
    decisions: list[Decision] = []
    if not hypotheses.replayed:
        supersede_stale(loop)
        seen = situation(loop)
        for hypothesis in sorted(hypotheses.hypotheses, key=lambda h: (-h.priority, -h.expected_ms_per_hour)):
            decisions.append(_decide(loop, hypothesis, seen, hypotheses.analysis_id))
    return Decisions(
        analysis_id=hypotheses.analysis_id,
        target=loop.name,
        timestamp=loop.clock(),
        replayed=hypotheses.replayed,
        mode=loop.settings.mode,
        decisions=decisions,
    )


def _decide(loop: Loop, hypothesis: Hypothesis, seen: Situation, analysis_id: str) -> Decision:
    ruling = rule(hypothesis, seen, loop.settings)
    denied = _denied_before(loop, hypothesis, ruling)
    if denied is not None:  # the same word for the same thing is not written down every cycle
        return _decision(hypothesis, denied, ruling)
    action = _enter(loop, hypothesis, analysis_id)
    if action.state == State.APPROVED and action.decided_by == POLICY:
        action = _reconsider(loop, action, ruling)
    if action.state in (State.PROPOSED, State.PENDING_APPROVAL) and action.proposed_by == POLICY:
        action = _follow(loop, action, ruling)
    held = action.state == State.APPROVED and action.decided_by == POLICY and not ruling.allowed
    if held:
        loop.ledger.actions.note(action.action_id, rule=ruling.rule, remedy=ruling.remedy)
    elif action.state == State.APPROVED:
        seen.allowed_now.append(hypothesis)
    return _decision(hypothesis, action, ruling, held=held)


def _enter(loop: Loop, hypothesis: Hypothesis, analysis_id: str) -> Action:
    proposal = TYPES[hypothesis.hypothesis_type].propose(
        hypothesis.evidence["spec"],
        description=hypothesis.description,
        hypothesis_id=hypothesis.hypothesis_id,
        analysis_id=analysis_id,
        priority=hypothesis.priority,
        risk=hypothesis.risk,
        dangerous=hypothesis.dangerous,
        touches=hypothesis.touches,
        predicted={
            "bytes": hypothesis.bytes,
            "saved_ms_per_hour": hypothesis.saved_ms_per_hour,
            "write_ms_per_hour": hypothesis.write_ms_per_hour,
            "gain_pct": hypothesis.gain_pct,
            "net_ms_per_hour": hypothesis.net_ms_per_hour,
            "work_ms_per_hour": hypothesis.work_ms_per_hour,
            "predicted_pct": hypothesis.predicted_pct,
            "expected_pct": hypothesis.expected_pct,
            "trust": hypothesis.trust,
            "backend": hypothesis.backend,
            "estimate": bool(hypothesis.evidence.get("estimate")),
            "serves": [s.fingerprint for s in hypothesis.serves],
        },
    )
    return loop.ledger.actions.propose(loop.name, proposal, by=POLICY, now=loop.clock())


def _follow(loop: Loop, action: Action, ruling: Ruling) -> Action:
    """Move an action to the state of its ruling; one that waits keeps its place and gets the newest reason."""
    columns = {"rule": ruling.rule, "remedy": ruling.remedy, "decided_at": loop.clock(), "decided_by": POLICY}
    if ruling.state == State.APPROVED:
        columns["approved_hash"] = action.statements_hash
    if ruling.state in (State.APPROVED, State.PENDING_APPROVAL):
        columns["expires_at"] = loop.clock() + timedelta(hours=loop.settings.acting.approval_expires_h)
    if ruling.state == action.state or ruling.state == State.PROPOSED:
        loop.ledger.actions.note(action.action_id, rule=ruling.rule, remedy=ruling.remedy)
        return loop.ledger.actions.get(action.action_id)
    audit = "approved" if ruling.state == State.APPROVED else None
    return loop.ledger.actions.transition(
        action.action_id, ruling.state, actor=POLICY, reason=ruling.rule, audit=audit, **columns
    )


def _reconsider(loop: Loop, action: Action, ruling: Ruling) -> Action:
    """Policy's own approval, not used yet, ends where the rules or the mode say otherwise by now."""
    if ruling.state not in (State.DENIED, State.PENDING_APPROVAL):
        return action
    why = f"no longer approved by policy: {ruling.rule}"
    return loop.ledger.actions.transition(
        action.action_id,
        State.EXPIRED,
        actor=POLICY,
        reason=why,
        audit="expired",
        rule=ruling.rule,
        remedy=ruling.remedy,
    )


def _decision(hypothesis: Hypothesis, action: Action, ruling: Ruling, *, held: bool = False) -> Decision:
    return Decision(
        hypothesis_id=hypothesis.hypothesis_id,
        action_id=action.action_id,
        state=action.state,
        rule=ruling.rule,
        remedy=ruling.remedy,
        held=held,
    )


def _denied_before(loop: Loop, hypothesis: Hypothesis, ruling: Ruling) -> Action | None:
    if ruling.state != State.DENIED:
        return None
    denied = loop.ledger.actions.list(loop.name, states=(State.DENIED,))
    return next((a for a in denied if a.identity == hypothesis.identity and a.rule == ruling.rule), None)
