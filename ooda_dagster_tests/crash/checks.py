"""What must hold once something died and recovery ran: as if nothing had been, or as if nothing had died."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ooda_dagster.core.journal import LIVE, State
from ooda_dagster.ledger import Action
from ooda_dagster.loop.by_hand import approve_action
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.crash.ground import Ground
from ooda_dagster_tests.crash.points import Direction, Fault
from ooda_dagster_tests.crash.scenarios import Scenario

#: An action that ended so, or was not begun, left nothing.
_NOTHING_DONE = {State.PROPOSED, State.APPROVED, State.FAILED, State.REVERTED} | {
    State.REJECTED,
    State.EXPIRED,
    State.SUPERSEDED,
}
_OVER = {State.FAILED, State.REVERTED, State.REJECTED, State.EXPIRED}


@dataclass(frozen=True)
class Expected:
    """What is known before the crash.

    before, after: catalogues without and with the change. since: the server's log then. states: those that the action
    may end in; any that the catalogue bears out, where empty. again: beginnings of statements that may end more than
    once. kept: whether what the server had finished must be kept. gone: whether the table is, and nothing can be done.
    """

    scenario: Scenario
    direction: Direction
    before: frozenset[str]
    after: frozenset[str]
    since: int
    states: frozenset[State] = frozenset()
    again: tuple[str, ...] = ()
    kept: bool = True
    gone: bool = False
    made: frozenset[State] = field(default=LIVE | {State.REVERT_FAILED}, init=False)


def check(ground: Ground, stage: Stage, fault: Fault, wanted: Expected) -> str:
    """The state that the action is in after crash and recovery. Fails where anything is not as it must be."""
    scenario, before, after = wanted.scenario, wanted.before, wanted.after
    journal, catalogue = stage.ledger.actions.list(stage.loop.name), ground.catalogue(scenario)
    action = journal[0] if journal else None
    state = action.state if action else None
    assert len(journal) <= 1
    assert not wanted.states or state in wanted.states, f"it ended {state}: {action and action.error}"
    stuck = state == State.REVERT_FAILED  # it may be half undone, which the undo by hand below must take
    if not stuck:
        assert catalogue in (before, after), f"half done ({state}): {difference(catalogue, before)}"
        assert state in LIVE or state is None or state in _NOTHING_DONE, f"not settled: {state}"
        forgotten = scenario.forgotten and fault == Fault.SERVER and state == State.FAILED
        assert catalogue == (after if state in LIVE else before) or forgotten, f"the journal says {state}"
        assert not ground.database.execute("select indexrelid::regclass from pg_index where not indisvalid")
    assert stage.disagreements() == []
    ground.assert_quiet()
    ended = ground.ended(wanted.since)
    again = (*(s.begins for s in (*scenario.apply, *scenario.undo) if s.again), *wanted.again)
    twice = [
        text for text, times in Counter(ended).items() if times > 1 and not text.lower().startswith(again or ("?",))
    ]
    assert not twice, f"done twice: {twice}"
    if action is not None:
        moves = stage.moves(action)
        assert len(moves) == len(set(moves)), f"went through a state twice: {moves}"
        if wanted.kept:
            _assert_intent(wanted, fault, action, moves, ended)

    assert stage.recover() == [], "a second recovery found something to do"
    assert ground.catalogue(scenario) == catalogue
    assert stage.ledger.actions.list(stage.loop.name) == journal
    if not wanted.gone:
        _do_again(ground, stage, wanted, action)
    return str(state or "nothing")


def _do_again(ground: Ground, stage: Stage, wanted: Expected, action: Action | None) -> None:
    """The change can be made, again or still, and can be undone."""
    scenario, state = wanted.scenario, action.state if action else None
    origin = wanted.before if state in wanted.made else ground.catalogue(scenario)
    if action is None or state in _OVER:
        action = approved(stage, scenario)
    elif state == State.PROPOSED:
        action = approve_action(stage.loop, action, by="ann")
    if state not in wanted.made:
        apply(stage, action)
        assert ground.catalogue(scenario) == wanted.after, "applied again, it is not what it should be"
    if scenario.undo:
        undo(stage, action)
        back = ground.catalogue(scenario)
        assert back == origin, f"the undo does not lead back: {difference(back, origin)}"


def _assert_intent(wanted: Expected, fault: Fault, action: Action, moves: list[str], ended: list[str]) -> None:
    """What the server had finished is kept, what was announced to be undone is undone."""
    scenario = wanted.scenario
    if State.REVERTING in moves:
        assert action.state == State.REVERTED
    elif wanted.direction == Direction.APPLY:
        done = [text.lower() for text in ended]
        making = scenario.apply[: scenario.made_by]
        made = all(any(text.startswith(s.begins) for text in done) for s in making)
        forgotten = scenario.forgotten and fault == Fault.SERVER
        assert forgotten or made == (action.state in LIVE), f"the server had {done}, and the action is {action.state}"


def undisturbed(ground: Ground, scenario: Scenario) -> frozenset[str]:
    """The catalogue after a change that nothing disturbed; and it can be undone, and sends what the scenario says."""
    if scenario.action_type not in ground.after:
        stage = ground.stage(scenario)
        before, since = ground.catalogue(scenario), ground.log_end()
        action = approved(stage, scenario)
        apply(stage, action)
        after = ground.catalogue(scenario)
        assert after != before, "the action changes nothing that the matrix sees: give its scenario a `state`"
        if scenario.undo:
            undo(stage, action)
            assert ground.catalogue(scenario) == before, "the undo does not lead back"
        sent = [text.lower() for text in ground.ended(since)]
        declared = [s.begins for s in (*scenario.apply, *scenario.undo)]
        fits = [text.startswith(begins) for text, begins in zip(sent, declared, strict=False)]
        assert len(sent) == len(declared), f"the scenario says {declared}, the action sends {sent}"
        assert all(fits), f"the scenario says {declared}, the action sends {sent}"
        ground.after[scenario.action_type] = after
    return ground.after[scenario.action_type]


def approved(stage: Stage, scenario: Scenario) -> Action:
    proposed = stage.ledger.actions.propose(stage.loop.name, scenario.proposal(stage), by="ann", now=stage.loop.clock())
    return approve_action(stage.loop, proposed, by="ann")


def apply(stage: Stage, action: Action) -> None:
    outcome = stage.apply(action)
    assert outcome.done, f"not applied: {outcome.note}"


def undo(stage: Stage, action: Action) -> None:
    outcome = stage.rollback(action)
    assert outcome.action.state == State.REVERTED, f"not undone: {outcome.note}"


def difference(found: frozenset[str], wanted: frozenset[str]) -> str:
    return "; ".join([*(f"+ {x}" for x in sorted(found - wanted)), *(f"- {x}" for x in sorted(wanted - found))])
