"""Is an alert there once, told once at a time, tried again, and gone when it is over?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.alerts import LOOP_NOT_ALIVE, NEWS, UNDO_STUCK
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, ask


@pytest.fixture
def book(shared: Ledger) -> Iterator[Ledger]:
    yield shared
    ask(shared, "truncate ooda.alert")


def raised(ledger: Ledger, key: str = "k", kind: str = "run_failed", target: str | None = "t") -> bool:
    return ledger.alerts.raise_(kind, key, target, "it broke\nbadly", now=NOW, run_id="r")


def test_an_alert_is_entered_once_with_what_it_tells(book: Ledger) -> None:
    assert raised(book)
    assert not raised(book)
    (alert,) = book.alerts.news(NOW)
    assert (alert.text, alert.detail, alert.target, alert.at) == ("it broke badly", {"run_id": "r"}, "t", NOW)
    assert (alert.delivered_at, alert.attempts, alert.sent_to) == (None, 0, [])


def test_threads_that_raise_the_same_enter_it_once(book: Ledger) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: raised(book), range(8))) == 1


def test_an_alert_is_sent_by_one_at_a_time_and_then_tried_again(book: Ledger) -> None:
    raised(book)
    with ThreadPoolExecutor(4) as pool:
        assert sum(bool(a) for a in pool.map(lambda _: book.alerts.claim(NOW), range(8))) == 1
    again = book.alerts.claim(NOW + MINUTE)
    assert again is not None
    assert again.attempts == 2


def test_what_fails_for_long_is_tried_less_often_and_not_for_ever(book: Ledger) -> None:
    raised(book)
    tries = [m for m in range(48 * 60) if book.alerts.claim(NOW + m * MINUTE)]
    assert tries[:5] == [0, 1, 2, 3, 4]
    assert {b - a for a, b in itertools.pairwise(tries[4:])} == {30}
    assert tries[-1] * MINUTE <= NEWS


def test_what_was_delivered_or_is_over_is_not_sent(book: Ledger) -> None:
    raised(book, "told")
    alert = book.alerts.claim(NOW)
    assert alert is not None
    book.alerts.sent(alert.alert_id, ["webhook"], delivered_at=NOW)
    raised(book, "over", UNDO_STUCK)
    assert [a.key for a in book.alerts.settle(["t"], [], now=NOW)] == ["over"]
    assert book.alerts.claim(NOW + MINUTE) is None


def test_a_state_that_comes_back_is_told_again(book: Ledger) -> None:
    assert raised(book, "dead", LOOP_NOT_ALIVE)
    assert book.alerts.settle(["t"], ["dead"], now=NOW) == []
    assert len(book.alerts.settle(["t"], [], now=NOW)) == 1
    assert raised(book, "dead", LOOP_NOT_ALIVE)


def test_settling_one_target_leaves_the_others_and_leaves_events(book: Ledger) -> None:
    raised(book, "event")
    raised(book, "other", LOOP_NOT_ALIVE, "u")
    raised(book, "nobody's", "run_failed", None)
    assert book.alerts.settle(["t"], [], now=NOW) == []
    assert len(book.alerts.news(NOW)) == 3
    assert [a.key for a in book.alerts.news(NOW, "u")] == ["other"]


def test_an_event_is_news_for_a_day_and_a_state_as_long_as_it_holds(book: Ledger) -> None:
    raised(book, "event")
    raised(book, "state", UNDO_STUCK)
    assert [a.key for a in book.alerts.news(NOW + timedelta(days=3))] == ["state"]
