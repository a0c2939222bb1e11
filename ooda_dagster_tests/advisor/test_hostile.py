"""What can a hostile statement do to the advisor? Be named as unreadable, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ooda_dagster.advisor.costs import shapes_of
from ooda_dagster.advisor.instantiate import mended
from ooda_dagster.advisor.parse import read_shape
from ooda_dagster.advisor.shape import UnreadableStatementError
from ooda_dagster.core.fingerprint import fingerprint
from ooda_dagster_tests.advisor.shop import SHOP, statement

UNREADABLE = {
    "empty": ("", "no statement"),
    "a comment": ("-- nothing", "no statement"),
    "two statements": ("select 1; drop table orders", "more than one statement"),
    "garbage": ("select from where ))((", "syntax error"),
    "an open quote": ("select 'abc", "unterminated"),
    "NUL": ("select * from orders where customer = 1\0 or 1 = 1", "NUL"),
    "half a surrogate pair": ("select '\ud800'", "does not read it"),
    "a megabyte": ("select " + "x" * 1_000_000, "too long"),
    "parentheses": ("select " + "(" * 20_000 + "1" + ")" * 20_000, "does not read it"),
    "subselects": ("select * from (" * 3_000 + "select 1" + ") x" * 3_000, "does not read it"),
    "a chain of plus": ("select 1" + "+1" * 30_000, "nested too deeply"),
    "a shorter chain": ("select * from orders where id = 1" + "+1" * 4_000, "nested too deeply"),
    "a chain of casts": ("select 1" + "::int" * 15_000, "nested too deeply"),
    "a chain of joins": ("select * from orders" + " join lines using (amount)" * 3_000, "nested too deeply"),
    "a chain of unions": ("select 1" + " union select 1" * 6_000, "nested too deeply"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_hostile_statement_is_named_as_unreadable(name: str) -> None:
    text, why = UNREADABLE[name]

    with pytest.raises(UnreadableStatementError, match=why):
        read_shape(mended(text), SHOP)


def test_a_hostile_statement_is_listed_and_the_others_are_read() -> None:
    bad, good = statement("select ((("), statement("select * from orders where customer = $1")
    read, unread = shapes_of([bad, good], SHOP)

    assert [s for s, _ in read] == [good]
    assert [s for s, _ in unread] == [bad]


def test_long_lists_are_not_taken_for_deep_ones() -> None:
    many = ", ".join(f"${n}" for n in range(1, 10_001))
    shape = read_shape(f"select * from orders where customer in ({many})", SHOP)

    assert len(shape.parameters) == 10_000


def test_many_conditions_are_not_taken_for_deep_ones() -> None:
    shape = read_shape("select * from orders where " + " and ".join(["customer = $1"] * 4_000), SHOP)

    assert shape.uses[0].equal == {"customer"}


def test_a_fingerprint_is_found_for_every_text() -> None:
    assert all(len(fingerprint(text)) == 16 for text, _ in UNREADABLE.values())


def test_a_deep_statement_does_not_end_the_process() -> None:
    code = (
        "from ooda_dagster.advisor.parsing import parse\n"
        "from ooda_dagster.advisor.shape import UnreadableStatementError\n"
        "try: parse('select 1' + '+1' * 40_000)\n"
        "except UnreadableStatementError: print('alive')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout.strip()) == (0, "alive")
