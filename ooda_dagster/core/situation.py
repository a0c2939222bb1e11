"""What policy looks at: the case that is ruled on, and the target's situation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ooda_dagster.core.change_sets import OpenChange
from ooda_dagster.core.change_types import group_of
from ooda_dagster.core.identifiers import quote_identifier
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypothesis
from ooda_dagster.core.patterns import Subject


@dataclass(frozen=True)
class Ruling:
    """State that an action gets, by which rule, and the remedy where it is not allowed."""

    state: State
    rule: str
    remedy: str = ""

    @property
    def allowed(self) -> bool:
        return self.state == State.APPROVED

    def __str__(self) -> str:
        return f"{self.rule} ({self.remedy})" if self.remedy else self.rule


def no_login(role: str) -> Ruling:
    """What is said where somebody took the acting role's right to log in. What was approved stays so."""
    remedy = f"whoever switched it off: ALTER ROLE {quote_identifier(role)} LOGIN; then it goes on by itself"
    return Ruling(State.APPROVED, f"the acting role {role} may not log in", remedy)


def login_refused(why: str) -> Ruling:
    """What is said where the server refuses the acting role's login for another reason."""
    remedy = "`ooda doctor` tries it; it is tried again each cycle"
    return Ruling(State.APPROVED, f"the acting role is not let in: {why}", remedy)


@dataclass(frozen=True)
class Case(Subject):
    """What is ruled on: a change, with what is promised of it. bytes: of what it makes; group: `group_of` it."""

    identity: str = ""
    group: frozenset[str] = frozenset()
    priority: int = 5
    dangerous: bool = False
    bytes: int = 0


def case_of(hypothesis: Hypothesis) -> Case:
    """A hypothesis as a case."""
    return Case(
        relation=hypothesis.relation,
        action_type=hypothesis.hypothesis_type,
        touches=hypothesis.touches,
        serves=[s.fingerprint for s in hypothesis.serves],
        identity=hypothesis.identity,
        group=group_of(hypothesis.hypothesis_type, hypothesis.evidence.get("spec") or {}),
        priority=hypothesis.priority,
        dangerous=hypothesis.dangerous,
        bytes=hypothesis.bytes,
    )


@dataclass(frozen=True)
class UndoneGroup:
    """Statistics on a group of columns that failed, were undone or rejected."""

    relation: str
    group: frozenset[str]
    at: datetime

    def is_tried_by(self, case: Case) -> bool:
        """Whether a case is the same try: of one of the two groups, the other is a part."""
        nested = self.group <= case.group or case.group <= self.group
        return bool(case.group) and nested and self.relation == case.relation


@dataclass
class Situation:
    """What policy looks at beside the case. Times are aware; bytes are of the target; mappings by relation."""

    now: datetime
    warm_h: float  # hours of rollups
    paused: bool = False
    barred: Ruling | None = None  # why the acting role is not let in
    open_changes: Collection[OpenChange] = ()
    acted_this_hour: int = 0
    acted_today: int = 0
    heap_bytes: int = 0
    own_index_bytes: int = 0
    heap_bytes_of: Mapping[str, int] = field(default_factory=dict)
    own_index_bytes_of: Mapping[str, int] = field(default_factory=dict)
    indexes_of: Mapping[str, int] = field(default_factory=dict)  # how many there are
    undone_at: Mapping[str, datetime] = field(default_factory=dict)  # identity → when it failed, was undone or rejected
    undone_groups: Sequence[UndoneGroup] = ()  # of these, the statistics
    failures: Mapping[str, Sequence[datetime]] = field(default_factory=dict)  # action type → when it failed or did harm
    builds: Mapping[str, Sequence[tuple[int, float]]] = field(
        default_factory=dict
    )  # type → bytes, seconds; newest first
    stuck: Collection[str] = ()  # relations with an undo that failed
    allowed_now: list[Hypothesis] = field(default_factory=list)  # in this cycle, so far
