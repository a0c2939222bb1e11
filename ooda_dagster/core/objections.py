"""What each rule of policy objects to: one function a rule, which returns a ruling or nothing.

What time or a person's setting may lift leaves an action proposed or pending; what stands denies it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ooda_dagster.core.change_sets import change_sets, waits_for
from ooda_dagster.core.change_types import is_statistics, makes_index
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypothesis
from ooda_dagster.core.patterns import denial, is_named, not_allowed
from ooda_dagster.core.settings import Mode, Settings, parse_budget
from ooda_dagster.core.situation import Case, Ruling, Situation
from ooda_dagster.core.windows import next_opening, open_until, parse_window
from ooda_dagster.core.wire import iso

APPROVE = "ooda approvals approve"
#: How many of the newest builds tell how long the next one takes, and how many times smaller they may be.
_BUILDS, _COMPARABLE = 10, 10

# ---------------------------------------------------------------- rules that stand


def protected(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    found = next((p for p in settings.acting.protected if is_named(case.relation, p)), None)
    return Ruling(State.DENIED, f"{case.relation} is protected by {found!r}", "acting.protected") if found else None


def denied(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    found = denial(settings.acting.deny, case)
    return Ruling(State.DENIED, f"denied by {str(found)!r}", "acting.deny") if found else None


def not_allowed_here(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    missed = not_allowed(settings.acting.allow, case)
    if not missed:
        return None
    what = {"schema": case.relation, "table": case.relation, "type": case.action_type}.get(
        missed[0].kind, "what it serves"
    )
    entries = ", ".join(repr(str(p)) for p in missed)
    return Ruling(State.DENIED, f"{what} is not among what is allowed: {entries}", "acting.allow")


def failed_before(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    tries = [(undone, "the same")] if (undone := situation.undone_at.get(case.identity)) else []
    alike = (g for g in situation.undone_groups if g.is_tried_by(case))
    tries += [(g.at, f"the same try, statistics on {', '.join(sorted(g.group))},") for g in alike]
    if not tries:
        return None
    at, what = max(tries)  # of one moment, "the same"
    until = at + timedelta(hours=settings.acting.failure_memory_h)
    if situation.now >= until:
        return None
    why = f"{what} failed, was undone or rejected at {iso(at)}"
    return Ruling(State.DENIED, why, f"it is tried again after {iso(until)} (acting.failure_memory_h)")


def stuck(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    if case.relation not in situation.stuck:
        return None
    remedy = "`ooda recover`, then `ooda actions rollback` the action that is stuck"
    return Ruling(State.DENIED, f"an undo on {case.relation} failed", remedy)


def too_many_indexes(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    planned = sum(h.relation == case.relation and makes_index(h.hypothesis_type) for h in situation.allowed_now)
    indexes = situation.indexes_of.get(case.relation, 0) + planned
    if not makes_index(case.action_type) or indexes < settings.acting.max_indexes_per_table:
        return None
    return Ruling(State.DENIED, f"{case.relation} has {indexes} indexes already", "acting.max_indexes_per_table")


# ---------------------------------------------------------------- modes and switches


def mode_does_not_act(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    if settings.mode.acts:
        return None
    remedy = "set mode = 'approve' or 'auto' in ooda.toml"
    return Ruling(State.PROPOSED, f"mode {settings.mode}: nothing is changed", remedy)


def off(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    if settings.acting.enabled:
        return None
    return Ruling(State.PROPOSED, "switched off: no new action", "set acting.enabled = true in ooda.toml")


def paused(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    return Ruling(State.PROPOSED, "paused: no new action", "ooda resume") if situation.paused else None


def dangerous(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    if not case.dangerous:
        return None
    return Ruling(State.PENDING_APPROVAL, "dangerous: a person must approve it", APPROVE)


def by_hand(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    if settings.mode != Mode.APPROVE:
        return None
    return Ruling(State.PENDING_APPROVAL, "mode approve: a person must approve it", APPROVE)


def below_threshold(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    threshold = settings.acting.approve_threshold
    if case.priority >= threshold:
        return None
    why = f"priority {case.priority} is below the threshold of {threshold}"
    return Ruling(State.PENDING_APPROVAL, why, f"{APPROVE}, or acting.approve_threshold")


def warming_up(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    if situation.warm_h >= settings.acting.warm_up_h:
        return None
    why = f"warming up: {situation.warm_h:.1f} of {settings.acting.warm_up_h:g} h of samples"
    return Ruling(State.PROPOSED, why, "it acts by itself once warm (acting.warm_up_h)")


def type_failed(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    most, memory = settings.acting.max_type_failures, timedelta(hours=settings.acting.type_memory_h)
    recent = recent_failures(case.action_type, situation, settings)
    if len(recent) < most:
        return None
    hours = settings.acting.type_memory_h
    why = f"{len(recent)} actions of type {case.action_type} failed or did harm within {hours:g} h"
    again = f"policy approves it again after {iso(recent[most - 1] + memory)}"
    return Ruling(State.PROPOSED, why, f"{again} (acting.max_type_failures, acting.type_memory_h); {APPROVE}")


# ---------------------------------------------------------------- time and room


def outside_windows(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    windows = [parse_window(text) for text in settings.acting.windows]
    if not windows:
        return None
    opening = next_opening(windows, situation.now)
    then = f"the next one opens at {iso(opening)}" if opening else "none opens within a fortnight"
    until = open_until(windows, situation.now)
    if until is None:
        return Ruling(State.PROPOSED, "outside the maintenance windows", f"{then} (acting.windows)")
    seconds = likely_seconds(case, situation)
    if seconds is None or situation.now + timedelta(seconds=seconds) <= until:
        return None
    why = f"it would likely take {seconds / 60:.0f} min, and the maintenance window closes at {iso(until)}"
    return Ruling(State.PROPOSED, why, f"{then}; or a longer window (acting.windows)")


def likely_seconds(case: Case, situation: Situation) -> float | None:
    """How long an action would take by the slowest of the newest of its type that were not much smaller, per byte.

    None where there is none: what is fixed of a small build's time tells nothing about a big one.
    """
    newest = situation.builds.get(case.action_type, ())[:_BUILDS]
    rates = [seconds / size for size, seconds in newest if size and size * _COMPARABLE >= case.bytes]
    return case.bytes * max(rates) if rates and case.bytes else None


def being_judged(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    blocker = waits_for(case.touches, case.relation, situation.open_changes)
    if blocker is None:
        return None
    why = f"statements that it touches are being judged for action {blocker.action_id[:8]}"
    return Ruling(State.PROPOSED, why, "it is taken up when that verdict closes")


def too_many_sets(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    count = len({c.change_set_id for c in situation.open_changes})
    count += len(change_sets([(h.relation, frozenset(h.touches)) for h in situation.allowed_now]))
    if any(_together(case, other) for other in situation.allowed_now):
        return None
    most = settings.acting.max_open_change_sets
    remedy = "it is taken up when a verdict closes (acting.max_open_change_sets)"
    if count >= most:
        why = f"{count} change sets are being judged; the others are their control group"
        return Ruling(State.PROPOSED, why, remedy)
    if is_statistics(case.action_type) and 0 < _sets_of_statistics(situation) >= most - 1:
        why = "as many change sets of statistics are being judged as may be: one place is kept for other changes"
        return Ruling(State.PROPOSED, why, remedy)
    return None


def _sets_of_statistics(situation: Situation) -> int:
    """Tables that are always busy are always stale: their ANALYZEs alone would leave no room for anything else."""
    opened = {c.change_set_id for c in situation.open_changes}
    opened -= {c.change_set_id for c in situation.open_changes if not is_statistics(c.action_type)}
    allowed = change_sets([(h.relation, frozenset(h.touches)) for h in situation.allowed_now])
    types = [h.hypothesis_type for h in situation.allowed_now]
    return len(opened) + sum(all(is_statistics(types[position]) for position in found) for found in allowed)


def _together(case: Case, other: Hypothesis) -> bool:
    return case.relation == other.relation or bool(set(case.touches) & set(other.touches))


def too_many_in_cycle(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    most = settings.acting.max_actions_per_cycle
    if len(situation.allowed_now) < most:
        return None
    remedy = "it is taken up in the next cycle (acting.max_actions_per_cycle)"
    return Ruling(State.PROPOSED, f"{most} actions in this cycle already", remedy)


def too_many_in_hour(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    most = settings.acting.max_actions_per_hour
    if situation.acted_this_hour + len(situation.allowed_now) < most:
        return None
    return Ruling(State.PROPOSED, f"{most} actions in an hour already", "acting.max_actions_per_hour")


def too_many_in_day(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    most = settings.acting.max_actions_per_day
    if situation.acted_today + len(situation.allowed_now) < most:
        return None
    return Ruling(State.PROPOSED, f"{most} actions in 24 h already", "acting.max_actions_per_day")


def beyond_table_budget(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    text = settings.acting.table_index_budget
    heap = situation.heap_bytes_of.get(case.relation)
    unknown = heap is None and "%" in text  # a past day: nobody noted the table's size
    if unknown or not makes_index(case.action_type):
        return None
    planned = sum(h.bytes for h in situation.allowed_now if h.relation == case.relation) + case.bytes
    planned += situation.own_index_bytes_of.get(case.relation, 0)
    budget = parse_budget(text, heap or 0)
    if planned <= budget:
        return None
    why = f"index budget of {case.relation}: {planned >> 20} MB would be ours, {text} is {budget >> 20} MB"
    return Ruling(State.PROPOSED, why, "acting.table_index_budget, or drop an index of ours")


def beyond_budget(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    text = settings.advice.index_budget
    budget = parse_budget(text, situation.heap_bytes)
    planned = situation.own_index_bytes + sum(h.bytes for h in situation.allowed_now) + case.bytes
    if planned <= budget or not makes_index(case.action_type):
        return None
    why = f"index budget: {planned >> 20} MB would be ours, {text} is {budget >> 20} MB"
    return Ruling(State.PROPOSED, why, "advice.index_budget, or drop an index of ours")


def barred(case: Case, situation: Situation, settings: Settings) -> Ruling | None:
    return situation.barred


def recent_failures(action_type: str, situation: Situation, settings: Settings) -> list[datetime]:
    """When actions of a type failed or did harm within the memory, newest first."""
    memory = timedelta(hours=settings.acting.type_memory_h)
    failures = situation.failures.get(action_type, ())
    return sorted((at for at in failures if situation.now - at < memory), reverse=True)
