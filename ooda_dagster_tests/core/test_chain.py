"""Is a hash the same for what is the same, and another for what is not?"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ooda_dagster.core.chain import GENESIS, canonical, digest_of, holds, link

AT = datetime(2026, 3, 2, 12, 0, 0, 5, tzinfo=UTC)


def test_the_form_that_is_hashed_stays_as_it_is() -> None:
    """A change here breaks every ledger's chain."""
    content = {"at": AT, "actor": "änn", "detail": {"b": [1, 2.5, True, None], "a": "x"}}
    row = '{"actor":"\\u00e4nn","at":"2026-03-02T12:00:00.000005+00:00","detail":{"a":"x","b":[1,2.5,true,null]}}'
    assert canonical(content) == row
    placed = row.replace('"detail"', '"chain":"audit","detail"').replace("]}}", ']},"position":1}')
    assert link(GENESIS, "audit", 1, content) == hashlib.sha256(f"{'0' * 64}\n{placed}".encode()).hexdigest()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1e16, 10**16),
        (1e23, 10**23),
        (1.0, 1),
        (-0.0, 0),
        (0.1, 0.1),
        (1e-7, 0.0000001),
        (1200, 1.2e3),
        (-5e-324, -5e-324),
    ],
)
def test_a_number_has_one_form_however_it_is_spelt(one: float, other: float) -> None:
    assert canonical(one) == canonical(other)


def test_numbers_that_differ_have_two_forms() -> None:
    values: list[float] = [0, 1, -1, 10, 100, 0.1, 0.01, 1e16, 10**16 + 1, 10**40, 10**40 + 1, True]
    assert len({canonical(value) for value in values}) == len(values)


def test_a_time_is_told_in_utc() -> None:
    assert canonical(AT.astimezone(timezone(timedelta(hours=9)))) == canonical(AT)


@pytest.mark.parametrize("value", [{}, [], "", '\ud7ff\n"\\', {"a": {"b": []}}, [[1], {"é": None}]])
def test_the_form_is_json(value: Any) -> None:
    assert json.loads(canonical(value)) == value


def test_a_row_at_another_place_or_in_another_chain_has_another_hash() -> None:
    places = [(GENESIS, "audit", 1), (GENESIS, "audit", 2), ("1" * 64, "audit", 1), (GENESIS, "journal/t", 1)]
    assert len({link(*place, {"a": 1}) for place in places}) == len(places)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_json_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(value)


DEED: dict[str, Any] = {"actor": "ann", "detail": {"statements": ["a", "b"], "undo": ["c"], "n": 1}}


def test_a_row_without_its_statements_has_its_hash_by_their_digests() -> None:
    whole = link(GENESIS, "audit", 1, DEED)
    a, b = ({"sha256": digest_of(text)} for text in "ab")
    for statements in ([a, "b"], [a, b], ["a", "b"]):
        taken_out = {**DEED, "detail": {**DEED["detail"], "statements": statements}}
        assert holds(whole, GENESIS, "audit", 1, taken_out, taken_out=True)
        assert holds(whole, GENESIS, "audit", 1, taken_out) == (a not in statements), "no row of a ledger is like it"
    for detail in ({"statements": ["x", "b"]}, {"statements": ["b", "a"]}, {"undo": []}, {"n": 2}):
        edited = {**DEED, "detail": {**DEED["detail"], **detail}}
        assert not holds(whole, GENESIS, "audit", 1, edited, taken_out=True)


def test_a_row_of_before_statements_were_digests_is_known() -> None:
    row = canonical({**DEED, "chain": "audit", "position": 1})
    before = digest_of(f"{GENESIS}\n{row}")
    assert before != link(GENESIS, "audit", 1, DEED)
    assert holds(before, GENESIS, "audit", 1, DEED)
    assert not holds(before, GENESIS, "audit", 1, {**DEED, "actor": "bob"})


def test_what_has_no_form_is_refused() -> None:
    with pytest.raises(TypeError, match="bytes is not JSON serializable"):
        canonical(b"x")
