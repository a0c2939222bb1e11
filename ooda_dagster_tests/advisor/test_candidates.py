"""Which indexes are tried for a statement, in which column order, and which are not, by name?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ooda_dagster.advisor.candidates import candidates
from ooda_dagster.core.catalogue import Catalogue
from ooda_dagster.core.indexes import IndexColumn
from ooda_dagster_tests.advisor.shop import ORDERS, SHOP, index, shape_of, with_indexes


def tried(text: str, width: int = 3, catalogue: Catalogue = SHOP) -> set[str]:
    """Candidates in short: `orders(customer, placed DESC)`."""
    found = candidates(shape_of(text, catalogue), width).specs
    return {f"{s.table}({', '.join(c.text for c in s.columns)})" for s in found}


def refused(text: str, catalogue: Catalogue = SHOP) -> dict[str, str]:
    return candidates(shape_of(text, catalogue), 3).refused


TRIED = {
    "select * from orders where customer = $1": {"orders(customer)"},
    "select * from orders where customer = $1 and placed > $2": {
        "orders(customer)",
        "orders(placed)",
        "orders(customer, placed)",
    },
    "select * from orders where status = $1 order by placed desc limit $2": {
        "orders(status)",
        "orders(placed)",
        "orders(status, placed)",
    },
    "select * from orders order by customer, placed desc limit 3": {"orders(customer, placed DESC)"},
    "select * from orders order by customer desc, placed desc limit 3": {"orders(customer, placed)"},
    "select * from orders order by placed desc nulls last limit 3": {"orders(placed DESC NULLS LAST)"},
    "select * from orders order by customer nulls first, placed limit 3": {"orders(customer NULLS FIRST, placed)"},
    "select * from orders where status = $1 group by customer": {
        "orders(status)",
        "orders(customer)",
        "orders(status, customer)",
    },
    "select max(placed) from orders where customer = $1": {
        "orders(customer)",
        "orders(placed)",
        "orders(customer, placed)",
    },
    "select * from orders where customer = $1 or amount = $2": {"orders(customer)", "orders(amount)"},
    "select * from orders o join lines l on l.amount = o.amount and l.sku = o.customer where o.id = $1": {
        "orders(customer)",
        "orders(amount)",
        "orders(amount, customer)",
        "orders(customer, amount)",
        "orders(id, amount)",
        "orders(id, customer)",
        "orders(amount, id)",
        "orders(customer, id)",
        "lines(amount)",
        "lines(sku)",
        "lines(amount, sku)",
        "lines(sku, amount)",
    },
}


@pytest.mark.parametrize("text", TRIED)
def test_candidates_of_a_statement(text: str) -> None:
    assert tried(text) == TRIED[text]


def test_equality_comes_before_the_range_in_every_composite() -> None:
    found = tried("select * from orders where placed > $1 and customer = $2 and status = $3 and amount < $4")

    composites = [name for name in found if "," in name]
    assert composites
    assert not [name for name in composites if name.startswith(("orders(placed", "orders(amount"))]
    assert "orders(customer, status, placed)" in found


def test_the_most_selective_equality_leads_and_one_of_two_values_never_does() -> None:
    found = tried("select * from orders where status = $1 and customer = $2")

    assert found == {"orders(customer)", "orders(status)", "orders(customer, status)"}


@pytest.mark.parametrize("width", [1, 2, 3])
def test_no_candidate_is_wider_than_allowed(width: int) -> None:
    text = (
        "select * from orders where customer = $1 and status = $2 and amount = $3 and paid order by placed, id limit 1"
    )

    found = candidates(shape_of(text), width).specs
    assert max(len(s.columns) for s in found) == width


def test_what_an_existing_index_serves_is_named_and_not_tried() -> None:
    catalogue = with_indexes(index("orders", "customer", "placed"))
    found = candidates(shape_of("select * from orders where customer = $1", catalogue), 3)

    assert found.specs == []
    assert [i.name for i in found.served.values()] == ["orders_customer_placed_idx"]


def test_an_invalid_or_partial_index_serves_nothing() -> None:
    broken = replace(index("orders", "customer"), valid=False)
    partial = index("orders", "customer", where="paid")
    text = "select * from orders where customer = $1"

    assert tried(text, catalogue=with_indexes(broken, partial)) == {"orders(customer)"}


def test_a_mirrored_index_serves_an_order() -> None:
    mirrored = index("orders", IndexColumn("customer", descending=True), "placed")
    text = "select * from orders order by customer, placed desc limit 3"

    assert tried(text, catalogue=with_indexes(mirrored)) == set()


def test_columns_without_a_btree_or_too_wide_for_one_are_no_keys() -> None:
    assert tried("select * from orders where note = $1 order by embedding limit 1") == set()


@pytest.mark.parametrize(("table", "why"), [("events", "partitioned"), ("far", "foreign"), ("tiny", "small (3 pages)")])
def test_tables_that_get_no_index_are_refused_by_name(table: str, why: str) -> None:
    column = "kind" if table == "events" else "k"
    found = refused(f"select * from {table} where {column} = $1")

    assert list(found) == [f"public.{table}"]
    assert why in found[f"public.{table}"]


@pytest.mark.parametrize(("bytes_", "why"), [(8192, "small (1 pages)"), (1 << 30, "never analysed")])
def test_a_table_that_was_never_analysed_is_judged_by_its_file(bytes_: int, why: str) -> None:
    fresh = replace(ORDERS, pages=0, rows=-1.0, bytes=bytes_)
    found = refused("select * from orders where customer = $1", Catalogue({fresh.key: fresh}))

    assert why in found["public.orders"]


def test_candidates_are_the_same_on_every_call() -> None:
    text = "select * from orders where customer = $1 and status = $2 and amount = $3 order by placed"

    first = [s.definition for s in candidates(shape_of(text), 3).specs]
    assert all([s.definition for s in candidates(shape_of(text), 3).specs] == first for _ in range(5))
