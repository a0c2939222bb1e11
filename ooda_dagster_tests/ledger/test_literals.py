"""Are sampled texts few, young, and gone where they are not wanted?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, register

DAY = timedelta(days=1)


def test_the_newest_five_texts_of_a_statement_are_kept(known: Ledger) -> None:
    for n in range(8):
        known.literals.keep("t", [("s1", f"select {n}"), ("s2", "select 'x'")], now=NOW + n * MINUTE, days=7)
    assert known.literals.samples("t") == {
        "s1": tuple(f"select {n}" for n in (7, 6, 5, 4, 3)),
        "s2": ("select 'x'",),
    }


def test_a_text_that_is_seen_again_stays_young(known: Ledger) -> None:
    known.literals.keep("t", [("s1", "select 1"), ("s1", "select 2")], now=NOW, days=7)
    known.literals.keep("t", [("s1", "select 1")], now=NOW + 5 * DAY, days=7)
    known.literals.keep("t", [], now=NOW + 8 * DAY, days=7)
    assert known.literals.samples("t") == {"s1": ("select 1",)}


@pytest.mark.parametrize(("age", "left"), [(6.9, 1), (7.1, 0)])
def test_a_text_is_dropped_at_its_age(known: Ledger, age: float, left: int) -> None:
    known.literals.keep("t", [("s1", "select 1")], now=NOW, days=7)
    known.literals.keep("t", [], now=NOW + age * DAY, days=7)
    assert len(known.literals.samples("t")) == left


def test_with_0_days_none_is_kept(known: Ledger) -> None:
    known.literals.keep("t", [("s1", "select 1")], now=NOW, days=0)
    assert known.literals.samples("t") == {}


def test_0_days_drop_what_was_kept_before_even_what_is_of_this_moment(known: Ledger) -> None:
    known.literals.keep("t", [("s1", "select 1")], now=NOW, days=7)
    known.literals.keep("t", [], now=NOW, days=0)
    assert known.literals.samples("t") == {}


def test_other_targets_keep_theirs(known: Ledger) -> None:
    register(known, "u")
    for name in ("t", "u"):
        known.literals.keep(name, [("s1", "select 1")], now=NOW, days=7)
    known.literals.keep("t", [], now=NOW, days=0)
    assert known.literals.samples("u") == {"s1": ("select 1",)}


def test_the_same_text_twice_in_one_look_is_one(known: Ledger) -> None:
    known.literals.keep("t", [("s1", "select 'é'")] * 3, now=NOW, days=7)
    assert known.literals.samples("t") == {"s1": ("select 'é'",)}


@pytest.mark.parametrize(("age", "dropped", "left"), [(6.9, True, "new"), (7.1, False, None), (7.1, True, None)])
def test_what_an_undo_needs_is_no_sample_and_grows_as_old_as_one(
    known: Ledger, age: float, dropped: bool, left: str | None
) -> None:
    register(known, "u")
    for text in ("old", "new"):
        known.literals.hold("t", "action", text, now=NOW)
    then = NOW + age * DAY
    if dropped:
        known.literals.keep("t", [], now=then, days=7)
    assert known.literals.held("t", "action", now=then, days=7) == left
    assert known.literals.held("u", "action", now=NOW, days=7) is None
    assert known.literals.samples("t") == {}


def test_0_days_drop_what_an_undo_needs(known: Ledger) -> None:
    known.literals.hold("t", "action", "values", now=NOW)
    known.literals.keep("t", [], now=NOW, days=0)
    assert known.literals.held("t", "action", now=NOW, days=7) is None
