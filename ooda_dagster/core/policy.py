"""What may act? One ruling for each hypothesis: the state it gets, the rule that spoke, and what would change its mind.

Rules that time or a person's setting may lift leave the action proposed or pending; rules that stand deny it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from ooda_dagster.core.identifiers import parts
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypothesis, HypothesisType, iso
from ooda_dagster.core.settings import Mode, Settings, parse_budget


@dataclass(frozen=True)
class Ruling:
    """State that an action gets, by which rule, and the remedy where it is not allowed."""

    state: State
    rule: str
    remedy: str = ""

    @property
    def allowed(self) -> bool:
        return self.state == State.APPROVED


@dataclass(frozen=True)
class OpenChange:
    """An action that is being judged: what it touches must be left alone."""

    action_id: str
    change_set_id: str
    touches: frozenset[str]
    relation: str


@dataclass
class Situation:
    """What policy looks at beside the hypothesis. Times are aware; bytes are of the target."""

    now: datetime
    warm_h: float  # hours of rollups
    paused: bool = False
    open_changes: Collection[OpenChange] = ()
    acted_today: int = 0
    heap_bytes: int = 0
    own_index_bytes: int = 0
    indexes_of: Mapping[str, int] = field(default_factory=dict)  # relation → number of its indexes
    undone_at: Mapping[str, datetime] = field(default_factory=dict)  # identity → when it failed, was undone or rejected
    stuck: Collection[str] = ()  # relations with an undo that failed
    allowed_now: list[Hypothesis] = field(default_factory=list)  # in this cycle, so far


def rule(hypothesis: Hypothesis, situation: Situation, settings: Settings) -> Ruling:
    """Rule on one hypothesis. Hypotheses are to be presented by falling priority."""
    for check in (_denied, _by_mode, _waits):
        ruling = check(hypothesis, situation, settings)
        if ruling is not None:
            return ruling
    return Ruling(State.APPROVED, f"mode auto, priority {hypothesis.priority}, not dangerous, within all budgets")


def _denied(hypothesis: Hypothesis, situation: Situation, settings: Settings) -> Ruling | None:
    """Rules that stand until a person changes a setting or time passes."""
    acting = settings.acting
    for pattern in acting.protected:
        if _protects(pattern, hypothesis.relation):
            return Ruling(State.DENIED, f"{hypothesis.relation} is protected by {pattern!r}", "acting.protected")
    undone = situation.undone_at.get(hypothesis.identity)
    if undone is not None:
        until = undone + timedelta(hours=acting.failure_memory_h)
        if situation.now < until:
            return Ruling(
                State.DENIED,
                f"the same failed, was undone or rejected at {iso(undone)}",
                f"it is tried again after {iso(until)} (acting.failure_memory_h)",
            )
    if hypothesis.relation in situation.stuck:
        why = f"an undo on {hypothesis.relation} failed"
        return Ruling(State.DENIED, why, "`ooda recover`, then `ooda actions rollback` the action that is stuck")
    allowed = [h for h in situation.allowed_now if h.relation == hypothesis.relation and _is_index(h)]
    indexes = situation.indexes_of.get(hypothesis.relation, 0) + len(allowed)
    if _is_index(hypothesis) and indexes >= acting.max_indexes_per_table:
        why = f"{hypothesis.relation} has {indexes} indexes already"
        return Ruling(State.DENIED, why, "acting.max_indexes_per_table")
    return None


def _is_index(hypothesis: Hypothesis) -> bool:
    return hypothesis.hypothesis_type == HypothesisType.INDEX


def _protects(pattern: str, relation: str) -> bool:
    """Whether a pattern names a relation, quoted as in SQL or not; without a dot, a table of any schema."""
    names = parts(relation)
    known = [relation, ".".join(names), *(names[-1:] if "." not in pattern else ())]
    return any(fnmatchcase(name, pattern) for name in known)


def _by_mode(hypothesis: Hypothesis, situation: Situation, settings: Settings) -> Ruling | None:
    mode, threshold = settings.mode, settings.acting.approve_threshold
    if not mode.acts:
        return Ruling(State.PROPOSED, f"mode {mode}: nothing is changed", "set mode = 'approve' or 'auto' in ooda.toml")
    if situation.paused:
        return Ruling(State.PROPOSED, "paused: no new action", "ooda resume")
    if hypothesis.dangerous:
        return Ruling(State.PENDING_APPROVAL, "dangerous: a person must approve it", "ooda approvals approve")
    if mode == Mode.APPROVE:
        return Ruling(State.PENDING_APPROVAL, "mode approve: a person must approve it", "ooda approvals approve")
    if hypothesis.priority < threshold:
        why = f"priority {hypothesis.priority} is below the threshold of {threshold}"
        return Ruling(State.PENDING_APPROVAL, why, "ooda approvals approve, or acting.approve_threshold")
    if situation.warm_h < settings.acting.warm_up_h:
        why = f"warming up: {situation.warm_h:.1f} of {settings.acting.warm_up_h:g} h of samples"
        return Ruling(State.PROPOSED, why, "it acts by itself once warm (acting.warm_up_h)")
    return None


def _waits(hypothesis: Hypothesis, situation: Situation, settings: Settings) -> Ruling | None:
    """Rules of room: what is allowed in itself, but not now."""
    acting = settings.acting
    if blocker := waits_for(hypothesis.touches, hypothesis.relation, situation.open_changes):
        why = f"statements that it touches are being judged for action {blocker.action_id[:8]}"
        return Ruling(State.PROPOSED, why, "it is taken up when that verdict closes")
    sets = {c.change_set_id for c in situation.open_changes}
    new_sets = _sets(situation.allowed_now)
    joins = any(_together(hypothesis, other) for other in situation.allowed_now)
    if not joins and len(sets) + new_sets >= acting.max_open_change_sets:
        why = f"{len(sets) + new_sets} change sets are being judged; the others are their control group"
        return Ruling(State.PROPOSED, why, "it is taken up when a verdict closes (acting.max_open_change_sets)")
    if len(situation.allowed_now) >= acting.max_actions_per_cycle:
        why = f"{acting.max_actions_per_cycle} actions in this cycle already"
        return Ruling(State.PROPOSED, why, "it is taken up in the next cycle (acting.max_actions_per_cycle)")
    if situation.acted_today + len(situation.allowed_now) >= acting.max_actions_per_day:
        why = f"{acting.max_actions_per_day} actions in 24 h already"
        return Ruling(State.PROPOSED, why, "acting.max_actions_per_day")
    budget = parse_budget(settings.advice.index_budget, situation.heap_bytes)
    planned = situation.own_index_bytes + sum(h.bytes for h in situation.allowed_now) + hypothesis.bytes
    if _is_index(hypothesis) and planned > budget:
        why = f"index budget: {planned >> 20} MB would be ours, {settings.advice.index_budget} is {budget >> 20} MB"
        return Ruling(State.PROPOSED, why, "advice.index_budget, or drop an index of ours")
    return None


def waits_for(touches: Collection[str], relation: str, open_changes: Collection[OpenChange]) -> OpenChange | None:
    """An open change on the same relation or the same statements."""
    wanted = set(touches)
    return next((c for c in open_changes if c.relation == relation or wanted & c.touches), None)


def _together(one: Hypothesis, other: Hypothesis) -> bool:
    return one.relation == other.relation or bool(set(one.touches) & set(other.touches))


def _sets(hypotheses: list[Hypothesis]) -> int:
    return len(change_sets([(h.relation, frozenset(h.touches)) for h in hypotheses]))


def change_sets(items: Collection[tuple[str, frozenset[str]]]) -> list[list[int]]:
    """Group items (relation, touched statements) that share a relation or a statement; positions, in order."""
    groups: list[tuple[set[str], set[str], list[int]]] = []
    for position, (relation, touches) in enumerate(items):
        joined = [g for g in groups if relation in g[0] or g[1] & touches]
        merged = ({relation}, set(touches), [position])
        for group in joined:
            groups.remove(group)
            merged = (merged[0] | group[0], merged[1] | group[1], sorted(group[2] + merged[2]))
        groups.append(merged)
    return [g[2] for g in sorted(groups, key=lambda g: g[2][0])]
