"""One crash: the worker comes to its point, something dies, recovery runs - then all must be as if nothing had been."""

from __future__ import annotations

import zlib
from datetime import timedelta

from ooda_dagster.core.journal import State
from ooda_dagster.loop.by_hand import approve_action, rollback
from ooda_dagster.loop.cycle import begin
from ooda_dagster.loop.observe import observe
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.crash.checks import Expected, apply, approved, check, undisturbed
from ooda_dagster_tests.crash.ground import Ground
from ooda_dagster_tests.crash.points import Cell, Direction, statements
from ooda_dagster_tests.crash.scenarios import Scenario
from ooda_dagster_tests.crash.strike import Strike, struck
from ooda_dagster_tests.crash.worker import Mutation


def crash(ground: Ground, cell: Cell, mutation: Mutation | None = None) -> str:
    """The state that the action is in after crash and recovery. Fails where anything is not as it must be."""
    scenario, direction = cell.scenario, cell.direction
    after = undisturbed(ground, scenario)
    stage = ground.stage(scenario)
    wanted = Expected(scenario, direction, ground.catalogue(scenario), after, ground.log_end())
    begin_with(stage, scenario, direction)
    strike_at(ground, stage, cell, mutation)
    recover(ground, stage, str(cell))
    return check(ground, stage, cell.fault, wanted)


def begin_with(stage: Stage, scenario: Scenario, direction: Direction) -> None:
    """What is undone was made before."""
    if direction == Direction.UNDO:
        apply(stage, approved(stage, scenario))


def strike_at(ground: Ground, stage: Stage, cell: Cell, mutation: Mutation | None = None) -> None:
    """A worker applies, or undoes what was applied, and something dies at the cell's point."""
    at = cell.point.at
    sent = None if isinstance(at, State) else statements(cell.scenario, cell.direction)[at]
    strike = Strike(cell.fault, cell.point.when, sent and sent.begins, [sent.held_by] if sent else [])
    work = applying if cell.direction == Direction.APPLY else undoing
    struck(ground, stage, lambda own: work(own, cell.scenario), [cell.point.is_at], strike, mutation=mutation)


def applying(stage: Stage, scenario: Scenario) -> str:
    """From the proposal on."""
    loop, by = stage.loop, "ann"
    action = loop.ledger.actions.propose(loop.name, scenario.proposal(stage), by=by, now=loop.clock())
    action = approve_action(loop, action, by=by)
    (outcome,) = loop.executor(by).apply([action])
    return outcome.note


def undoing(stage: Stage, scenario: Scenario) -> str:
    (action,) = stage.ledger.actions.list(stage.loop.name)
    return rollback(stage.loop, action, by="ann").note


def recover(ground: Ground, stage: Stage, cell: str) -> None:
    """By one of the two doors; both stand in every row and column of the matrix."""
    if zlib.crc32(cell.encode()) % 2:
        ground.recover_by_hand(stage)
    else:
        due = stage.loop.clock() + timedelta(seconds=1)
        observe(stage.loop, begin(stage.loop, run_id="after the crash", due=due, trigger="manual"))
