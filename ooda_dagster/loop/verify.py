"""Verify: look at what is due; keep what helped, undo what hurt, say where nothing is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ooda_dagster.actions.permits import acting_bar
from ooda_dagster.actions.registry import TYPES
from ooda_dagster.collect.sampler import sample
from ooda_dagster.core.change_types import changes_statements
from ooda_dagster.core.journal import LIVE, State
from ooda_dagster.core.keeping import without_gain
from ooda_dagster.core.question import Kept
from ooda_dagster.core.verdict import Outcome, Verdict, classify
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.verifications import Verification
from ooda_dagster.loop.comparison import compare
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.evidence_files import export_due
from ooda_dagster.loop.improvement import record_improvement
from ooda_dagster.loop.losers import proven_losers
from ooda_dagster.loop.situation import POLICY
from ooda_dagster.targets.base import TargetError

_NOTHING_TO_JUDGE = Verdict(Outcome.INCONCLUSIVE, None, None, "it changes no statement: there is nothing to judge")


def due_looks(loop: Loop) -> list[Verification]:
    """Change sets that are to be looked at now."""
    now = loop.clock()
    return [v for v in loop.ledger.verifications.open(loop.name) if v.next_look_at and v.next_look_at <= now]


def verify(loop: Loop, *, at_once: bool = False) -> list[Action]:
    """Look at what is due (`at_once`: at everything open); returns the actions whose judgement ended."""
    opened = loop.ledger.verifications.open(loop.name) if at_once else due_looks(loop)
    opened = [v for v in opened if v.acted_until is not None]
    ended: list[Action] = []
    if opened:
        sample(loop.target, loop.ledger, loop.settings.sampling)
    for verification in opened:
        ended += _look(loop, verification)
    export_due(loop)
    return ended


def _look(loop: Loop, verification: Verification) -> list[Action]:
    now, policy = loop.clock(), loop.settings.verifying
    actions = _judged_actions(loop, verification)
    unjudged = [a for a in actions if a.state == State.VERIFYING and not changes_statements(a.action_type)]
    done = [_end(loop, a, State.KEPT, _NOTHING_TO_JUDGE, now) for a in unjudged]
    actions = [a for a in actions if a not in unjudged]
    if not actions:  # undone by hand meanwhile, nothing is to be judged, or the last look broke off here
        _close_judged(loop, verification, now)
        return done
    verification = since_undos(loop, verification)
    compared = compare(loop, verification, now)
    # What probably hurts goes at once; what cannot be undone waits for proof.
    question = compared.question(looser=any(a.undo_kind != "none" for a in actions))
    result = question.answer()
    served = _served_calls(loop, verification, actions, now)
    deadline = _deadline(verification, result, served, loop)
    late = now >= deadline
    final = result.outcome in (Outcome.BETTER, Outcome.WORSE) or late
    again: dict[str, Any] = {}
    kept = Kept.of(replace(question, deadline_at=deadline)) if final else None
    if kept is not None:
        result.evidence["judged_sha256"] = kept.digest
    if final and result.outcome != Outcome.WORSE and (losers := proven_losers(compared)):
        result.evidence["losers"] = losers
    if not final:
        next_look = min(now + timedelta(seconds=policy.look_every_s), max(deadline, now + timedelta(seconds=1)))
        again = {"next_look_at": next_look, "deadline_at": deadline}
    loop.ledger.verifications.record(
        verification.change_set_id, loop.name, verification.looks + 1, now, result, final=final, kept=kept, **again
    )
    if not final:
        return done
    return done + _conclude(loop, verification, actions, result, served, now)


def since_undos(loop: Loop, verification: Verification) -> Verification:
    """What is left of a change set is judged from when the others were undone: by hand, or by a look that broke off."""
    others = loop.ledger.actions.list(loop.name, change_set_id=verification.change_set_id, states=(State.REVERTED,))
    assert verification.acted_until is not None
    undone = [a.reverted_at for a in others if a.reverted_at is not None]
    return replace(verification, acted_until=max([verification.acted_until, *undone]))


def _served_calls(loop: Loop, verification: Verification, actions: Sequence[Action], now: datetime) -> dict[str, int]:
    """action_id → calls, since it was done, of the statements that it was made for; only where these are known.

    The statements that a change set reached are more: writers of the table are among them, and use no index of it.
    """
    served = {a.action_id: set(a.predicted.get("serves") or ()) for a in actions}
    every = set().union(*served.values())
    if not every or verification.acted_until is None:
        return {}
    frame = loop.ledger.rollups.frame(loop.name, verification.acted_until, now, fingerprints=every, columns=("n",))
    calls = frame.groupby("fingerprint", observed=True)["n"].sum()
    return {i: int(calls[calls.index.isin(which)].sum()) for i, which in served.items() if which}


def _deadline(verification: Verification, result: Verdict, served: Mapping[str, int], loop: Loop) -> datetime:
    """The policy's, or the longer one where too few calls came in to tell anything."""
    policy, now = loop.settings.verifying, loop.clock()
    assert verification.acted_until is not None
    passed_min = max((now - verification.acted_until).total_seconds() / 60, 1e-9)
    fewest = min([result.n.get("calls_after", 0), *served.values()])
    too_few = result.ratio is None or any(calls < policy.min_calls for calls in served.values())
    low_traffic = too_few and fewest / passed_min < policy.low_traffic_calls_per_minute
    seconds = policy.low_traffic_deadline_s if low_traffic else policy.deadline_s
    return verification.acted_until + timedelta(seconds=seconds)


def _judged_actions(loop: Loop, verification: Verification) -> list[Action]:
    return loop.ledger.actions.list(
        loop.name, change_set_id=verification.change_set_id, states=(State.VERIFYING, State.APPLIED)
    )


def _conclude(
    loop: Loop,
    verification: Verification,
    actions: Sequence[Action],
    result: Verdict,
    served: Mapping[str, int],
    now: datetime,
) -> list[Action]:
    """Carry a final verdict out."""
    worse = result.outcome == Outcome.WORSE or (
        # Nothing ran beside it to compare with: an undo is the cheap mistake.
        result.outcome == Outcome.UNATTRIBUTED and result.ratio is not None and result.ratio > 1
    )
    usage = usage_of(loop, actions)
    result.evidence["use"] = {i: {**found, "calls_served": served.get(i)} for i, found in usage.items()}
    undoable = [a for a in actions if a.undo_kind != "none"]
    if worse and undoable:
        return undo_worst(loop, verification, undoable, result, usage, now, alone=len(actions) == 1)
    ended: list[Action] = []
    for action in actions:
        used = usage.get(action.action_id, {})
        if action in undoable and (reason := _pointless(loop, action, result, used, served)):
            ended += undo_judged(loop, action, result, reason)
        else:
            stays = result.outcome != Outcome.INCONCLUSIVE  # also where it got worse, and there is no undo
            state = State.KEPT if stays else State.INCONCLUSIVE
            why = "" if stays or action not in undoable else f"kept: {_without_gain(loop, action, used)[1]}"
            ended.append(_end(loop, action, state, result, now, why=why))
    if len(ended) < len(actions):
        look_again(loop, verification)
    else:
        _close_judged(loop, verification, now)
    return ended


def _pointless(loop: Loop, action: Action, result: Verdict, used: dict[str, Any], served: Mapping[str, int]) -> str:
    """Why an action goes although nothing got worse; nothing where it stays."""
    calls = served.get(action.action_id, 0)
    if used.get("scans") == 0 and calls >= loop.settings.verifying.min_calls:
        return f"never used in {calls} calls of the statements that it was made for"
    if result.outcome == Outcome.INCONCLUSIVE:
        goes, why = _without_gain(loop, action, used)
        return f"no gain shown: {result.reason}; {why}" if goes else ""
    return ""


def _without_gain(loop: Loop, action: Action, used: Mapping[str, Any]) -> tuple[bool, str]:
    return without_gain(action.predicted, used, loop.settings.acting)


def usage_of(loop: Loop, actions: Sequence[Action]) -> dict[str, dict[str, Any]]:
    try:
        with loop.target.observing("verify") as session:
            return {a.action_id: TYPES[a.action_type].usage(a, session) for a in actions}
    except TargetError:
        return {}


def undo_worst(
    loop: Loop,
    verification: Verification,
    actions: Sequence[Action],
    result: Verdict,
    usage: dict[str, dict[str, Any]],
    now: datetime,
    *,
    alone: bool,
) -> list[Action]:
    """Undo the action that is used least and costs writers most; what is left is judged anew.

    Where use is not counted, as of statistics: after an index that is not used, before one that is.
    """
    worst = min(
        actions,
        key=lambda a: (usage.get(a.action_id, {}).get("scans", 0.5), -float(a.predicted.get("write_ms_per_hour") or 0)),
    )
    assert result.ratio is not None
    proven = result.interval is not None and result.interval[0] > 1
    how = "" if proven else "probably "
    ended = undo_judged(loop, worst, result, f"work per call {how}rose by {result.ratio - 1:.0%}")
    if not ended:
        look_again(loop, verification)
    elif alone:
        close_set(loop, verification, now)
    else:
        deadline = loop.clock() + timedelta(seconds=loop.settings.verifying.deadline_s)
        look_again(loop, verification, deadline_at=deadline)  # from now on: see since_undos
    return ended


def undo_judged(loop: Loop, action: Action, result: Verdict, reason: str) -> list[Action]:
    """The action as it was undone; nothing where it cannot be now: the next look tries again."""
    columns = _columns(loop, result)
    if action.closed_at is None:  # a verdict that stands is not another one before the undo begins
        loop.ledger.actions.note(action.action_id, **columns)
    else:
        columns["learned_in"] = None  # its end is news to the next learning
    if not loop.settings.mode.acts:
        loop.say(f"not undone in mode {loop.settings.mode}: {action.description} ({reason}); `ooda actions rollback`")
        return []
    if barred := acting_bar(loop.target, loop.ledger):
        loop.ledger.actions.note(action.action_id, rule=f"its undo waits: {barred.rule}", remedy=barred.remedy)
        loop.say(f"not undone now: {action.description}: {barred}")
        return []
    told = {"n": result.n, "evidence": result.evidence}
    action = loop.ledger.actions.get(action.action_id)
    outcome = loop.executor(POLICY).undo(action, reason=reason, told=told, columns=columns)
    if outcome.action.state in LIVE:
        loop.say(f"not undone now: {action.description}: {outcome.note}")
        return []
    record_improvement(loop, outcome.action)
    return [outcome.action]


def look_again(loop: Loop, verification: Verification, *, in_s: float | None = None, **columns: Any) -> None:
    """Leave a change set as it is, to be looked at one step later, or after so many seconds."""
    later = loop.clock() + timedelta(seconds=in_s or loop.settings.verifying.look_every_s)
    loop.ledger.verifications.update(verification.change_set_id, next_look_at=later, **columns)


def _end(loop: Loop, action: Action, state: State, result: Verdict, now: datetime, *, why: str = "") -> Action:
    """End a judgement. why: what policy adds to the verdict."""
    lost = result.evidence.get("losers") or ()
    words = [f"{len(lost)} of its statements pay for it: they are mended first"] if lost else []
    reason = "; ".join(filter(None, [result.reason, *words, why]))
    columns = _columns(loop, result) | {"verdict_reason": reason}
    detail = {"n": result.n, "evidence": result.evidence}
    ended = loop.ledger.actions.transition(
        action.action_id, state, actor=POLICY, reason=reason, detail=detail, closed_at=now, **columns
    )
    record_improvement(loop, ended)
    return ended


def _columns(loop: Loop, result: Verdict) -> dict[str, Any]:
    low, high = result.interval or (None, None)
    return {
        "outcome": result.outcome,
        "outcome_class": classify(result, loop.settings.verifying),
        "ratio": result.ratio,
        "ratio_low": low,
        "ratio_high": high,
        "verdict_reason": result.reason,
    }


def close_set(loop: Loop, verification: Verification, now: datetime, *, look_at: datetime | None = None) -> None:
    """End the judgement of a change set. look_at: when its gain is looked at once more (loop/second_look.py)."""
    loop.ledger.verifications.update(verification.change_set_id, open=False, closed_at=now, next_look_at=look_at)


def _close_judged(loop: Loop, verification: Verification, now: datetime) -> None:
    kept = loop.ledger.actions.list(loop.name, change_set_id=verification.change_set_id, states=(State.KEPT,))
    better = any(a.outcome == Outcome.BETTER for a in kept)
    close_set(loop, verification, now, look_at=looked_at_again(loop, verification, now, now) if better else None)


def looked_at_again(loop: Loop, verification: Verification, closed_at: datetime, now: datetime) -> datetime | None:
    """When a kept change set is looked at next: at its deadline for who lost by it, then for whether its gain lasts.

    A verdict that is clear early may come before it is clear of a single statement.
    """
    policy = loop.settings.verifying
    assert verification.acted_until is not None
    deadline = verification.acted_until + timedelta(seconds=policy.deadline_s)
    if len(verification.treated) > 1 and now < deadline:
        return deadline
    return closed_at + timedelta(hours=policy.second_look_h) if policy.second_look_h else None
