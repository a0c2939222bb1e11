"""One crash: the worker comes to its point, something dies, recovery runs - then all must be as if nothing had been."""

from __future__ import annotations

import zlib
from collections import Counter
from contextlib import suppress
from datetime import timedelta

import psycopg

from ooda_dagster.core.journal import LIVE, State
from ooda_dagster.ledger import Action
from ooda_dagster.loop.by_hand import approve_action
from ooda_dagster.loop.cycle import begin
from ooda_dagster.loop.observe import observe
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.crash import worker
from ooda_dagster_tests.crash.ground import Ground
from ooda_dagster_tests.crash.points import Cell, Direction, Fault, When, statements
from ooda_dagster_tests.crash.scenarios import Scenario
from ooda_dagster_tests.crash.worker import Doomed, Mutation
from ooda_dagster_tests.support import wait_until

_WAITING = """
select pid from pg_stat_activity where application_name like 'ooda/%%' and state = 'active'
and wait_event_type = 'Lock' and query ilike %s
"""
#: An action that ended so, or was not begun, left nothing.
_NOTHING_DONE = {State.PROPOSED, State.APPROVED, State.FAILED, State.REVERTED}


def crash(ground: Ground, cell: Cell, mutation: Mutation | None = None) -> str:
    """The state that the action is in after crash and recovery. Fails where anything is not as it must be."""
    expected = undisturbed(ground, cell.scenario)
    stage = ground.stage(cell.scenario)
    before = ground.catalogue(cell.scenario)
    if cell.point.direction == Direction.UNDO:
        _apply(stage, _approved(stage, cell.scenario))
    since = ground.log_end()
    own = ground.through_proxies(stage)
    doomed = worker.start(own, cell, mutation)
    try:
        doomed.await_point()
        _strike_at_point(ground, cell, doomed)
        doomed.end()
    except BaseException:
        with suppress(ProcessLookupError):
            doomed.kill()
        raise
    finally:
        own.ledger.close()
        ground.heal()
    _recover(ground, cell, stage)
    return _check(ground, cell, stage, before, expected, since)


def undisturbed(ground: Ground, scenario: Scenario) -> frozenset[str]:
    """The catalogue after a change that nothing disturbed; and it can be undone, and sends what the scenario says."""
    if scenario.action_type not in ground.after:
        stage = ground.stage(scenario)
        before, since = ground.catalogue(scenario), ground.log_end()
        action = _approved(stage, scenario)
        _apply(stage, action)
        after = ground.catalogue(scenario)
        assert after != before, "the action changes nothing that the matrix sees: give its scenario a `state`"
        if scenario.undo:
            _undo(stage, action)
            assert ground.catalogue(scenario) == before, "the undo does not lead back"
        sent = [text.lower() for text in ground.ended(since)]
        declared = [s.begins for s in (*scenario.apply, *scenario.undo)]
        fits = [text.startswith(begins) for text, begins in zip(sent, declared, strict=False)]
        assert len(sent) == len(declared), f"the scenario says {declared}, the action sends {sent}"
        assert all(fits), f"the scenario says {declared}, the action sends {sent}"
        ground.after[scenario.action_type] = after
    return ground.after[scenario.action_type]


# ------------------------------------------------------------------ the crash


def _strike_at_point(ground: Ground, cell: Cell, doomed: Doomed) -> None:
    point = cell.point
    if point.when == When.RUNNING:
        _strike_in_the_middle(ground, cell, doomed)
    elif point.when == When.UNANSWERED:
        in_journal = isinstance(point.at, State)
        proxy = ground.to_ledger if in_journal else ground.to_server
        proxy.hold(after=b"commit" if isinstance(point.at, State) else _begins(cell).encode())
        doomed.go_on()
        proxy.await_answer()
        _strike(ground, cell.fault, doomed)
        proxy.release()
    else:
        _strike(ground, cell.fault, doomed)
        doomed.go_on()


def _strike_in_the_middle(ground: Ground, cell: Cell, doomed: Doomed) -> None:
    """While somebody's open transaction holds the statement."""
    assert isinstance(cell.point.at, int)
    somebody = psycopg.connect(ground.database.superuser)
    somebody.execute(trusted(statements(cell.scenario, cell.point.direction)[cell.point.at].held_by))
    doomed.go_on()

    def waiting() -> int | None:
        rows = ground.database.execute(_WAITING, f"{_begins(cell)}%")
        return rows[0][0] if rows else None

    backend = wait_until(waiting, what="a statement that waits")
    _strike(ground, cell.fault, doomed)
    if cell.fault in (Fault.WORKER, Fault.SERVER_CUT, Fault.BLIP):  # the server notices by itself
        alive = "select 1 from pg_stat_activity where pid = %s"
        wait_until(lambda: not ground.database.execute(alive, backend), timeout_s=10, what="the end of the backend")
    somebody.close()


def _begins(cell: Cell) -> str:
    assert isinstance(cell.point.at, int)
    return statements(cell.scenario, cell.point.direction)[cell.point.at].begins


def _strike(ground: Ground, fault: Fault, doomed: Doomed) -> None:
    match fault:
        case Fault.WORKER:
            doomed.kill()
        case Fault.SERVER:
            ground.server.kill()
        case Fault.LEDGER:
            ground.ledger_server.kill()
        case Fault.SERVER_CUT:
            ground.to_server.cut()
        case Fault.LEDGER_CUT:
            ground.to_ledger.cut()
        case Fault.BLIP:
            ground.to_server.cut()
            ground.to_server.mend()


def _recover(ground: Ground, cell: Cell, stage: Stage) -> None:
    """By one of the two doors; both stand in every row and column of the matrix."""
    if zlib.crc32(str(cell).encode()) % 2:
        ground.recover_by_hand(stage)
    else:
        due = stage.loop.clock() + timedelta(seconds=1)
        observe(stage.loop, begin(stage.loop, run_id="after the crash", due=due, trigger="manual"))


# ------------------------------------------------------------------ what must hold


def _check(ground: Ground, cell: Cell, stage: Stage, before: frozenset[str], after: frozenset[str], since: int) -> str:
    scenario = cell.scenario
    journal, catalogue = stage.ledger.actions.list(stage.loop.name), ground.catalogue(scenario)
    action = journal[0] if journal else None
    state = action.state if action else None
    assert len(journal) <= 1
    assert catalogue in (before, after), f"half done ({state}): {_difference(catalogue, before)}"
    assert state in LIVE or state is None or state in _NOTHING_DONE, f"not settled: {state}"
    forgotten = scenario.forgotten and cell.fault == Fault.SERVER and state == State.FAILED
    assert catalogue == (after if state in LIVE else before) or forgotten, f"the journal says {state}"
    assert stage.disagreements() == []
    assert not ground.database.execute("select indexrelid::regclass from pg_index where not indisvalid")
    ground.assert_quiet()
    ended = ground.ended(since)
    again = tuple(s.begins for s in (*scenario.apply, *scenario.undo) if s.again)
    twice = [
        text for text, times in Counter(ended).items() if times > 1 and not text.lower().startswith(again or ("?",))
    ]
    assert not twice, f"done twice: {twice}"
    if action is not None:
        moves = stage.moves(action)
        assert len(moves) == len(set(moves)), f"went through a state twice: {moves}"
        _assert_intent(cell, action, moves, ended)

    assert stage.recover() == [], "a second recovery found something to do"
    assert ground.catalogue(scenario) == catalogue
    assert stage.ledger.actions.list(stage.loop.name) == journal

    if action is None or state in (State.FAILED, State.REVERTED):
        action = _approved(stage, scenario)
    elif state == State.PROPOSED:
        action = approve_action(stage.loop, action, by="ann")
    if state not in LIVE:
        _apply(stage, action)
        assert ground.catalogue(scenario) == after, "applied again, it is not what it should be"
    if scenario.undo:
        _undo(stage, action)
        back, origin = ground.catalogue(scenario), before if state in LIVE else catalogue
        assert back == origin, f"the undo does not lead back: {_difference(back, origin)}"
    return str(state or "nothing")


def _assert_intent(cell: Cell, action: Action, moves: list[str], ended: list[str]) -> None:
    """What the server had finished is kept, what was announced to be undone is undone."""
    if State.REVERTING in moves:
        assert action.state == State.REVERTED
    elif cell.point.direction == Direction.APPLY:
        done = [text.lower() for text in ended]
        making = cell.scenario.apply[: cell.scenario.made_by]
        made = all(any(text.startswith(s.begins) for text in done) for s in making)
        forgotten = cell.scenario.forgotten and cell.fault == Fault.SERVER
        assert forgotten or made == (action.state in LIVE), f"the server had {done}, and the action is {action.state}"


def _approved(stage: Stage, scenario: Scenario) -> Action:
    proposed = stage.ledger.actions.propose(stage.loop.name, scenario.proposal(stage), by="ann", now=stage.loop.clock())
    return approve_action(stage.loop, proposed, by="ann")


def _apply(stage: Stage, action: Action) -> None:
    outcome = stage.apply(action)
    assert outcome.done, f"not applied: {outcome.note}"


def _undo(stage: Stage, action: Action) -> None:
    outcome = stage.rollback(action)
    assert outcome.action.state == State.REVERTED, f"not undone: {outcome.note}"


def _difference(found: frozenset[str], wanted: frozenset[str]) -> str:
    return "; ".join([*(f"+ {x}" for x in sorted(found - wanted)), *(f"- {x}" for x in sorted(wanted - found))])
