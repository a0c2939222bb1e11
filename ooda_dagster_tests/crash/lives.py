"""Further lives that a crash can hit: a recovery, a change or an undo that fails, a verdict, a word of a person's.

Their steps are recorded from a life that nothing disturbs, so that a new action type needs no word here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from ooda_dagster.core.evidence_check import check
from ooda_dagster.core.evidence_file import read
from ooda_dagster.core.journal import State
from ooda_dagster.loop.act import expire
from ooda_dagster.loop.by_hand import reject_action
from ooda_dagster.loop.learn import learn
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.crash.checks import apply, approved
from ooda_dagster_tests.crash.crash import applying, begin_with, strike_at, undoing
from ooda_dagster_tests.crash.ground import Ground
from ooda_dagster_tests.crash.points import Cell, Direction, Fault, Point, When, statements
from ooda_dagster_tests.crash.scenarios import Scenario, Statement
from ooda_dagster_tests.loop.ground import no_results
from ooda_dagster_tests.loop.told_history import history, judged, past_its_deadline


class Kind(StrEnum):
    """What the worker does when it dies."""

    RECOVERY = "recovery of a change"
    UNDO_RECOVERY = "recovery of an undo"
    FAILURE = "a change that fails"
    UNDO_FAILURE = "an undo that fails"
    VERDICT = "a verdict"
    WORD = "a word"


@dataclass(frozen=True)
class Life:
    """One of them.

    prepare: sets the stage. work: of the worker. tuned: the stage with other settings. fails: the number of the
    statement that fails, and `cancelled`: by a person, not for want of a lock. settle: what the next cycle does beside
    recovery. states, again, kept, gone: as in `checks.Expected`; ends: what it ends in where nothing disturbs it.
    """

    kind: Kind
    name: str
    scenario: Scenario
    direction: Direction
    prepare: Callable[[Ground, Stage], None]
    work: Callable[[Stage], str]
    ends: frozenset[State]
    tuned: Callable[[Stage], Stage] = lambda stage: stage
    fails: int | None = None
    cancelled: bool = True
    settle: Callable[[Stage], None] = lambda _: None
    states: frozenset[State] = frozenset()
    again: tuple[str, ...] = ()
    kept: bool = True
    gone: bool = False

    def __str__(self) -> str:
        return f"{self.scenario} {self.name}"

    @property
    def refused(self) -> Statement | None:
        return None if self.fails is None else statements(self.scenario, self.direction)[self.fails]


def lives(kind: Kind, scenario: Scenario) -> list[Life]:
    """Those of a kind and an action type; none where the type has no undo, and one is needed."""
    return list(_MAKE[kind](scenario))


# ------------------------------------------------------------------ recovery


def _recoveries(scenario: Scenario, direction: Direction) -> Iterator[Life]:
    """From whatever a first crash may leave."""
    sent = statements(scenario, direction)
    points = [Point(direction, n, when) for n in range(len(sent)) for when in (When.BEFORE, When.RUNNING)]
    if sent:
        points.append(Point(direction, len(sent) - 1, When.UNANSWERED))
    if direction == Direction.APPLY:
        points.append(Point(direction, State.APPLIED, When.AFTER))
    undo = direction == Direction.UNDO
    for point in points:
        cell = Cell(scenario, point, Fault.WORKER)

        def left(ground: Ground, stage: Stage, cell: Cell = cell) -> None:
            begin_with(stage, cell.scenario, cell.direction)
            strike_at(ground, stage, cell)

        yield Life(
            Kind.UNDO_RECOVERY if undo else Kind.RECOVERY,
            f"recovery of {direction} killed at {point.label(scenario)}",
            scenario,
            direction,
            prepare=left,
            work=lambda stage: "; ".join(stage.recover()),
            ends=frozenset({State.REVERTED} if undo else {State.VERIFYING, State.FAILED}),
            again=("drop index concurrently",),  # of a part that was begun, killed and dropped more than once
        )


# ------------------------------------------------------------------ what fails


def _failures(scenario: Scenario, direction: Direction) -> Iterator[Life]:
    """Each statement is cancelled by a person, or loses its lock and is tried again."""
    undo = direction == Direction.UNDO
    for number, sent in enumerate(statements(scenario, direction)):
        for cancelled in (True, False):
            how = "cancelled" if cancelled else "without its lock"
            failed, done = (State.REVERT_FAILED, State.REVERTED) if undo else (State.FAILED, State.VERIFYING)
            yield Life(
                Kind.UNDO_FAILURE if undo else Kind.FAILURE,
                f"{direction}, {sent.begins} {how}",
                scenario,
                direction,
                prepare=lambda _, stage: begin_with(stage, scenario, direction),
                work=lambda stage: (undoing if undo else applying)(stage, scenario),
                ends=frozenset({failed if cancelled else done}),
                tuned=_soon_without_a_lock,
                fails=number,
                cancelled=cancelled,
                # An undo that the journal calls failed waits for a person, or an hour.
                states=frozenset({failed, done}),
                again=("drop ", "create ", "comment ", "alter "),
                kept=False,
            )


def _soon_without_a_lock(stage: Stage) -> Stage:
    return stage.with_acting(lock_timeout_s=0.5, lock_retry_pause_s=0.1, lock_tries=4, lock_budget_s=20)


# ------------------------------------------------------------------ verdicts


def _verdicts(scenario: Scenario) -> Iterator[Life]:
    """Kept, inconclusive, or undone as it did harm: with all that the ledger notes of it."""
    courses = {State.KEPT: (10.0, 5.0), State.INCONCLUSIVE: (1.0, 1.0), State.REVERTED: (1.0, 3.0)}
    for state, course in courses.items():
        if (state == State.REVERTED and not scenario.undo) or (state != State.KEPT and not scenario.judged):
            continue

        def judge(_: Ground, stage: Stage, course: tuple[float, ...] = course) -> None:
            action = approved(stage, scenario)
            apply(stage, action)
            history(stage, {"t": course, "c": (1.0, 1.0)})
            judged(stage, action)

        yield Life(
            Kind.VERDICT,
            f"verdict {state}",
            scenario,
            Direction.APPLY,
            prepare=judge,
            work=lambda stage: learn(stage.loop, no_results(stage.loop)).next_due_reason,
            ends=frozenset({state}),
            tuned=past_its_deadline if state == State.INCONCLUSIVE else lambda stage: stage,
            settle=_learn_again,
            states=frozenset({state}),
        )


def _learn_again(stage: Stage) -> None:
    """The next cycle's verdict and learning: then the ledger is as if the first had not broken off."""
    learn(stage.loop, no_results(stage.loop))
    (action,) = stage.ledger.actions.list(stage.loop.name)
    (improvement,) = stage.ledger.actions.improvements(stage.loop.name)
    assert improvement["was_rolled_back"] == (action.state == State.REVERTED)
    assert improvement["was_deployed"]
    assert improvement["success_score"] is not None
    assert action.learned_in is not None
    assert action.outcome is not None
    assert stage.ledger.verifications.open(stage.loop.name) == []
    assert action.change_set_id is not None
    looks = [look["look"] for look in stage.ledger.verifications.looks(action.change_set_id)]
    assert looks == list(range(1, len(looks) + 1))
    path = stage.ledger.evidence.files([action.action_id])[action.action_id].path
    assert path is not None
    evidence = check(read(Path(path).read_bytes()))
    assert evidence.exact, evidence.findings


# ------------------------------------------------------------------ words


def _words(scenario: Scenario) -> Iterator[Life]:
    """Rejected, expired, superseded: commits without a deed."""

    def asked(_: Ground, stage: Stage) -> None:
        approved(stage, scenario)

    def without_its_table(ground: Ground, stage: Stage) -> None:
        action = approved(stage, scenario)
        ground.database.execute(f"drop table {action.relation}")

    def reject(stage: Stage) -> str:
        (action,) = stage.ledger.actions.list(stage.loop.name)
        return reject_action(stage.ledger, action, by="ann", now=stage.loop.clock()).state

    def expire_it(stage: Stage) -> str:
        expire(replace(stage.loop, clock=lambda: stage.loop.clock() + timedelta(days=365)))
        return ""

    def carry_out(stage: Stage) -> str:
        stage.executor().apply(stage.ledger.actions.list(stage.loop.name, states=(State.APPROVED,)))
        return ""

    none = Direction.APPLY
    states = {state: frozenset({state}) for state in (State.REJECTED, State.EXPIRED, State.SUPERSEDED)}
    rejected, expired, superseded = states.values()
    waiting = rejected | {State.APPROVED}
    yield Life(Kind.WORD, "rejected", scenario, none, asked, reject, rejected, states=waiting)
    yield Life(Kind.WORD, "expired", scenario, none, asked, expire_it, expired, states=expired, settle=_word(expire_it))
    yield Life(
        Kind.WORD,
        "superseded",
        scenario,
        none,
        without_its_table,
        carry_out,
        superseded,
        states=superseded,
        settle=_word(carry_out),
        gone=True,
    )


def _word(work: Callable[[Stage], str]) -> Callable[[Stage], None]:
    def again(stage: Stage) -> None:
        work(stage)

    return again


_MAKE: dict[Kind, Callable[[Scenario], Iterator[Life]]] = {
    Kind.RECOVERY: lambda scenario: _recoveries(scenario, Direction.APPLY),
    Kind.UNDO_RECOVERY: lambda scenario: _recoveries(scenario, Direction.UNDO),
    Kind.FAILURE: lambda scenario: _failures(scenario, Direction.APPLY),
    Kind.UNDO_FAILURE: lambda scenario: _failures(scenario, Direction.UNDO),
    Kind.VERDICT: _verdicts,
    Kind.WORD: _words,
}
