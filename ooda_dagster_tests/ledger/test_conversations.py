"""Does a cycle that broke off go on where it was, and does a message that nobody can work on end somewhere?"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from ooda_dagster.core.messages import Analyze, Hypotheses, LearningDelta, Observation
from ooda_dagster.core.settings import Messaging, Mode
from ooda_dagster.ledger import Cycle, CycleRefusedError, Ledger
from ooda_dagster.ledger.conversations import APPROVAL, Start
from ooda_dagster.ledger.conversations import begin as begin_in
from ooda_dagster.ledger.database import connection
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, ask

FIVE = Messaging()


def begin(ledger: Ledger, run: int = 1, **values: Any) -> Cycle:
    """The run that is due `run` minutes after noon."""
    at = NOW + run * MINUTE
    fields: dict[str, Any] = {"due_at": at, "run_id": f"r{run}", "trigger": "schedule", "mode": "propose", "now": at}
    return ledger.cycles.begin("t", **(fields | values))


def observed(cycle: Cycle) -> Observation:
    return Observation(analysis_id=cycle.analysis_id, target="t", timestamp=NOW, mode=Mode.PROPOSE, lookback_hours=24)


def letters(ledger: Ledger) -> list[tuple[str, str, int, str]]:
    return [(d["queue"], d["phase"], d["attempts"], d["error"]) for d in ledger.queues.dead_letters("t")]


def waits(ledger: Ledger) -> dict[str, int]:
    return {depth.queue: depth.messages for depth in ledger.queues.depths("t") if depth.messages}


def test_a_message_waits_until_its_answer_is_stored(known: Ledger) -> None:
    cycle = begin(known)
    assert waits(known) == {"analyze": 2}  # the timer's request, and the one that this cycle received
    known.messages.store(observed(cycle), "r1")
    assert waits(known) == {"analyze": 1, "hypothesize": 1}
    found = Hypotheses(analysis_id=cycle.analysis_id, target="t", timestamp=NOW)
    known.messages.store(found, "r1")
    assert waits(known) == {"analyze": 1, "act": 1}


def test_the_answer_and_the_receipt_are_one_transaction(known: Ledger) -> None:
    cycle = begin(known)
    ask(known, "alter table ooda.message add constraint never check (acknowledged_at is null)")
    try:
        with pytest.raises(IntegrityError, match="never"):
            known.messages.store(observed(cycle), "r1")
    finally:
        ask(known, "alter table ooda.message drop constraint never")
    assert known.messages.load(Observation, cycle.analysis_id) is None


def test_a_replay_waits_for_nobody(known: Ledger) -> None:
    begin(known)
    replay = observed(begin(known)).model_copy(update={"analysis_id": "replay-1", "replayed": True})
    known.messages.store(replay, "r9")
    assert waits(known) == {"analyze": 2}


def test_receipts_are_counted_until_the_answer(known: Ledger) -> None:
    cycle = begin(known)
    counted = [known.messages.receive(Analyze, cycle.analysis_id, now=NOW) for _ in range(3)]
    known.messages.store(observed(cycle), "r1")
    assert counted == [1, 2, 3]
    assert known.messages.receive(Analyze, cycle.analysis_id, now=NOW) == 0
    assert known.messages.attempts(Analyze, cycle.analysis_id) == 3


def test_a_cycle_that_broke_off_is_due_soon_and_later_each_time(known: Ledger) -> None:
    delays = []
    for run in range(1, 5):
        cycle = begin(known, run)
        known.messages.receive(Analyze, cycle.analysis_id, now=NOW)
        known.cycles.interrupt(cycle.analysis_id, "the target is gone", now=NOW)
        (due,) = known.cycles.queue()
        delays.append((due.deliver_at - NOW) // MINUTE)
        assert due.reason == f"goes on with a cycle that broke off at attempt {run} of 5: the target is gone"
    assert delays == [5, 10, 20, 40]
    assert len(known.cycles.latest("t")) == 1


def test_the_fifth_attempt_is_the_last(known: Ledger) -> None:
    cycle = begin(known)
    known.messages.store(observed(cycle), "r1")
    known.cycles.interrupt(cycle.analysis_id, "its run was killed", now=NOW)
    for run in range(2, 7):
        again = begin(known, run)
        assert again.analysis_id == cycle.analysis_id
        known.messages.receive(Observation, cycle.analysis_id, now=NOW)
        known.cycles.interrupt(cycle.analysis_id, "poison", now=NOW + run * MINUTE)
    assert letters(known) == [("hypothesize", "observe", 5, "poison")]
    ended = known.cycles.get(cycle.analysis_id)
    assert ended is not None
    assert (ended.state, ended.error) == ("failed", "observe's message is dead after 5 attempts: poison")
    (due,) = known.cycles.queue()
    assert due.deliver_at == NOW + 66 * MINUTE
    assert begin(known, 70).analysis_id != cycle.analysis_id


def test_workers_that_are_killed_each_time_end_in_the_dead_letters_too(known: Ledger) -> None:
    first = begin(known)
    for run in range(2, 6):
        known.messages.receive(Analyze, first.analysis_id, now=NOW)
        ask(known, "update ooda.cycle set process_started = process_started - 100")
        assert begin(known, run).analysis_id == first.analysis_id
    known.messages.receive(Analyze, first.analysis_id, now=NOW)
    ask(known, "update ooda.cycle set process_started = process_started - 100")
    assert begin(known, 6).analysis_id != first.analysis_id
    assert letters(known) == [("analyze", "analyze", 5, "its worker died")]


def test_what_no_attempt_can_mend_dies_at_once(known: Ledger) -> None:
    cycle = begin(known)
    known.messages.receive(Analyze, cycle.analysis_id, now=NOW)
    known.messages.bury(Analyze, cycle.analysis_id, "cannot be read", now=NOW)
    assert letters(known) == [("analyze", "analyze", 1, "cannot be read")]
    with pytest.raises(CycleRefusedError, match="ended: analyze's message is dead after 1 attempts"):
        begin(known)


def test_a_conversation_that_is_too_old_is_not_taken_on(known: Ledger) -> None:
    first = begin(known)
    known.cycles.interrupt(first.analysis_id, "boom", now=NOW)
    late = NOW + timedelta(hours=FIVE.lifetime_h, minutes=2)
    second = begin(known, 2, now=late)
    assert second.analysis_id != first.analysis_id
    assert (known.cycles.get(first.analysis_id) or first).error == "its lifetime was over; last: boom"


def test_who_wants_a_fresh_look_gets_one(known: Ledger) -> None:
    first = begin(known)
    known.cycles.interrupt(first.analysis_id, "boom", now=NOW)
    second = begin(known, 2, fresh=True)
    assert second.analysis_id != first.analysis_id
    assert (known.cycles.get(first.analysis_id) or first).state == "failed"


def test_a_dry_run_leaves_a_broken_cycle_to_the_next_real_one(known: Ledger) -> None:
    first = begin(known)
    known.cycles.interrupt(first.analysis_id, "boom", now=NOW)
    dry = begin(known, 2, dry_run=True)
    assert dry.analysis_id != first.analysis_id
    known.cycles.interrupt(dry.analysis_id, "dry boom", now=NOW)
    assert (known.cycles.get(dry.analysis_id) or dry).state == "failed"
    assert begin(known, 3).analysis_id == first.analysis_id


def test_a_broken_cycle_of_a_due_time_that_another_run_answers_is_not_begun_again(known: Ledger) -> None:
    first = begin(known)
    known.cycles.interrupt(first.analysis_id, "boom", now=NOW)
    begin(known, 2)
    with pytest.raises(CycleRefusedError, match=f"already ran: analysis {first.analysis_id}"):
        begin(known, 3, due_at=NOW + 2 * MINUTE)


def test_a_cycle_hands_its_request_on(known: Ledger) -> None:
    known.cycles.request("t", NOW, "somebody asks", body={"lookbackHours": 48, "requestedBy": "app"})
    analyze = known.messages.load(Analyze, begin(known).analysis_id)
    assert analyze is not None
    assert (analyze.trigger_reason, analyze.lookback_hours, analyze.requested_by) == ("somebody asks", 48, "app")


def test_learning_hands_on_what_the_next_cycle_is_told(known: Ledger) -> None:
    first = begin(known)
    learned = LearningDelta(
        analysis_id=first.analysis_id,
        target="t",
        timestamp=NOW + MINUTE,
        performance_metrics={"latencyImprovement": -40.0},
        proven_improvement=13.0,
        next_due_at=NOW + 16 * MINUTE,
        next_due_reason="an action made its statements 13% faster",
        delay_minutes=15,
    )
    known.messages.store(learned, "r1")
    analyze = known.messages.load(Analyze, begin(known, 16).analysis_id)
    assert analyze is not None
    assert analyze.body() | {"timestamp": ""} == {
        "analysisId": analyze.analysis_id,
        "target": "t",
        "timestamp": "",
        "replayed": False,
        "triggerReason": "LearningCycleComplete",
        "reason": "an action made its statements 13% faster",
        "previousAnalysisId": first.analysis_id,
        "latencyImprovement": -40.0,
        "provenImprovement": 13.0,
        "delayMinutes": 15,
        "lookbackHours": None,
        "requestedBy": None,
    }


def test_an_alarm_that_comes_before_names_itself_and_leaves_what_was_learned(known: Ledger) -> None:
    first = begin(known)
    learned = LearningDelta(
        analysis_id=first.analysis_id,
        target="t",
        timestamp=NOW + MINUTE,
        next_due_at=NOW + 31 * MINUTE,
        next_due_reason="verification open",
        delay_minutes=30,
    )
    known.messages.store(learned, "r1")
    assert known.cycles.pull_forward("t", NOW + 5 * MINUTE, "requests fail")
    analyze = known.messages.load(Analyze, begin(known, 5).analysis_id)
    assert analyze is not None
    assert (analyze.trigger_reason, analyze.reason) == ("requests fail", "requests fail")
    assert (analyze.previous_analysis_id, analyze.delay_minutes) == (first.analysis_id, 30)


def test_a_request_that_is_not_due_yet_is_not_taken_by_a_run_of_hand(known: Ledger) -> None:
    known.cycles.request("t", NOW + 30 * MINUTE, "in half an hour", body={"lookbackHours": 48})
    analyze = known.messages.load(Analyze, begin(known, trigger="hand").analysis_id)
    assert analyze is not None
    assert (analyze.trigger_reason, analyze.lookback_hours) == ("hand", None)


def test_a_request_for_a_lookback_of_its_own_gets_a_cycle_of_its_own(known: Ledger) -> None:
    first = begin(known)
    known.cycles.interrupt(first.analysis_id, "boom", now=NOW + MINUTE)
    assert known.cycles.pull_forward("t", NOW + 2 * MINUTE, "app asks", lookbackHours=48, requestedBy="app")
    second = begin(known, 2)
    assert second.analysis_id != first.analysis_id
    analyze = known.messages.load(Analyze, second.analysis_id)
    assert analyze is not None
    assert analyze.lookback_hours == 48


def test_who_asks_while_a_cycle_begins_waits_for_it(known: Ledger) -> None:
    """Between the look at the request and the cycle's row, nothing that is asked may get lost."""
    start = Start(NOW, "r1", "schedule", "propose")
    with ThreadPoolExecutor(1) as pool:
        with connection(known.engine) as conn:
            begin_in(conn, "t", start, now=NOW, policy=FIVE)
            asked = pool.submit(known.cycles.pull_forward, "t", NOW, "app asks", lookbackHours=48)
            time.sleep(0.5)
            assert not asked.done()
        assert asked.result(5) is False
    assert known.cycles.queue()[0].body == {}


@pytest.mark.parametrize("killed", [False, True])
def test_approvals_that_broke_off_are_left_to_the_next_cycle(known: Ledger, killed: bool) -> None:
    known.cycles.request("t", NOW + 30 * MINUTE, "in half an hour")
    first = begin(known, trigger=APPROVAL, analysis_id="approved-r1")
    if killed:
        ask(known, "update ooda.cycle set process_started = process_started - 100")
    else:
        known.cycles.interrupt(first.analysis_id, "boom", now=NOW)
        assert known.cycles.queue()[0].reason == "in half an hour"
    assert begin(known, 2).analysis_id != first.analysis_id
    assert (known.cycles.get(first.analysis_id) or first).state == "failed"


def test_a_reset_ends_what_is_open_and_clears_the_dead(known: Ledger) -> None:
    first = begin(known)
    known.messages.receive(Analyze, first.analysis_id, now=NOW)
    known.messages.bury(Analyze, first.analysis_id, "cannot be read", now=NOW)
    second = begin(known, 2)
    known.cycles.interrupt(second.analysis_id, "boom", now=NOW)
    ended, held, cleared = known.queues.reset("t", by="ann", now=NOW)
    assert (ended, held, cleared) == ([second.analysis_id], [], 1)
    assert letters(known) == []
    assert known.queues.conversations("t") == []
    assert ask(known, "select cleared_by from ooda.dead_letter") == [("ann",)]


def test_a_reset_leaves_a_living_worker_its_cycle(known: Ledger) -> None:
    cycle = begin(known)
    assert known.queues.reset("t", by="ann", now=NOW) == ([], [cycle.analysis_id], 0)
    assert [c.state for c in known.queues.conversations("t")] == ["running"]
