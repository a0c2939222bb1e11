"""Do lists name what they mean - schemas, tables, statements, types - and nothing else?"""

from __future__ import annotations

import pytest

from ooda_dagster.core.patterns import Pattern, Subject, denial, not_allowed, parse_pattern

ORDERS = Subject("shop.orders", "IndexOptimization", touches=["9f3a01", "77aa02"], serves=["9f3a01"])


@pytest.mark.parametrize(
    ("entry", "denies", "allows"),
    [
        ("schema:shop", True, True),
        ("schema:sh?p", True, True),
        ("schema:sho", False, False),
        ('schema:"shop"', True, True),
        ("table:shop.orders", True, True),
        ("table:orders", True, True),
        ("table:*.order?", True, True),
        ("table:billing.*", False, False),
        ("statement:9f3a*", True, True),
        ("statement:77aa02", True, False),  # it is touched - a write that pays - and not what the index is for
        ("statement:77", False, False),
        ("type:Index*", True, True),
        ("type:index*", False, False),
        ("type:*", True, True),
    ],
)
def test_an_entry_names_what_it_means(entry: str, denies: bool, allows: bool) -> None:
    pattern = parse_pattern(entry)
    assert (pattern.denies(ORDERS), pattern.allows(ORDERS)) == (denies, allows)


def test_names_that_need_quotes_are_known_with_and_without() -> None:
    subject = Subject('"Billing"."Invoice.Lines"', "IndexOptimization")
    for entry in ("schema:Billing", 'schema:"Billing"', 'table:"Billing"."Invoice.Lines"', "table:Billing.*"):
        assert parse_pattern(entry).denies(subject), entry
    assert not parse_pattern("schema:billing").denies(subject)


def test_a_person_s_own_change_serves_what_it_touches() -> None:
    assert parse_pattern("statement:77aa02").allows(Subject("shop.orders", "IndexOptimization", touches=["77aa02"]))


def test_an_empty_list_denies_nothing_and_allows_all() -> None:
    assert denial([], ORDERS) is None
    assert not_allowed([], ORDERS) == ()


def test_of_each_kind_that_has_entries_one_must_allow() -> None:
    assert not_allowed(["schema:shop", "schema:billing"], ORDERS) == ()
    assert not_allowed(["schema:shop", "type:Statistics*"], ORDERS) == (Pattern("type", "Statistics*"),)
    assert not_allowed(["table:items", "table:lines"], ORDERS) == (Pattern("table", "items"), Pattern("table", "lines"))


@pytest.mark.parametrize("text", ["", "billing", "billing.*", "tables:x", "table:", ":x", "Table:x"])
def test_what_is_no_entry_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r"schema:..., table:..., statement:..., type:..."):
        parse_pattern(text)
