"""Act: apply what is approved, grouped into change sets that will be judged together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ooda_dagster.actions.executor import Outcome
from ooda_dagster.actions.looks import start_looks
from ooda_dagster.actions.permits import acting_bar, case_of_action, standing
from ooda_dagster.actions.recovery import recover
from ooda_dagster.advisor.costs import shapes_of
from ooda_dagster.advisor.shape import Shape
from ooda_dagster.core.journal import IN_FLIGHT, LIVE, State
from ooda_dagster.core.messages import ActionResults, Decisions, Executed, Hypotheses
from ooda_dagster.core.policy import Ruling, Situation, bar, change_sets, waits_for
from ooda_dagster.core.scrub import scrubbed
from ooda_dagster.ledger import Action
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.hypothesize import readers_of
from ooda_dagster.loop.opened import open_changes
from ooda_dagster.loop.situation import POLICY
from ooda_dagster.loop.workload import read_window
from ooda_dagster.targets.base import TargetError

#: How long a build's replay on the observed standby is waited for.
_REPLAY_S = 60.0


def act(loop: Loop, decisions: Decisions, *, dry_run: bool = False) -> ActionResults:
    """Apply approved actions, people's first. A replay, a dry run and a mode that does not act change nothing."""
    results: list[Executed] = []
    expire(loop)
    may = loop.settings.mode.acts and not dry_run and not decisions.replayed
    if may:
        results += [_executed(loop, o) for o in _carry_out(loop, decisions)]
    done = {r.action_id for r in results}
    for decision in decisions.decisions:
        if decision.action_id not in done:
            action = loop.ledger.actions.get(decision.action_id)
            why = "dry run: nothing is changed" if dry_run else decision.rule
            results.append(_executed(loop, Outcome(action, why)))
    return ActionResults(
        analysis_id=decisions.analysis_id,
        target=loop.name,
        timestamp=loop.clock(),
        replayed=decisions.replayed,
        mode=loop.settings.mode,
        original_hypothesis_payload=_payload(loop, decisions.analysis_id),
        executed_actions=sum(r.action_status == "Executed" for r in results),
        queued_actions=sum(r.action_status == "QueuedForApproval" for r in results),
        failed_actions=sum(r.action_status == "Failed" for r in results),
        results=results,
    )


def _payload(loop: Loop, analysis_id: str) -> dict[str, Any]:
    """The hypotheses that were decided on, in short: the whole is their own message, of the same analysis."""
    thought = loop.ledger.messages.load(Hypotheses, analysis_id)
    if thought is None:
        return {}
    body, names = thought.body(), ("HypothesisId", "HypothesisType", "Priority", "Description")
    hypotheses = [{name: h[name] for name in names} for h in body["hypotheses"]]
    return {
        **{name: body[name] for name in ("analysisId", "hypothesesGenerated", "timestamp")},
        "hypotheses": hypotheses,
    }


def expire(loop: Loop) -> None:
    """End approvals and requests for one that nobody used in time."""
    for action in loop.ledger.actions.list(loop.name, states=(State.APPROVED, State.PENDING_APPROVAL)):
        if action.expires_at is not None and action.expires_at < loop.clock():
            why = "nobody used it in time"
            loop.ledger.actions.transition(action.action_id, State.EXPIRED, actor=POLICY, reason=why, audit="expired")


def _carry_out(loop: Loop, decisions: Decisions) -> list[Outcome]:
    """Apply what may be applied now; the rest stays approved and says why."""
    approved = loop.ledger.actions.list(loop.name, states=(State.APPROVED,))
    unfinished = loop.ledger.actions.list(loop.name, states=IN_FLIGHT)  # a cycle that broke off here left them
    if not approved and not unfinished:
        return []
    seen = standing(loop.target, loop.ledger, loop.clock())
    seen.barred = acting_bar(loop.target, loop.ledger)
    if unfinished and not seen.barred:
        try:
            recover(loop.target, loop.ledger, loop.settings, say=loop.say)
        except TargetError as error:  # nothing is built beside what is not settled
            return [Outcome(action, f"waits for recovery: {error}") for action in approved]
    ready, outcomes = _ready(loop, approved, decisions, seen)
    groups = _groups(ready)
    while groups:
        outcomes += _apply_set(loop, groups.pop(0))
        if groups and (barred := acting_bar(loop.target, loop.ledger)):  # the first set found it out
            outcomes += [_hold(loop, action, barred) for group in groups for action in group]
            break
    return outcomes


def _ready(
    loop: Loop, approved: Sequence[Action], decisions: Decisions, seen: Situation
) -> tuple[list[Action], list[Outcome]]:
    """Approved actions that may be applied now, and those that must wait with the reason.

    A person's approval holds until it expires; that of policy only in the cycle that gives or repeats it.
    """
    repeated = {d.action_id for d in decisions.decisions if d.state == State.APPROVED and not d.held}
    held = {d.action_id: Ruling(State.APPROVED, d.rule, d.remedy) for d in decisions.decisions if d.held}
    opened = open_changes(loop)
    ready: list[Action] = []
    waiting: list[Outcome] = []
    for action in sorted(approved, key=lambda a: (a.proposed_by == POLICY, -(a.priority or 5))):
        blocker = waits_for(action.touches, action.relation, opened)
        sets = {c.change_set_id for c in opened}
        room = loop.settings.acting.max_open_change_sets - len(sets)
        barred = bar(case_of_action(action), seen, loop.settings) or held.get(action.action_id)
        if barred is not None:
            waiting.append(_hold(loop, action, barred))
        elif action.decided_by == POLICY and action.action_id not in repeated:
            why = "waits: policy approved it in an earlier cycle, and this one did not find it again"
            waiting.append(Outcome(action, why))
        elif blocker is not None:
            why = f"waits: what it touches is being judged for action {blocker.action_id[:8]}"
            waiting.append(Outcome(action, why))
        elif len(_groups([*ready, action])) > room:
            waiting.append(Outcome(action, "waits: enough is being judged; the rest is the control group"))
        else:
            ready.append(_released(loop, action))
    return ready, waiting


def _hold(loop: Loop, action: Action, ruling: Ruling) -> Outcome:
    """Leave an action approved, with the rule that keeps it for people to read."""
    if (action.rule, action.remedy) != (ruling.rule, ruling.remedy):
        loop.ledger.actions.note(action.action_id, rule=ruling.rule, remedy=ruling.remedy)
    return Outcome(loop.ledger.actions.get(action.action_id), str(ruling))


def _released(loop: Loop, action: Action) -> Action:
    """What held an action is over: its rule is that of its approval again."""
    if not action.remedy:
        return action
    approver = action.decided_by or POLICY
    loop.ledger.actions.note(action.action_id, rule=f"approved by {approver}", remedy="")
    return loop.ledger.actions.get(action.action_id)


def _groups(actions: Sequence[Action]) -> list[list[Action]]:
    found = change_sets([(a.relation, frozenset(a.touches)) for a in actions])
    return [[actions[position] for position in group] for group in found]


def _apply_set(loop: Loop, actions: list[Action]) -> list[Outcome]:
    treated, bystanders = _reach(loop, actions)
    started = loop.clock()
    change_set = loop.ledger.verifications.begin(
        loop.name, [a.action_id for a in actions], treated=treated, bystanders=bystanders, now=started
    )
    outcomes = loop.executor(POLICY).apply([loop.ledger.actions.get(a.action_id) for a in actions])
    _await_standby(loop)
    now = loop.clock()
    if any(o.action.state in LIVE for o in outcomes):
        start_looks(loop.ledger, change_set, loop.settings.verifying, now)
    elif not any(o.action.state == State.APPLYING for o in outcomes):
        loop.ledger.verifications.update(change_set, acted_until=now, open=False, closed_at=now)
    return outcomes


def _await_standby(loop: Loop) -> None:
    """Where a standby is observed: its statements know of a change once it was replayed, and are judged from then."""
    try:
        waited_s = loop.target.catch_up(_REPLAY_S)
    except TargetError as error:
        loop.say(f"{error}; the change is judged from now on all the same")
    else:
        if waited_s is not None:
            loop.say(f"the observed standby has replayed the change ({waited_s:.1f} s)")


def _reach(loop: Loop, actions: Sequence[Action]) -> tuple[list[str], list[str]]:
    """Statements that the actions can change, and those beside them on the same tables, which serve as no control."""
    shapes = _shapes(loop)
    relations = {(a.spec["schema"], a.spec["table"]) for a in actions if "schema" in a.spec}
    nearby = set(readers_of(relations, shapes))
    treated = {f for a in actions for f in a.touches} or nearby
    return sorted(treated), sorted(nearby - treated)


def _shapes(loop: Loop) -> dict[str, Shape]:
    window = read_window(loop.ledger, loop.name, lookback_hours=loop.settings.advice.lookback_hours, until=loop.clock())
    with loop.target.observing("act") as session:
        readable, _ = shapes_of(window.workload().statements, session.catalogue())
    return {s.fingerprint: shape for s, shape in readable}


def _executed(loop: Loop, outcome: Outcome) -> Executed:
    action = outcome.action
    status = {
        State.PENDING_APPROVAL: "QueuedForApproval",
        State.FAILED: "Failed",
        State.APPLYING: "Failed",
        State.APPLIED: "Executed",
        State.VERIFYING: "Executed",
        State.KEPT: "Executed",
        State.PROPOSED: "Pending",
        State.APPROVED: "Pending",
    }.get(action.state, "Skipped")
    return Executed(
        hypothesis_id=action.hypothesis_id,
        hypothesis_type=action.action_type,
        action_status=status,  # type: ignore[arg-type]
        executed_actions=[scrubbed(s) for s in action.statements] if status == "Executed" else [],
        execution_time_ms=action.duration_ms or 0.0,
        error_message=action.error,
        action_id=action.action_id,
        state=action.state,
        description=action.description,
        undo=action.undo,
        lock_wait_ms=action.lock_wait_ms,
        journal_seq=loop.ledger.actions.history(action.action_id)[-1]["seq"],
        note=outcome.note,
    )
