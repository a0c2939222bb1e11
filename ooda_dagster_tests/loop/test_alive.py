"""Is a dead loop told from one that waits, works or has nothing to do - with the evidence and what mends it?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from ooda_dagster.core.errors import one_line
from ooda_dagster.core.seen import BlindSpot
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.alive import liveness
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, ask, snapshot
from ooda_dagster_tests.loop.life import Life


@pytest.fixture
def life(books: Ledger) -> Life:
    return Life(books)


def test_a_loop_that_waits_is_alive_and_shows_its_evidence(life: Life) -> None:
    life.cycle(NOW - 20 * MINUTE)
    assert (life.now.alive, life.now.why) == (True, "the loop is alive")
    facts = {fact.what: fact.value for fact in life.now.facts}
    assert facts["last cycle ended"] == "2026-03-02T11:40:00.000Z (finished)"
    assert facts["next cycle due"] == "2026-03-02T12:10:00.000Z (verification open)"
    assert facts["last sample"] == "2026-03-02T11:59:00.000Z"
    assert facts["paused"] == "no"


def test_a_target_that_was_never_seen_is_not_alive(books: Ledger) -> None:
    found = liveness(books, "nobody", NOW)
    assert not found.alive
    assert "never seen it. Remedy: is the Dagster daemon running" in found.why


@pytest.mark.parametrize(("late", "alive"), [(10, True), (11, False)])
def test_a_cycle_may_wait_ten_minutes_and_no_longer(life: Life, late: int, alive: bool) -> None:
    life.due(NOW - late * MINUTE)
    assert life.now.alive == alive
    if not alive:
        assert "11 min ago and none runs. Remedy: is the Dagster daemon running" in life.now.why
        assert "ooda_adaptive_delay" in life.now.why


def test_a_cycle_that_runs_is_life(life: Life) -> None:
    life.due(NOW - timedelta(hours=1))
    life.cycle(NOW - timedelta(hours=1), ends=False)
    assert life.wrong == []


def test_a_cycle_that_runs_for_longer_than_any_should_is_none(life: Life) -> None:
    life.cycle(NOW - timedelta(hours=7), ends=False)
    assert life.wrong == ["cycle running"]


def test_a_timer_that_is_not_set_is_death(life: Life) -> None:
    ask(life.ledger, "delete from ooda.analyze_queue where target = :n", n=life.name)
    assert life.wrong == ["next cycle due"]
    assert f"`ooda cycle --target {life.name}`" in life.now.why


@pytest.mark.parametrize(("age", "wrong"), [(15, []), (16, ["last sample"])])
def test_samples_grow_stale(life: Life, age: int, wrong: list[str]) -> None:
    life.sampled(NOW - age * MINUTE)
    assert life.wrong == wrong


def test_a_target_that_was_never_sampled_is_told_too(life: Life) -> None:
    life.sampled(None)
    assert life.wrong == ["last sample"]
    assert "never, 24 h without one. Remedy" in life.now.why


def test_no_sample_is_expected_of_a_target_without_statement_statistics(life: Life) -> None:
    life.sampled(None)
    life.observed(BlindSpot(what="statement statistics", why="not installed", remedy="CREATE EXTENSION ...;"))
    assert life.wrong == []


def test_a_real_sample_counts(life: Life) -> None:
    life.sampled(None)
    from pandas import DataFrame

    life.ledger.rollups.store(life.name, previous=None, current=snapshot(NOW), frame=DataFrame())
    assert life.wrong == []


def test_three_failed_cycles_in_a_row_are_a_state(life: Life) -> None:
    for ago in (30, 20):
        life.cycle(NOW - ago * MINUTE, "the server does not answer")
    assert life.wrong == []
    life.cycle(NOW - 10 * MINUTE, "postgresql://u:s3cret@h/d does not answer\nDETAIL: more")
    assert life.wrong == ["failed cycles"]
    assert "the last 3, the newest with: postgresql://u:***@h/d does not answer. Remedy: mend" in life.now.why
    life.cycle(NOW - MINUTE)
    assert life.wrong == []


def test_failures_in_a_row_are_not_over_while_the_next_cycle_runs(life: Life) -> None:
    for ago in (30, 20, 10):
        life.cycle(NOW - ago * MINUTE, "the server does not answer")
    life.cycle(NOW - MINUTE, ends=False)
    assert life.wrong == ["failed cycles"]


def test_a_pause_is_told_and_is_no_death(life: Life) -> None:
    life.ledger.cycles.pause(life.name, NOW)
    assert life.now.alive
    assert any("begins no action" in fact.value for fact in life.now.facts)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n\n  a   b\nDETAIL: c", "a b"),
        ("connect to host=h password=s3cret failed", "connect to host=h password=*** failed"),
        ("x" * 400, "x" * 299 + "…"),
        ("", ""),
    ],
)
def test_an_error_becomes_one_line_without_passwords(text: str, line: str) -> None:
    assert one_line(text) == line
