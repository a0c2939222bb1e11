"""Is a phase's output kept once for an analysis, and is a replay apart from it?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from ooda_dagster.core.messages import Analyze, Hypothesis, Observation
from ooda_dagster.core.settings import Mode
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, ask, register


def observation(analysis_id: str = "a1", *, anomalies: int = 0, replayed: bool = False) -> Observation:
    return Observation(
        analysis_id=analysis_id,
        target="t",
        timestamp=NOW,
        mode=Mode.PROPOSE,
        lookback_hours=24,
        anomaly_count=anomalies,
        replayed=replayed,
        window_start=NOW - MINUTE,
    )


def test_a_message_comes_back_equal(known: Ledger) -> None:
    kept = known.messages.store(observation(anomalies=3), "r1")
    assert kept == observation(anomalies=3) == known.messages.load(Observation, "a1")


def test_a_phase_that_ran_keeps_its_first_output(known: Ledger) -> None:
    known.messages.store(observation(anomalies=1), "r1")
    again = known.messages.store(observation(anomalies=2), "r2")
    assert again.anomaly_count == 1
    assert ask(known, "select run_id, body->>'anomalyCount' from ooda.message") == [("r1", "1")]


def test_two_that_store_at_once_agree(known: Ledger) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: known.messages.store(observation(anomalies=n), f"r{n}"), range(4)))
    assert len({message.anomaly_count for message in found}) == 1


def test_a_replay_stands_beside_and_is_never_the_newest(known: Ledger) -> None:
    known.messages.store(observation("a1", anomalies=1), "r1")
    known.messages.store(observation("replay-of-a1", anomalies=2, replayed=True), "r2")
    newest = known.messages.latest(Observation, "t")
    assert newest is not None
    assert (newest.analysis_id, newest.replayed) == ("a1", False)
    replay = known.messages.load(Observation, "replay-of-a1")
    assert replay is not None
    assert replay.replayed


def test_what_was_not_said_is_none(known: Ledger) -> None:
    assert known.messages.load(Observation, "a1") is None
    assert known.messages.latest(Observation, "t") is None


@pytest.mark.parametrize("text", ["日本語 'quoted' \"double\" \\ back", "emoji 🐘", "line\nbreak"])
def test_text_of_any_kind_comes_back(known: Ledger, text: str) -> None:
    message = observation().model_copy(update={"gaps": [text]})
    assert known.messages.store(message, "r1").gaps == [text]


def test_a_hypothesis_is_kept_once_whatever_becomes_of_it(known: Ledger) -> None:
    found = Hypothesis(
        hypothesis_id="h1",
        hypothesis_type="IndexOptimization",
        priority=4,
        description="d",
        identity="i",
        blocked_by="size",
    )
    for _ in range(2):
        known.hypotheses.record("t", "a1", found)
    assert ask(known, "select hypothesis_id, analysis_id, priority, blocked_by from ooda.hypothesis") == [
        ("h1", "a1", 4, "size")
    ]


def test_old_messages_of_a_target_go_with_their_dead_letters(known: Ledger) -> None:
    register(known, "u")
    for name in ("t", "u"):
        begun = known.cycles.begin(name, due_at=NOW, run_id=name, trigger="hand", mode="propose", now=NOW)
        known.messages.bury(Analyze, begun.analysis_id, "cannot be read", now=NOW)
    known.messages.store(observation("young"), "r1")
    ask(known, "update ooda.message set created_at = :at where phase = 'analyze'", at=NOW)
    known.messages.prune("t", NOW + MINUTE)
    assert ask(known, "select target, phase from ooda.message order by 1") == [("t", "observe"), ("u", "analyze")]
    assert [d["target"] for d in known.queues.dead_letters()] == ["u"]
