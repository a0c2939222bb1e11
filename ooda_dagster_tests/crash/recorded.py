"""Crashes in a life whose steps are known from one that nothing disturbed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.crash.checks import Expected, check, undisturbed
from ooda_dagster_tests.crash.crash import recover
from ooda_dagster_tests.crash.ground import Ground
from ooda_dagster_tests.crash.lives import Kind, Life, lives
from ooda_dagster_tests.crash.points import Fault, Moment, Step, Stop, When, is_deaf
from ooda_dagster_tests.crash.scenarios import Scenario
from ooda_dagster_tests.crash.strike import Refusal, Strike, struck
from ooda_dagster_tests.crash.worker import Mutation


@dataclass(frozen=True)
class Recorded:
    """A life with its steps, from the first on that a crash is tried at."""

    life: Life
    steps: Sequence[Step]
    first: int = 0


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


def record(ground: Ground, life: Life) -> Recorded:
    """Live it without a crash; fails where it does not end as it should."""
    key = str(life)
    if key not in ground.recorded:
        stage, wanted = _set(ground, life)
        doomed = struck(ground, stage, life.work, _stops(life), None, refusal=_refusal(life))
        (action,) = stage.ledger.actions.list(stage.loop.name)
        assert action.state in life.ends, f"{life} ended {action.state}: {action.error}"
        life.settle(stage)
        check(ground, stage, Fault.WORKER, wanted)
        first = 0
        if life.refused is not None:
            first = 1 + _failing(life, doomed.steps)
        ground.recorded[key] = Recorded(life, doomed.steps, first)
    return ground.recorded[key]


def recordings(ground: Ground, kind: Kind, scenario: Scenario) -> list[Recorded]:
    """Every life of a kind. One whose steps are the end of another's holds no crash that the other has not."""
    found = [record(ground, life) for life in lives(kind, scenario)]
    if kind not in (Kind.RECOVERY, Kind.UNDO_RECOVERY):
        return found
    kept: list[Recorded] = []
    for one in sorted(found, key=lambda r: -len(r.steps)):
        if not any(list(other.steps[-len(one.steps) :]) == list(one.steps) for other in kept):
            kept.append(one)
    return kept


def points(recorded: Recorded) -> Iterator[tuple[int, When]]:
    for ordinal, step in enumerate(recorded.steps):
        middle = When.RUNNING if step.is_statement else When.AFTER
        if ordinal >= recorded.first:
            yield from ((ordinal, when) for when in (When.BEFORE, middle, When.UNANSWERED))


def life_cells(recorded: Recorded, fault: Fault) -> Iterator[LifeCell]:
    """All crashes of one life by one fault."""
    for ordinal, when in points(recorded):
        if not is_deaf(when, fault, is_commit=not recorded.steps[ordinal].is_statement):
            yield LifeCell(recorded, ordinal, when, fault)


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
