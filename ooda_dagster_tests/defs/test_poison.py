"""Does a message that nobody can work on end in the dead letters, and does the loop go on?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import dagster as dg
import pytest

from ooda_dagster.core.messages import Hypotheses, Observation
from ooda_dagster.core.settings import Mode
from ooda_dagster.loop import hypothesize
from ooda_dagster.loop.context import Loop, utc_now
from ooda_dagster.targets.base import TargetUnreachableError
from ooda_dagster_tests.defs.ground import NAME, PHASES, Ground

MakeShop = Callable[[Mode], Ground]
WHOLE = hypothesize.hypothesize


def due(made: Ground) -> dg.ExecuteInProcessResult:
    """A run as the schedule starts it."""
    return made.run(tags={"ooda/due_at": utc_now().isoformat(), "ooda/trigger": "schedule"})


def phases(result: dg.ExecuteInProcessResult) -> list[str]:
    return [e.asset_key.path[-1] for e in result.get_asset_materialization_events() if e.asset_key]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """When the phase that fails was tried."""
    tried: list[datetime] = []

    def fails(loop: Loop, observation: Observation) -> Hypotheses:
        tried.append(utc_now())
        raise ZeroDivisionError("poison")

    monkeypatch.setattr(hypothesize, "hypothesize", fails)
    return tried


def test_a_poisoned_message_dies_after_five_attempts_and_the_loop_goes_on(
    shop: MakeShop, calls: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop(Mode.PROPOSE)
    runs = [due(made) for _ in range(3)]
    assert [r.success for r in runs] == [False] * 3
    assert len(calls) == 5  # two attempts of the first run and of the second, the last one of the third
    assert calls[1] - calls[0] >= timedelta(seconds=1)
    assert [phases(r) for r in runs] == [["observations"]] * 3
    (cycle,) = made.cycles
    (letter,) = made.ledger.queues.dead_letters(NAME)
    assert (letter["queue"], letter["phase"], letter["attempts"], letter["error"]) == (
        "hypothesize",
        "observe",
        5,
        "poison",
    )
    assert cycle.state == "failed"
    (timer,) = made.ledger.cycles.queue([NAME])
    assert timedelta(minutes=59) < timer.deliver_at - utc_now() <= timedelta(minutes=61)
    assert "dead after 5 attempts: poison" in timer.reason

    monkeypatch.setattr(hypothesize, "hypothesize", WHOLE)
    after = due(made)
    assert phases(after) == list(PHASES)
    assert [c.state for c in made.cycles] == ["finished", "failed"]


@pytest.mark.slow
def test_a_person_s_cycle_fails_at_once_with_what_failed(shop: MakeShop, calls: list[datetime]) -> None:
    made = shop(Mode.PROPOSE)
    with pytest.raises(ZeroDivisionError, match="poison"):
        made.cycle()
    assert len(calls) == 1
    assert [c.state for c in made.cycles] == ["interrupted"]


@pytest.mark.slow
def test_the_fifth_cycle_of_a_person_says_that_it_was_the_last_attempt(shop: MakeShop, calls: list[datetime]) -> None:
    made = shop(Mode.PROPOSE)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError, match="poison"):
            made.cycle()
    assert len(made.cycles) == 1
    assert [d["attempts"] for d in made.ledger.queues.dead_letters(NAME)] == [5]


def test_a_message_that_nobody_can_read_dies_at_once(shop: MakeShop, calls: list[datetime]) -> None:
    made = shop(Mode.PROPOSE)
    with pytest.raises(ZeroDivisionError):
        made.cycle()
    with made.ledger.engine.begin() as conn:
        conn.exec_driver_sql("update ooda.message set body = '{\"target\": 1}' where phase = 'observe'")
    result = due(made)
    assert not result.success
    assert len(calls) == 1
    (letter,) = made.ledger.queues.dead_letters(NAME)
    assert "Field required" in letter["error"]
    assert [c.state for c in made.cycles] == ["failed"]


def test_a_phase_that_sends_what_it_may_not_dies_at_once(shop: MakeShop, monkeypatch: pytest.MonkeyPatch) -> None:
    made = shop(Mode.PROPOSE)
    monkeypatch.setattr(hypothesize, "hypothesize", lambda loop, observation: observation)
    assert not due(made).success
    (letter,) = made.ledger.queues.dead_letters(NAME)
    assert (letter["attempts"], letter["error"]) == (1, "hypotheses may send Hypotheses, not Observation")


@pytest.mark.timeout(120)
def test_a_target_that_is_away_is_tried_again_and_its_cycle_goes_on(shop: MakeShop) -> None:
    made = shop(Mode.PROPOSE)
    made.database.execute(f"alter database {made.database.name} allow_connections off", dsn=made.database.cluster.dsn())
    try:
        with pytest.raises(TargetUnreachableError):
            made.cycle()
        assert not due(made).success
    finally:
        made.database.execute(
            f"alter database {made.database.name} allow_connections on", dsn=made.database.cluster.dsn()
        )
    (broken,) = made.cycles
    assert broken.state == "interrupted"
    assert due(made).success
    assert [(c.analysis_id, c.state) for c in made.cycles] == [(broken.analysis_id, "finished")]
