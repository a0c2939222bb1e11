"""Does a run that was killed between two phases go on where it was, and do nothing twice?"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.loop.context import utc_now
from ooda_dagster_tests.defs.ground import NAME, PHASES, Ground


def killed_after(ground: Ground, phase: str) -> str:
    """A run whose worker is killed (SIGKILL) as soon as the output of `phase` is stored; its id."""
    run_id = str(uuid.uuid4())
    argv = [sys.executable, "-m", "ooda_dagster_tests.defs.worker", str(ground.directory), run_id, phase]
    worker = subprocess.Popen(argv, env={**os.environ, **ground.environment}, stdout=subprocess.PIPE, text=True)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() == "stored"
    finally:
        worker.kill()
        worker.wait()
        if worker.stdout:
            worker.stdout.close()
    return run_id


def outputs(ground: Ground) -> dict[str, str]:
    """Phase and the run that stored its output, of the only analysis."""
    with ground.ledger.engine.connect() as connection:
        rows = connection.exec_driver_sql("select phase, run_id from ooda.message").all()
    assert len(rows) == len({phase for phase, _ in rows})
    return {phase: run_id for phase, run_id in rows}  # noqa: C416


@pytest.mark.parametrize(
    ("phase", "done", "left"),
    [
        pytest.param("decide", ["observe", "hypothesize", "decide"], ["act", "learn"], marks=pytest.mark.slow),
        pytest.param("act", ["observe", "hypothesize", "decide", "act"], ["learn"], marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_is_resumed_under_its_analysis_id(
    shop: Callable[[Mode], Ground], phase: str, done: list[str], left: list[str]
) -> None:
    made = shop(Mode.AUTO)
    killed = killed_after(made, phase)
    (begun,) = made.cycles
    assert (begun.state, begun.run_id) == ("running", killed)

    result = made.re_execute(killed)
    assert result.success
    assert outputs(made) == {"analyze": killed, **dict.fromkeys(done, killed), **dict.fromkeys(left, result.run_id)}
    assert [(c.analysis_id, c.state) for c in made.cycles] == [(begun.analysis_id, "finished")]
    (action,) = made.ledger.actions.list(NAME)
    moves = [row["to_state"] for row in made.ledger.actions.history(action.action_id)]
    assert moves.count(State.APPLYING) == 1
    assert action.state == State.VERIFYING
    assert result.run_id != killed
    assert made.run_tags(result.run_id)["ooda/analysis_id"] == begun.analysis_id
    assert len(PHASES) == len(done) + len(left)


@pytest.mark.slow
def test_a_retry_of_the_steps_that_were_left_goes_on_with_the_cycle(shop: Callable[[Mode], Ground]) -> None:
    """As Dagster's own retries do it: from failure."""
    made = shop(Mode.AUTO)
    killed = killed_after(made, "decide")
    result = made.re_execute(killed, ["action_results", "learning_deltas"])
    assert result.success
    assert [c.state for c in made.cycles] == ["finished"]
    assert [a.state for a in made.ledger.actions.list(NAME)] == [State.VERIFYING]
    assert made.ledger.cycles.queue([NAME])[0].previous_analysis_id == made.cycles[0].analysis_id


def test_another_run_goes_on_with_what_a_killed_one_left(shop: Callable[[Mode], Ground]) -> None:
    """The next due time comes, and no daemon retried the run: same analysis, no phase done twice."""
    made = shop(Mode.AUTO)
    killed = killed_after(made, "decide")
    (begun,) = made.cycles
    result = made.run(tags={"ooda/due_at": utc_now().isoformat(), "ooda/trigger": "schedule"})
    assert result.success
    done = ["analyze", "observe", "hypothesize", "decide"]
    assert outputs(made) == {**dict.fromkeys(done, killed), **dict.fromkeys(["act", "learn"], result.run_id)}
    assert [(c.analysis_id, c.state) for c in made.cycles] == [(begun.analysis_id, "finished")]
    assert made.run_tags(result.run_id)["ooda/analysis_id"] == begun.analysis_id
    (action,) = made.ledger.actions.list(NAME)
    moves = [row["to_state"] for row in made.ledger.actions.history(action.action_id)]
    assert moves.count(State.APPLYING) == 1


@pytest.mark.slow
def test_a_retry_does_not_run_beside_a_newer_cycle(shop: Callable[[Mode], Ground]) -> None:
    made = shop(Mode.PROPOSE)
    killed = killed_after(made, "decide")
    loop = made.loop
    made.ledger.cycles.begin(
        NAME, due_at=loop.clock(), run_id="newer", trigger="hand", mode="propose", now=loop.clock(), fresh=True
    )
    result = made.re_execute(killed, ["action_results", "learning_deltas"])
    assert "given up for a new one" in made.run_tags(result.run_id)["ooda/skipped"]
    assert set(outputs(made)) == {"observe", "hypothesize", "decide"}
