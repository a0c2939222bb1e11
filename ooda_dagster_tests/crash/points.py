"""Where the worker is when something dies, and what dies: the rows and the columns of the matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from ooda_dagster.core.journal import State
from ooda_dagster_tests.crash.scenarios import Scenario, Statement


class Direction(StrEnum):
    """What the worker does."""

    APPLY = "apply"
    UNDO = "undo"


class When(StrEnum):
    """Relative to a transition's commit, or to a statement of the action."""

    BEFORE = "before"
    #: The statement waits in its middle.
    RUNNING = "running"
    #: The server has done it; its answer did not reach us.
    UNANSWERED = "unanswered"
    AFTER = "after"


class Fault(StrEnum):
    """What dies, or falls silent."""

    WORKER = "worker -9"
    SERVER = "server -9"
    LEDGER = "ledger -9"
    #: Until the worker has given up.
    SERVER_CUT = "server cut off"
    LEDGER_CUT = "ledger cut off"
    #: The connections end, and new ones come through.
    BLIP = "server blip"
    #: Nothing comes through any more and nobody is told, until the worker has given up.
    SERVER_SILENT = "server silent"
    LEDGER_SILENT = "ledger silent"


#: Those whose end is told to who is connected.
DEATHS = (Fault.WORKER, Fault.SERVER, Fault.LEDGER, Fault.SERVER_CUT, Fault.LEDGER_CUT, Fault.BLIP)
#: After these the server notices by itself that nobody waits for its answer.
NOTICED = (Fault.WORKER, Fault.SERVER_CUT, Fault.BLIP, Fault.SERVER_SILENT)


#: The transitions of a life, in order; those of the undo follow those of a build.
TRANSITIONS = {
    Direction.APPLY: (State.PROPOSED, State.APPROVED, State.APPLYING, State.APPLIED, State.VERIFYING),
    Direction.UNDO: (State.REVERTING, State.REVERTED),
}


@dataclass(frozen=True)
class Step:
    """One thing that a worker does: a commit of the ledger, by its transition or its name, or a statement, by its text.

    Texts are lower-case and end before an action's id, which differs in each life.
    """

    what: str
    is_statement: bool = False

    def label(self, when: When) -> str:
        if self.is_statement:
            return f"{self.what}, {when}"
        return f"{self.what}, unanswered" if when == When.UNANSWERED else f"{when} {self.what} is committed"


@dataclass(frozen=True)
class Moment:
    """Where a worker is. ordinal: of its step; number: of its statement; when: all that may be meant by it."""

    step: Step
    ordinal: int
    number: int | None
    when: tuple[When, ...]


#: Whether a worker is to stop there.
Stop = Callable[[Moment], bool]


@dataclass(frozen=True)
class Point:
    """`at` is a transition, or the number of a statement."""

    direction: Direction
    at: State | int
    when: When

    def is_at(self, moment: Moment) -> bool:
        at = moment.number if moment.step.is_statement else moment.step.what
        # A state is text, and never equal to a number.
        return at == self.at and self.when in moment.when

    def label(self, scenario: Scenario) -> str:
        if isinstance(self.at, State):
            return f"{self.when} {self.at} is committed" if self.when != When.UNANSWERED else f"{self.at}, unanswered"
        return f"{statements(scenario, self.direction)[self.at].begins}, {self.when}"


@dataclass(frozen=True)
class Cell:
    """One crash."""

    scenario: Scenario
    point: Point
    fault: Fault

    @property
    def direction(self) -> Direction:
        return self.point.direction

    @property
    def row(self) -> str:
        return f"{self.scenario} {self.point.direction}: {self.point.label(self.scenario)}"

    def __str__(self) -> str:
        return f"{self.row}: {self.fault}"


def statements(scenario: Scenario, direction: Direction) -> tuple[Statement, ...]:
    """What a direction sends."""
    return scenario.apply if direction == Direction.APPLY else scenario.undo


def points(scenario: Scenario) -> Iterator[Point]:
    """In the order of an action's life."""
    for direction in Direction:
        sent = statements(scenario, direction)
        for state in TRANSITIONS[direction] if sent else ():
            yield from (Point(direction, state, when) for when in (When.BEFORE, When.UNANSWERED, When.AFTER))
            if state in (State.APPLYING, State.REVERTING):
                middle = (When.BEFORE, When.RUNNING, When.UNANSWERED)
                yield from (Point(direction, n, when) for n in range(len(sent)) for when in middle)


def cells(scenario: Scenario) -> Iterator[Cell]:
    """The matrix of an action type."""
    for point in points(scenario):
        for fault in DEATHS:
            if not is_deaf(point.when, fault, is_commit=isinstance(point.at, State)):
                yield Cell(scenario, point, fault)


def silences(scenario: Scenario) -> Iterator[Cell]:
    """What falls silent is what the worker talks to: the server at a statement, the ledger at a commit."""
    for point in points(scenario):
        yield Cell(scenario, point, Fault.LEDGER_SILENT if isinstance(point.at, State) else Fault.SERVER_SILENT)


def is_deaf(when: When, fault: Fault, *, is_commit: bool) -> bool:
    """That a commit's answer is lost is nothing to those who do not wait for it."""
    waiting = (Fault.LEDGER, Fault.LEDGER_CUT, Fault.LEDGER_SILENT)
    return is_commit and when == When.UNANSWERED and fault not in waiting
