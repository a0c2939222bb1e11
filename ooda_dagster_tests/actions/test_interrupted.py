"""Does an interrupted build leave nothing, whichever way the interruption comes?"""

from __future__ import annotations

import os
import signal
from typing import Any, NoReturn

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster_tests.actions.stage import (
    Stage,
    await_build,
    in_thread,
    read_elsewhere,
    wait_for,
    worker,
    write_to_orders,
    writer,
)


class Terminated(BaseException):
    """As the exception by which Dagster ends a run that somebody terminates."""


def terminate(number: int, frame: Any) -> NoReturn:
    raise Terminated


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_during_a_build_leaves_nothing(stage: Stage, sent: signal.Signals) -> None:
    before, action = stage.definitions(), stage.approved()

    def work(own: Stage) -> None:
        signal.signal(signal.SIGTERM, terminate)
        own.apply(action)

    with writer(stage.database) as stalls:
        with read_elsewhere(stage.database):
            pid = worker(stage, work)
            await_build(stage.database)
            os.kill(pid, sent)
            assert wait_for(pid) == 1
        assert max(stalls) < 1
    assert stage.now(action).state == State.FAILED
    assert stage.now(action).error == "interrupted"
    assert stage.definitions() == before
    assert stage.recover() == []


def test_a_backend_that_an_admin_ends_leaves_nothing(stage: Stage) -> None:
    before, action = stage.definitions(), stage.approved()
    with in_thread(lambda: stage.apply(action)) as found:
        with write_to_orders(stage.database):
            backend = await_build(stage.database)
            stage.database.execute("select pg_terminate_backend(%s)", backend)
    (outcome,) = found
    assert outcome.action.state == State.FAILED
    assert "connection was lost" in outcome.note
    assert stage.definitions() == before
    assert stage.recover() == []
