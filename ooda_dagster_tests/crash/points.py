"""Where the worker is when something dies, and what dies: the rows and the columns of the matrix."""

from __future__ import annotations

from collections.abc import Iterator
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
    """What dies."""

    WORKER = "worker -9"
    SERVER = "server -9"
    LEDGER = "ledger -9"
    #: Until the worker has given up.
    SERVER_CUT = "server cut off"
    LEDGER_CUT = "ledger cut off"
    #: The connections end, and new ones come through.
    BLIP = "server blip"


#: The transitions of a life, in order; those of the undo follow those of a build.
TRANSITIONS = {
    Direction.APPLY: (State.PROPOSED, State.APPROVED, State.APPLYING, State.APPLIED, State.VERIFYING),
    Direction.UNDO: (State.REVERTING, State.REVERTED),
}


@dataclass(frozen=True)
class Point:
    """`at` is a transition, or the number of a statement."""

    direction: Direction
    at: State | int
    when: When

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
        for fault in Fault:
            # That a commit's answer is lost is nothing to those who do not wait for it.
            deaf = isinstance(point.at, State) and point.when == When.UNANSWERED
            if not deaf or fault in (Fault.LEDGER, Fault.LEDGER_CUT):
                yield Cell(scenario, point, fault)
