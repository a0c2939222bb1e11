"""A process that applies or undoes an action with the product's own code, and stops where a crash is wanted.

It is forked, works through the proxies, and tells over a pipe when it has come to its point; then it waits for a word.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy import event

from ooda_dagster.core.journal import State
from ooda_dagster.ledger import Action, Ledger, LedgerUnreachableError
from ooda_dagster.loop.by_hand import approve_action, rollback
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.postgres.acting import PostgresActing
from ooda_dagster_tests.actions import stage as processes
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.crash.points import Cell, Direction, Point, When

_PATIENCE_S = 60

#: Breaks the product's code in the worker, before it begins; the matrix must see it.
Mutation = Callable[[Stage], None]


@dataclass
class Doomed:
    """The worker, seen from outside."""

    pid: int
    _pipe: Connection

    def await_point(self) -> None:
        """Until it has come to its point, where it waits."""
        said = self._receive()
        assert said == "reached", f"the worker did not come to its point: {said}"

    def go_on(self) -> None:
        with suppress(BrokenPipeError):
            self._pipe.send("go on")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> str:
        """How it ended: killed, or what it said. Fails where its error is none that the product names."""
        said = self._receive()
        status = processes.wait_for(self.pid)
        self._pipe.close()
        assert status == (-signal.SIGKILL if said == "killed" else 0), f"the worker ended with {status}: {said}"
        return said

    def _receive(self) -> str:
        assert self._pipe.poll(_PATIENCE_S), f"the worker is silent for {_PATIENCE_S} s"
        try:
            return self._pipe.recv()
        except (EOFError, ConnectionResetError):
            return "killed"


def start(stage: Stage, cell: Cell, mutation: Mutation | None = None) -> Doomed:
    """The worker of a cell, on a stage whose connections lead through proxies."""
    ours, theirs = Pipe()

    def run(own: Stage) -> None:
        ours.close()
        _Tripwire(cell.point, theirs).install(own.ledger)
        if mutation is not None:
            mutation(own)
        try:
            note = _work(own, cell)
        except (TargetError, LedgerUnreachableError) as error:
            note = f"{type(error).__name__}: {error}"
        except BaseException:
            theirs.send(traceback.format_exc())
            raise
        theirs.send(note)

    pid = processes.worker(stage, run)
    theirs.close()
    return Doomed(pid, ours)


def _work(stage: Stage, cell: Cell) -> str:
    loop, by = stage.loop, "ann"
    if cell.point.direction == Direction.UNDO:
        (action,) = loop.ledger.actions.list(loop.name)
        return rollback(loop, action, by=by).note
    action = loop.ledger.actions.propose(loop.name, cell.scenario.proposal(stage), by=by, now=loop.clock())
    action = approve_action(loop, action, by=by)
    (outcome,) = loop.executor(by).apply([action])
    return outcome.note


class _Tripwire:
    """Stops the process once, at its point."""

    def __init__(self, point: Point, pipe: Connection) -> None:
        self._point, self._pipe = point, pipe
        self._committing: State | None = None
        self._sent = 0
        self._tripped = False

    def install(self, ledger: Ledger) -> None:
        actions, begin = ledger.actions, PostgresActing._send
        actions.transition = self._journalled(actions.transition, lambda args: args[1])
        actions.propose = self._journalled(actions.propose, lambda _: State.PROPOSED)
        event.listen(ledger.engine, "commit", lambda _: self._at(self._committing, When.BEFORE, When.UNANSWERED))

        def send(session: PostgresActing, statement: str, values: Sequence[str]) -> None:
            self._at(self._sent, When.BEFORE, When.RUNNING, When.UNANSWERED)
            self._sent += 1
            begin(session, statement, values)

        PostgresActing._send = send  # type: ignore[method-assign]

    def _journalled(self, write: Callable[..., Action], to: Callable[[Any], State]) -> Callable[..., Action]:
        def transition(*args: Any, **options: Any) -> Action:
            self._committing = to(args)
            try:
                written = write(*args, **options)
            finally:
                self._committing = None
            self._at(to(args), When.AFTER)
            return written

        return transition

    def _at(self, at: State | int | None, *when: When) -> None:
        # A state is text, and never equal to a number.
        if not self._tripped and at == self._point.at and self._point.when in when:
            self._tripped = True
            self._pipe.send("reached")
            self._pipe.recv()
