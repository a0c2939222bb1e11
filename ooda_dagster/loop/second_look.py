"""Later looks at what was kept: did a single statement lose by it, and did its gain go away?

*Losers*: a verdict that is clear early may come before it is clear of a single statement, so at the deadline each is
judged by itself (loop/losers.py).

*Gain*: a set time after a verdict of "better" closed, the newest blocks - as many as a verdict may take - are judged
against the baseline from before the action; the time between counts for neither side. Still better, or unclear: it
stays, and is not looked at again. Worse: undone, at once and by the looser bar, as any change that hurts. Gone: undone
where no plan uses it any more; where plans do, taking it from them would likely make them slower, so policy says, as of
a change that showed no gain (core/keeping.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ooda_dagster.actions.permits import acting_bar
from ooda_dagster.collect.sampler import sample
from ooda_dagster.core.change_types import changes_statements
from ooda_dagster.core.journal import State
from ooda_dagster.core.keeping import without_gain
from ooda_dagster.core.question import Kept
from ooda_dagster.core.second_look import Later, later
from ooda_dagster.core.verdict import Outcome, Verdict
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.verifications import Verification
from ooda_dagster.loop.comparison import compare
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.evidence_files import export_due
from ooda_dagster.loop.losers import proven_losers
from ooda_dagster.loop.verify import (
    close_set,
    look_again,
    looked_at_again,
    since_undos,
    undo_judged,
    undo_worst,
    usage_of,
)

EVENT = "second look"


def due_second_looks(loop: Loop) -> list[Verification]:
    """Kept change sets that are to be looked at again now."""
    now = loop.clock()
    return [v for v in loop.ledger.verifications.watched(loop.name) if v.next_look_at and v.next_look_at <= now]


def look_twice(loop: Loop) -> list[Action]:
    """Take the later looks that are due; returns the actions that were undone."""
    if not (due := due_second_looks(loop)):
        return []
    sample(loop.target, loop.ledger, loop.settings.sampling)
    ended = [action for verification in due for action in _look(loop, verification)]
    export_due(loop)
    return ended


def _look(loop: Loop, verification: Verification) -> list[Action]:
    now = loop.clock()
    standing = loop.ledger.actions.list(loop.name, change_set_id=verification.change_set_id, states=(State.KEPT,))
    kept = [a for a in standing if changes_statements(a.action_type)]
    looks = loop.ledger.verifications.looks(verification.change_set_id)
    claims = [x["ratio"] for x in looks if x["final"] and x["outcome"] == Outcome.BETTER and not _second(x)]
    assert verification.closed_at is not None
    assert verification.acted_until is not None
    if not kept or not claims:  # undone by hand meanwhile
        _over(loop, verification)
        return []
    if other := _changed_by(loop, verification):
        _tell(loop, kept, Later.UNCLEAR, f"its statements were changed again by change set {other[:8]}")
        _over(loop, verification)
        return []
    verification, closed_at = since_undos(loop, verification), verification.closed_at
    hours = loop.settings.verifying.second_look_h
    if not hours or now < closed_at + timedelta(hours=hours):
        _look_for_losers(loop, verification, kept, now)
        return []
    newest = now - timedelta(seconds=loop.settings.verifying.deadline_s)
    seen = replace(verification, acted_until=max(newest, verification.acted_until or newest))
    compared = compare(loop, seen, now)
    question = compared.question(looser=True)
    result = question.answer()
    found = later(claims[-1], result)
    if found == Later.UNSEEN and now < closed_at + timedelta(hours=2 * hours):
        look_again(loop, verification, in_s=loop.settings.verifying.deadline_s)
        return []
    news = _second(looks[-1]) != found  # else it is known, its undo could not be then, and is tried again
    result.evidence["second_look"] = str(found)
    kept_question = Kept.of(replace(question, deadline_at=now))  # it closes with this look
    result.evidence["judged_sha256"] = kept_question.digest
    if found in (Later.STILL_BETTER, Later.UNCLEAR):
        result.evidence["losers"] = proven_losers(compared)
    loop.ledger.verifications.record(
        verification.change_set_id, loop.name, verification.looks + 1, now, result, final=True, kept=kept_question
    )
    seen = replace(verification, looks=verification.looks + 1)
    undoable = [a for a in kept if a.undo_kind != "none"]
    if found == Later.WORSE and undoable:
        if news:
            _tell(loop, kept, found, result.reason)
        ended = undo_worst(loop, seen, undoable, result, usage_of(loop, kept), now, alone=True)
        if not ended:
            _try_again(loop, seen)
        elif len(kept) > 1:  # what is left is looked at anew after as long
            close_set(loop, seen, now, look_at=now + timedelta(hours=hours))
    elif found == Later.GONE:
        ended = _reconsider(loop, seen, kept, result, news=news)
    else:
        _tell(loop, kept, found, _words(result))
        _over(loop, seen)
        return []
    return ended


def _look_for_losers(loop: Loop, verification: Verification, kept: list[Action], now: datetime) -> None:
    """Note whose work per call rose since; the gain itself is looked at later."""
    compared = compare(loop, verification, now)
    result, losers = compared.verdict(), proven_losers(compared)
    result.evidence.update(second_look="losers", losers=losers)
    assert verification.closed_at is not None
    loop.ledger.verifications.record(
        verification.change_set_id,
        loop.name,
        verification.looks + 1,
        now,
        result,
        final=True,
        next_look_at=looked_at_again(loop, verification, verification.closed_at, now),
    )
    if losers:
        _tell(loop, kept, "losers", f"{len(losers)} of its statements pay for it: they are mended first")


def _second(look: Mapping[str, Any]) -> str | None:
    """What a look said as a second one; None of the looks of a verdict."""
    return look["evidence"].get("second_look")


def _reconsider(
    loop: Loop, verification: Verification, kept: list[Action], result: Verdict, *, news: bool
) -> list[Action]:
    """What becomes of actions whose gain is gone."""
    usage = usage_of(loop, kept)
    ended, left = [], 0
    for action in kept:
        used = usage.get(action.action_id, {})
        goes, why = _without_use(loop, action, used) or without_gain(action.predicted, used, loop.settings.acting)
        goes = goes and action.undo_kind != "none"
        words = f"the gain went away ({_words(result)}); {why}"
        if news:
            _tell(loop, [action], Later.GONE, words if goes else f"{words}; kept")
        if goes:
            undone = undo_judged(loop, action, result, words)
            ended += undone
            left += not undone
    if left:
        _try_again(loop, verification)
    elif ended:
        close_set(loop, verification, loop.clock())  # its statements changed just now
    else:
        _over(loop, verification)
    return ended


def _try_again(loop: Loop, verification: Verification) -> None:
    """An undo that could not be done: soon, or, where nothing may be undone now, when there is more to look at."""
    barred = not loop.settings.mode.acts or acting_bar(loop.target, loop.ledger)
    look_again(loop, verification, in_s=loop.settings.verifying.deadline_s if barred else None)


def _without_use(loop: Loop, action: Action, used: Mapping[str, Any]) -> tuple[bool, str] | None:
    """That no plan used the object since its verdict, where use is counted."""
    ends = [row for row in loop.ledger.actions.history(action.action_id) if row["to_state"] == State.KEPT]
    use = ends[-1]["detail"].get("evidence", {}).get("use", {}) if ends else {}
    before = use.get(action.action_id, {}).get("scans")
    scans = used.get("scans")
    if before is None or scans is None or scans > before:
        return None
    return True, "no plan used it since it was kept"


def _changed_by(loop: Loop, verification: Verification) -> str | None:
    """Another change set of which something was done or undone since, to some of the same statements."""
    since = verification.acted_until
    assert since is not None
    done = {
        a.change_set_id
        for a in loop.ledger.actions.list(loop.name, since=since)
        if a.change_set_id and any(at and at > since for at in (a.applied_at, a.reverted_at))
    }
    mine = set(verification.treated)
    for other in loop.ledger.verifications.of(done - {verification.change_set_id}):
        if mine & set(other.treated):
            return other.change_set_id
    return None


def _words(result: Verdict) -> str:
    if result.interval is None or result.ratio is None:
        return result.reason
    low, high = (100 * (bound - 1) for bound in result.interval)
    return f"work per call {100 * (result.ratio - 1):+.0f} %, {low:+.0f} to {high:+.0f}, against before the action"


def _tell(loop: Loop, actions: list[Action], found: str, why: str) -> None:
    for action in actions:
        loop.say(f"second look: {found}: {action.description}: {why}")
        loop.ledger.audit(EVENT, target=loop.name, action_id=action.action_id, found=str(found), why=why)
        told = f"{action.verdict_reason or ''}; second look: {found}, {why}".lstrip("; ")
        loop.ledger.actions.note(action.action_id, verdict_reason=told)


def _over(loop: Loop, verification: Verification) -> None:
    """No further look. When it closed stays as it was."""
    assert verification.closed_at is not None
    close_set(loop, verification, verification.closed_at)
