"""A process that does a work of the product's own code, and stops where a crash is wanted.

It is forked, works through the proxies, and tells over a pipe when it has come to a stop; then it waits for a word.
"""

from __future__ import annotations

import os
import re
import signal
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy import event

from ooda_dagster.core.journal import State
from ooda_dagster.ledger import Ledger, LedgerUnreachableError
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.postgres.acting import PostgresActing
from ooda_dagster_tests.actions import stage as processes
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.crash.points import Moment, Step, Stop, When

_PATIENCE_S = 60
#: Characters of a statement that tell it from others; the server shows a longer one cut.
_MOST = 80
#: A statement's text before an id of an action, or before its mark.
_BEFORE_ID = re.compile(r" /\*|[0-9a-f]{8}-[0-9a-f]{4}-")

#: What the worker does; its last word.
Work = Callable[[Stage], str]
#: Breaks the product's code in the worker, before it begins; the matrix must see it.
Mutation = Callable[[Stage], None]


@dataclass
class Doomed:
    """The worker, seen from outside. steps: what it did, once it ended by itself."""

    pid: int
    _pipe: Connection
    steps: list[Step] = field(default_factory=list)

    def await_point(self) -> None:
        """Until it has come to its next stop, where it waits."""
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
            said = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            return "killed"
        if isinstance(said, list):
            self.steps = said
            return self._receive()
        return said


def start(stage: Stage, work: Work, stops: Sequence[Stop], mutation: Mutation | None = None) -> Doomed:
    """A worker on a stage whose connections lead through proxies. It stops at each of `stops`, in their order."""
    ours, theirs = Pipe()

    def run(own: Stage) -> None:
        ours.close()
        tripwire = _Tripwire(stops, theirs)
        tripwire.install(own.ledger)
        if mutation is not None:
            mutation(own)
        try:
            note = work(own)
        except (TargetError, LedgerUnreachableError) as error:
            note = f"{type(error).__name__}: {error}"
        except BaseException:
            theirs.send(traceback.format_exc())
            raise
        theirs.send(tripwire.steps)
        theirs.send(note)

    pid = processes.worker(stage, run)
    theirs.close()
    return Doomed(pid, ours)


class _Tripwire:
    """Stops the process at each of its stops, once, and notes every step."""

    def __init__(self, stops: Sequence[Stop], pipe: Connection) -> None:
        self._stops = list(stops)
        self._pipe = pipe
        self._committing: int | None = None  # ordinal of its step
        self._sent = 0
        self.steps: list[Step] = []

    def install(self, ledger: Ledger) -> None:
        actions, looks, begin = ledger.actions, ledger.verifications, PostgresActing._send
        actions.transition = self._journalled(actions.transition, lambda args: args[1])
        actions.propose = self._journalled(actions.propose, lambda _: State.PROPOSED)
        for book, name, what in (
            (actions, "note", "a note"),
            (actions, "record_improvement", "the improvement"),
            (actions, "learned", "what was learned"),
            (looks, "record", "a look"),
            (looks, "update", "the verification"),
            (ledger.evidence, "written", "the evidence"),
        ):
            setattr(book, name, self._journalled(getattr(book, name), lambda _, what=what: what))
        event.listen(ledger.engine, "commit", lambda _: self._before_commit())

        def send(session: PostgresActing, statement: str, values: Sequence[str]) -> int:
            self._sending(statement)
            return begin(session, statement, values)

        PostgresActing._send = send  # type: ignore[method-assign]

    def _journalled(self, write: Callable[..., Any], what: Callable[[Any], str]) -> Callable[..., Any]:
        def transition(*args: Any, **options: Any) -> Any:
            ordinal = self._begin(Step(what(args)))
            self._committing = ordinal
            try:
                written = write(*args, **options)
            finally:
                self._committing = None
            self._at(ordinal, None, When.AFTER)
            return written

        return transition

    def _before_commit(self) -> None:
        if self._committing is not None:
            self._at(self._committing, None, When.BEFORE, When.UNANSWERED)

    def _sending(self, statement: str) -> None:
        text = _BEFORE_ID.split(statement, maxsplit=1)[0].lower()[:_MOST]
        number, self._sent = self._sent, self._sent + 1
        self._at(self._begin(Step(text, is_statement=True)), number, When.BEFORE, When.RUNNING, When.UNANSWERED)

    def _begin(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def _at(self, ordinal: int, number: int | None, *when: When) -> None:
        moment = Moment(self.steps[ordinal], ordinal, number, when)
        while self._stops and self._stops[0](moment):
            self._stops.pop(0)
            self._pipe.send("reached")
            self._pipe.recv()
