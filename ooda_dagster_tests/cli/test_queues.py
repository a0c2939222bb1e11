"""`ooda queues`: does a person see what waits and what died, and can they clear it without hurting what lives?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ooda_dagster.core.messages import Analyze
from ooda_dagster.ledger import Cycle, Ledger
from ooda_dagster_tests.cli.conftest import Run


@pytest.fixture
def cycle(configured: Callable[..., None], ledger: Ledger) -> Callable[[str], Cycle]:
    """Begins a cycle of `shop`: `cycle("dead")`, `cycle("interrupted")`, `cycle("running")`."""

    def begin(state: str) -> Cycle:
        configured()
        now = datetime.now(UTC)
        ledger.cycles.register("shop", kind="postgres", mode="propose", now=now)
        begun = ledger.cycles.begin("shop", due_at=now, run_id=state, trigger="hand", mode="propose", now=now)
        ledger.messages.receive(Analyze, begun.analysis_id, now=now)
        if state == "dead":
            ledger.messages.bury(Analyze, begun.analysis_id, "the moon is full", now=now)
        if state == "interrupted":
            ledger.cycles.interrupt(begun.analysis_id, "the target is away", now=now)
        return begun

    return begin


def test_queues_timers_conversations_and_dead_letters_are_shown(ooda: Run, cycle: Callable[[str], Cycle]) -> None:
    cycle("dead")
    broken = cycle("interrupted")
    ran = ooda("queues", "list")
    assert ran.code == 0
    for words in ("analyze", "hypothesize", "act", "learn", "the moon is full", broken.analysis_id, "interrupted"):
        assert words in ran.out
    assert "goes on with a cycle that broke off at attempt 1 of 5: the target is away" in " ".join(ran.out.split())


def test_the_list_as_json(ooda: Run, cycle: Callable[[str], Cycle]) -> None:
    dead, broken = cycle("dead"), cycle("interrupted")
    found = ooda("queues", "list", "--json").json
    depths = {q["queue"]: (q["messages"], q["conversations"], q["dead_letters"]) for q in found["queues"]}
    assert depths == {"analyze": (2, 1, 1), "hypothesize": (0, 0, 0), "act": (0, 0, 0), "learn": (0, 0, 0)}
    assert [c["analysis_id"] for c in found["conversations"]] == [broken.analysis_id]
    assert [(d["analysis_id"], d["attempts"]) for d in found["dead_letters"]] == [(dead.analysis_id, 1)]
    (timer,) = found["timers"]
    assert datetime.fromisoformat(timer["deliver_at"]) - datetime.now(UTC) <= timedelta(minutes=6)


def test_an_unknown_target_is_named(ooda: Run, cycle: Callable[[str], Cycle]) -> None:
    cycle("running")
    ran = ooda("queues", "list", "--target", "shpo")
    assert ran.code == 2
    assert "did you mean 'shop'?" in ran.err


def test_a_reset_says_what_it_did_and_is_audited(ooda: Run, cycle: Callable[[str], Cycle], ledger: Ledger) -> None:
    cycle("dead")
    broken = cycle("interrupted")
    done = ooda("queues", "reset", "--target", "shop", "--why", "mended", "--json").json
    assert (done["ended"], done["still_running"], done["cleared_dead_letters"]) == ([broken.analysis_id], [], 1)
    assert [c.state for c in ledger.cycles.latest("shop")] == ["failed", "failed"]
    with ledger.engine.connect() as connection:
        rows = connection.exec_driver_sql("select detail->>'why' from ooda.audit_event where event = 'queues reset'")
        assert rows.scalars().all() == ["mended"]


def test_a_reset_leaves_a_living_process_alone(ooda: Run, cycle: Callable[[str], Cycle], ledger: Ledger) -> None:
    running = cycle("running")
    ran = ooda("queues", "reset", "--all")
    assert f"{running.analysis_id} goes on" in ran.out
    assert ledger.cycles.running("shop") is not None


def test_a_reset_wants_to_know_of_what(ooda: Run, cycle: Callable[[str], Cycle]) -> None:
    cycle("running")
    ran = ooda("queues", "reset")
    assert ran.code == 2
    assert "give --target, or --all" in ran.err
