"""Crashes in a life whose steps are known from one that nothing disturbed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.crash.checks import Expected, check, undisturbed
from ooda_dagster_tests.crash.crash import recover
from ooda_dagster_tests.crash.ground import Ground
from ooda_dagster_tests.crash.lives import Kind, Life, lives
from ooda_dagster_tests.crash.points import DEATHS, Fault, Moment, Step, Stop, When, is_deaf
from ooda_dagster_tests.crash.scenarios import Scenario
from ooda_dagster_tests.crash.strike import Refusal, Strike, struck
from ooda_dagster_tests.crash.worker import Mutation


@dataclass(frozen=True)
class Recorded:
    """A life with its steps, from the first on that a crash is tried at."""

    life: Life
    steps: Sequence[Step]
    first: int = 0

    @property
    def tried(self) -> list[Step]:
        return list(self.steps[self.first :])


@dataclass(frozen=True)
class LifeCell:
    """One crash at a step of a life."""

    recorded: Recorded
    ordinal: int
    when: When
    fault: Fault

    @property
    def step(self) -> Step:
        return self.recorded.steps[self.ordinal]

    @property
    def row(self) -> str:
        return f"{self.recorded.life}: {self.step.label(self.when)}"

    def __str__(self) -> str:
        return f"{self.row}: {self.fault}"

    def is_at(self, moment: Moment) -> bool:
        return moment.ordinal == self.ordinal and self.when in moment.when


def record(ground: Ground, life: Life, *, thoroughly: bool = True) -> Recorded:
    """Live it without a crash; fails where it does not end as it should. thoroughly: with all that holds after it."""
    key = str(life)
    if key not in ground.recorded:
        stage, wanted = _set(ground, life)
        doomed = struck(ground, stage, life.work, _stops(life), None, refusal=_refusal(life))
        (action,) = stage.ledger.actions.list(stage.loop.name)
        assert action.state in life.ends, f"{life} ended {action.state}: {action.error}"
        if thoroughly:
            life.settle(stage)
            check(ground, stage, Fault.WORKER, wanted)
        first = 0
        if life.refused is not None:
            first = 1 + _failing(life, doomed.steps)
        ground.recorded[key] = Recorded(life, doomed.steps, first)
    return ground.recorded[key]


def recordings(ground: Ground, kind: Kind, scenario: Scenario) -> list[Recorded]:
    """Every life of a kind. One whose steps are the end of another's holds no crash that the other has not."""
    kept: list[Recorded] = []
    for one in sorted((record(ground, life) for life in lives(kind, scenario)), key=lambda r: -len(r.tried)):
        if not any(other.tried[-len(one.tried) :] == one.tried for other in kept):
            kept.append(one)
    return kept


def cells_of(recorded: Recorded) -> Iterator[LifeCell]:
    """All crashes of one life, by whatever may die."""
    for ordinal in range(recorded.first, len(recorded.steps)):
        is_statement = recorded.steps[ordinal].is_statement
        for when in (When.BEFORE, When.RUNNING if is_statement else When.AFTER, When.UNANSWERED):
            for fault in DEATHS:
                if not is_deaf(when, fault, is_commit=not is_statement):
                    yield LifeCell(recorded, ordinal, when, fault)


def covering(recordings: Sequence[Recorded]) -> Iterator[LifeCell]:
    """At every point the worker is killed, and one of the others dies: in turn, so that each meets every kind of point.

    Where nobody but the ledger is waited for, the ledger dies, or its network.
    """
    turn = 0
    for recorded in recordings:
        for _, at_point in groupby(cells_of(recorded), key=lambda cell: (cell.ordinal, cell.when)):
            first, *others = list(at_point)
            turn += 1
            yield first
            yield others[turn % len(others)]


def crash_in(ground: Ground, cell: LifeCell, mutation: Mutation | None = None) -> str:
    """The state that the action is in after the crash and another recovery. Fails as `crash` does."""
    life = cell.recorded.life
    stage, wanted = _set(ground, life)
    begins = cell.step.what if cell.step.is_statement else None
    strike = Strike(cell.fault, cell.when, begins, _held_by(life.scenario, cell.step))
    stops = [*_stops(life), cell.is_at]
    struck(ground, stage, life.work, stops, strike, refusal=_refusal(life), mutation=mutation)
    recover(ground, stage, str(cell))
    life.settle(stage)
    return check(ground, stage, cell.fault, wanted)


def _set(ground: Ground, life: Life) -> tuple[Stage, Expected]:
    after = undisturbed(ground, life.scenario)
    stage = life.tuned(ground.stage(life.scenario))
    before, since = ground.catalogue(life.scenario), ground.log_end()
    life.prepare(ground, stage)
    if life.gone:
        before = ground.catalogue(life.scenario)
    wanted = Expected(
        life.scenario,
        life.direction,
        before,
        after,
        since,
        states=life.states,
        again=life.again,
        kept=life.kept,
        gone=life.gone,
    )
    return stage, wanted


def _stops(life: Life) -> list[Stop]:
    """Where something of the life itself is to fail, and what follows on it."""
    if life.fails is None:
        return []
    number = life.fails
    seen: list[int] = []

    def failing(moment: Moment) -> bool:
        if moment.number == number:
            seen.append(moment.ordinal)
        return moment.number == number

    return [failing, lambda moment: moment.ordinal > seen[-1]]


def _refusal(life: Life) -> Refusal | None:
    if life.refused is None:
        return None
    return Refusal(life.refused.begins, [life.refused.held_by], life.cancelled)


def _failing(life: Life, steps: Sequence[Step]) -> int:
    """The ordinal of the statement that fails."""
    assert life.fails is not None
    return [n for n, step in enumerate(steps) if step.is_statement][life.fails]


def _held_by(scenario: Scenario, step: Step) -> list[str]:
    """What makes a statement wait: all that is declared for one that begins so, else what makes an undo wait."""
    declared = [s for s in (*scenario.apply, *scenario.undo) if step.what.startswith(s.begins)]
    return list(dict.fromkeys(s.held_by for s in declared or scenario.undo or scenario.apply))
