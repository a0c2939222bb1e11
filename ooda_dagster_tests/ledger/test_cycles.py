"""Does exactly one cycle run for a target and a due time, whoever starts it and however its worker ends?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from ooda_dagster.ledger import Cycle, CycleRefusedError, Ledger
from ooda_dagster.ledger.conversations import LEASE
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, ask, processes, register
from ooda_dagster_tests.support import dsn_of


def begin(ledger: Ledger, run_id: str = "r1", **values: Any) -> Cycle:
    fields: dict[str, Any] = {"due_at": NOW, "trigger": "schedule", "mode": "propose", "now": NOW}
    return ledger.cycles.begin("t", run_id=run_id, **(fields | values))


def finish(ledger: Ledger, cycle: Cycle, **values: Any) -> None:
    fields: dict[str, Any] = {"now": NOW + MINUTE, "next_due_at": NOW + 30 * MINUTE, "reason": "no change"}
    ledger.cycles.finish(cycle.analysis_id, **(fields | values))


def left_by_a_dead_worker(ledger: Ledger, run_id: str) -> str:
    """The analysis id of a cycle whose process is gone."""
    dsn = dsn_of(ledger)
    processes(1, lambda: begin(Ledger(dsn), run_id))
    left = ledger.cycles.of_run(run_id)
    assert left is not None
    return left.analysis_id


def test_a_new_target_is_due_at_once(known: Ledger) -> None:
    (due,) = known.cycles.queue()
    assert (due.target, due.deliver_at, due.reason) == ("t", NOW, "new target")


def test_registering_again_neither_moves_the_timer_nor_forgets(known: Ledger) -> None:
    known.cycles.request("t", NOW + 9 * MINUTE, "later")
    register(known, mode="auto")
    assert known.cycles.queue()[0].reason == "later"
    assert (known.cycles.registered("t") or {})["mode"] == "auto"


def test_of_two_at_once_exactly_one_runs_and_the_other_is_told_which(known: Ledger) -> None:
    def attempt(n: int) -> Cycle | CycleRefusedError:
        try:
            return begin(known, f"r{n}", due_at=NOW + n * MINUTE)
        except CycleRefusedError as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(attempt, range(4)))
    (winner,) = [f for f in found if isinstance(f, Cycle)]
    losers = [str(f) for f in found if not isinstance(f, Cycle)]
    assert len(losers) == 3
    assert all(f"a cycle of t runs since 2026-03-02T12:00:00.000Z: analysis {winner.analysis_id}" in e for e in losers)


def test_a_due_time_has_one_cycle_however_it_ended(known: Ledger) -> None:
    first = begin(known)
    finish(known, first)
    with pytest.raises(CycleRefusedError, match=f"already ran: analysis {first.analysis_id}, finished"):
        begin(known, "r2")


def test_the_cycle_of_a_dead_worker_is_taken_on_by_the_next_run(known: Ledger) -> None:
    dead = left_by_a_dead_worker(known, "r1")
    second = begin(known, "r2", due_at=NOW + MINUTE)
    assert (second.analysis_id, second.state, second.run_id) == (dead, "running", "r2")
    assert known.cycles.of_run("r1") == known.cycles.of_run("r2") == second
    assert known.cycles.ran("t", NOW + MINUTE) == second


def test_a_dead_worker_s_due_time_is_not_run_again_by_another_run(known: Ledger) -> None:
    left_by_a_dead_worker(known, "r1")
    with pytest.raises(CycleRefusedError, match="already ran"):
        begin(known, "r2")


def test_the_same_run_goes_on_with_its_cycle_after_its_worker_died(known: Ledger) -> None:
    dead = left_by_a_dead_worker(known, "r1")
    again = begin(known, "r1")
    assert (again.analysis_id, again.state) == (dead, "running")


def test_a_run_that_failed_goes_on_under_the_same_analysis(known: Ledger) -> None:
    first = begin(known)
    known.cycles.interrupt(first.analysis_id, "boom", now=NOW)
    again = begin(known)
    assert (again.analysis_id, again.state, again.error) == (first.analysis_id, "running", None)


def test_a_run_that_failed_does_not_go_on_beside_another_cycle(known: Ledger) -> None:
    known.cycles.interrupt(begin(known).analysis_id, "boom", now=NOW)
    other = begin(known, "r2", due_at=NOW + MINUTE)
    with pytest.raises(CycleRefusedError, match=other.analysis_id):
        begin(known)


def test_a_run_that_finished_is_told_so_and_runs_nothing(known: Ledger) -> None:
    finish(known, begin(known))
    assert begin(known).state == "finished"
    assert begin(known, "r2", due_at=NOW + MINUTE).state == "running"


@pytest.mark.parametrize(("later", "runs"), [(LEASE - MINUTE, False), (LEASE + MINUTE, True)])
def test_a_worker_on_another_host_is_believed_for_its_lease(known: Ledger, later: timedelta, runs: bool) -> None:
    begin(known)
    ask(known, "update ooda.cycle set host = 'elsewhere'")
    if runs:
        assert begin(known, "r2", due_at=NOW + MINUTE, now=NOW + later).state == "running"
    else:
        with pytest.raises(CycleRefusedError, match="on elsewhere"):
            begin(known, "r2", due_at=NOW + MINUTE, now=NOW + later)


def test_a_process_with_a_recycled_pid_is_not_the_worker(known: Ledger) -> None:
    begin(known)
    ask(known, "update ooda.cycle set process_started = process_started - 100")
    assert begin(known, "r2", due_at=NOW + MINUTE).state == "running"


def test_targets_do_not_stand_in_each_other_s_way(known: Ledger) -> None:
    register(known, "u")
    begin(known)
    other = known.cycles.begin("u", due_at=NOW, run_id="r2", trigger="x", mode="auto", now=NOW)
    assert other.state == "running"


def test_finishing_moves_the_timer(known: Ledger) -> None:
    cycle = begin(known)
    finish(known, cycle)
    (due,) = known.cycles.queue()
    assert (due.deliver_at, due.reason, due.previous_analysis_id) == (NOW + 30 * MINUTE, "no change", cycle.analysis_id)
    (ended,) = known.cycles.latest("t")
    assert (ended.state, ended.next_due_at, ended.next_due_reason) == ("finished", NOW + 30 * MINUTE, "no change")


def test_a_cycle_is_not_finished_where_the_timer_cannot_be_moved(ledger: Ledger) -> None:
    register(ledger)
    cycle = begin(ledger)
    ask(ledger, "alter table ooda.analyze_queue add constraint never check (reason <> 'no change')")
    with pytest.raises(Exception, match="never"):
        finish(ledger, cycle)
    assert ledger.cycles.latest("t")[0].state == "running"


def test_a_cycle_that_is_finished_twice_moves_the_timer_once(known: Ledger) -> None:
    cycle = begin(known)
    finish(known, cycle)
    finish(known, cycle, next_due_at=NOW + 99 * MINUTE, reason="again")
    assert known.cycles.queue()[0].reason == "no change"


def test_without_a_due_time_the_timer_stays(known: Ledger) -> None:
    finish(known, begin(known), next_due_at=None)
    assert known.cycles.queue()[0].reason == "new target"
    assert known.cycles.latest("t")[0].state == "finished"


def test_a_target_has_one_timer(known: Ledger) -> None:
    for n in range(3):
        known.cycles.request("t", NOW + n * MINUTE, f"reason {n}")
    assert [(d.deliver_at, d.reason) for d in known.cycles.queue()] == [(NOW + 2 * MINUTE, "reason 2")]


def test_a_pause_is_told_once_and_lifted_once(known: Ledger) -> None:
    assert known.cycles.pause("t", NOW)
    assert not known.cycles.pause("t", NOW + MINUTE)
    assert (known.cycles.registered("t") or {})["paused_at"] == NOW
    assert known.cycles.resume("t")
    assert not known.cycles.resume("t")


def test_a_target_that_is_forgotten_leaves_nothing(known: Ledger) -> None:
    begin(known)
    known.cycles.forget("t")
    assert known.cycles.targets() == []
    assert ask(known, "select count(*) from ooda.cycle") == [(0,)]


def test_a_pull_moves_the_timer_only_to_an_earlier_time_and_leaves_its_body(known: Ledger) -> None:
    cycles = known.cycles
    cycles.request("t", NOW, "nothing changed")

    def body() -> object:
        return ask(known, "select body from ooda.analyze_queue where target = 't'")[0][0]

    assert not cycles.pull_forward("t", NOW + MINUTE, "later", lookbackHours=3)
    assert (cycles.queue(["t"])[0].reason, body()) == ("nothing changed", {"lookbackHours": 3})
    assert cycles.pull_forward("t", NOW - MINUTE, "an alarm", requestedBy="me")
    (due,) = cycles.queue(["t"])
    assert (due.deliver_at, due.reason) == (NOW - MINUTE, "an alarm")
    told = {"triggerReason": "an alarm", "reason": "an alarm"}
    assert body() == {"lookbackHours": 3, "requestedBy": "me", **told}
    cycles.request("t", NOW, "nothing changed")
    assert body() == {}
    assert not cycles.pull_forward("nobody", NOW, "an alarm")


def test_a_pull_while_a_cycle_runs_moves_nothing(known: Ledger) -> None:
    known.cycles.request("t", NOW, "nothing changed")
    known.cycles.begin("t", due_at=NOW - MINUTE, run_id="r", trigger="hand", mode="propose", now=NOW)
    assert not known.cycles.pull_forward("t", NOW - MINUTE, "an alarm")
    assert known.cycles.queue(["t"])[0].deliver_at == NOW
    assert "a cycle runs" in (known.cycles.held("t", NOW, MINUTE) or "")
