"""Does the advisor find, on a real database, what a statement needs - and say what it could not judge, and why?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ooda_dagster.advisor.advise import Advised
from ooda_dagster.advisor.workload import WorkloadStatement
from ooda_dagster_tests.advisor.shop import statement

Advise = Callable[..., Advised]

CUSTOMER = "select * from orders where customer = $1"
DAY = "select * from orders where amount = $1"
LATEST = "select * from orders where amount = $1 order by placed desc limit $2"


def definitions(found: Advised) -> list[str]:
    return [r.spec.definition.removeprefix("ON ") for r in found.recommendations]


def reasons(found: Advised) -> dict[str, str]:
    return {s.text: why for s, why in found.unjudged}


FOUND = {
    CUSTOMER: ("public.orders USING btree (customer)",),
    "select id from orders where status = $1 and placed > $2 order by placed limit $3": (
        "public.orders USING btree (status, placed)",
    ),
    "select max(placed) from orders where customer = $1": ("public.orders USING btree (customer, placed)",),
    "select * from orders order by status, placed desc limit $1": ("public.orders USING btree (status, placed DESC)",),
    "select * from orders order by shipped desc nulls last limit $1": (
        "public.orders USING btree (shipped DESC NULLS LAST)",
    ),
    "select * from orders where (placed, id) > ($1, $2) order by placed, id limit $3": (
        "public.orders USING btree (placed, id)",
        "public.orders USING btree (placed)",
    ),
    "select o.id from orders o join lines l on l.order_id = o.id where l.sku = $1": ("public.lines USING btree (sku)",),
    "update orders set shipped = now() where customer = $1": ("public.orders USING btree (customer)",),
    "delete from orders where customer in ($1, $2)": ("public.orders USING btree (customer)",),
    'select * from "My Schema"."Odd Table" where "Größe" = $1': ('"My Schema"."Odd Table" USING btree ("Größe")',),
    "select * from orders where customer = any($1)": ("public.orders USING btree (customer)",),
    "select * from orders where customer = $1 and placed > now() - interval $2": (
        "public.orders USING btree (customer, placed)",
    ),
}


@pytest.mark.parametrize("text", FOUND)
def test_the_index_that_a_statement_needs_is_found(text: str, advised: Advise) -> None:
    found = advised(statement(text, rows=100))

    (one,) = definitions(found)
    assert one in FOUND[text]
    assert found.recommendations[0].serves[0].cost_after < found.recommendations[0].serves[0].cost_before
    assert found.backend == "statistics clone"


def test_one_composite_serves_the_filter_and_the_order(advised: Advise) -> None:
    found = advised(statement(DAY, rows=6100), statement(LATEST, rows=100))

    assert definitions(found) == ["public.orders USING btree (amount, placed)"]
    assert {s.statement.text for s in found.recommendations[0].serves} == {DAY, LATEST}


def test_advice_is_the_same_every_time(advised: Advise) -> None:
    work = [statement(text, rows=100) for text in list(FOUND)[:6]]
    runs = [advised(*work) for _ in range(2)]

    assert definitions(runs[0]) == definitions(runs[1]) != []
    assert [r.saved_ms_per_hour for r in runs[0].recommendations] == [
        r.saved_ms_per_hour for r in runs[1].recommendations
    ]


def test_what_an_existing_index_serves_costs_no_clone(advised: Advise) -> None:
    found = advised(statement("select * from orders where id = $1"))

    assert (found.backend, found.explains, found.recommendations) == ("", 0, [])
    assert [i.name for _, i in found.served] == ["orders_pkey"]
    assert found.reason == "the indexes that the heavy statements could use exist already"


def test_nothing_is_recommended_beyond_the_budget(advised: Advise) -> None:
    work = [statement(CUSTOMER), statement('select * from "My Schema"."Odd Table" where "Größe" = $1')]
    both = advised(*work)
    one = advised(*work, budget=both.bytes - 1)

    assert len(both.recommendations) == 2
    assert len(one.recommendations) == 1
    assert one.bytes < both.bytes
    assert advised(*work, budget=0).recommendations == []


def test_no_index_is_wider_than_allowed(advised: Advise) -> None:
    found = advised(statement(LATEST, rows=1000), max_width=1)

    assert [len(r.spec.columns) for r in found.recommendations] == [1]


def test_an_index_on_a_hot_updated_table_is_not_worth_a_few_reads(advised: Advise) -> None:
    reads = statement("select * from heat where zone = $1 and level = $2", calls=50, total_ms=500, rows=50)
    writes = statement("update heat set level = $1, zone = $2 where id = $3", calls=1e6, total_ms=40_000, rows=1e6)

    assert len(advised(reads).recommendations) == 1
    assert advised(reads, writes).recommendations == []


def test_what_writers_pay_is_netted(advised: Advise) -> None:
    reads = statement(CUSTOMER, calls=5000, total_ms=100_000, rows=60_000)
    writes = statement(
        "insert into orders values ($1, $2, $3, $4, $5, $6, $7)", calls=20_000, total_ms=2_000, rows=20_000
    )
    (found,) = advised(reads, writes).recommendations

    assert found.write_ms_per_hour > 0
    assert found.net_ms_per_hour == found.saved_ms_per_hour - found.write_ms_per_hour


UNJUDGED = {
    "select * from recent where customer = $1": "it reads recent, which is a view or not in the catalogue",
    "select * from events where kind = $1": "public.events: it is partitioned",
    "select * from tiny where k = $1": "public.tiny: it is small",
    "select (((": "the parser does not read it",
    "select * from orders where customer = $1 and nothing(status)": "the clone cannot plan it (42883)",
    "merge into orders o using lines l on l.sku = o.customer when matched then delete": "MERGE is not priced",
}


@pytest.mark.parametrize("text", UNJUDGED)
def test_a_statement_that_cannot_be_priced_is_listed_with_the_reason(text: str, advised: Advise) -> None:
    found = advised(statement(text), statement(CUSTOMER))

    assert UNJUDGED[text] in reasons(found)[text]
    assert definitions(found) == ["public.orders USING btree (customer)"]


def test_a_table_beside_a_view_gets_its_index(advised: Advise) -> None:
    found = advised(statement("select * from orders o join recent r on r.id = o.id where o.customer = $1"))

    assert definitions(found) == ["public.orders USING btree (customer)"]


def test_a_statement_whose_parameter_has_no_known_value_is_an_estimate(advised: Advise) -> None:
    found = advised(statement("select * from orders where customer = $1 and point(1, 2) <@ $2::box"))

    assert [r.is_estimate for r in found.recommendations] == [True]


def test_no_literal_of_the_data_is_in_the_answer(advised: Advise) -> None:
    bad = statement("select * from orders where status = $1 and customer = $2 and nothing(status)")
    found = advised(bad, statement("select * from orders where status = $1 and customer = $2"))

    assert "'open'" not in repr((found.unjudged, found.recommendations))
    assert "'done'" not in repr((found.unjudged, found.recommendations))


def test_only_heavy_statements_are_judged(advised: Advise) -> None:
    found = advised(statement(CUSTOMER, total_ms=900), min_statement_total_ms=1000)

    assert (found.considered, found.recommendations) == (0, [])
    assert "no statement took 1 s" in found.reason


def test_statements_of_a_file_beyond_the_most_are_named(advised: Advise) -> None:
    work = [WorkloadStatement(str(n), CUSTOMER, "select", 1, None) for n in range(3)]
    found = advised(*work, max_statements=2)

    assert [why for _, why in found.unjudged] == ["only the first 2 statements are looked at"]


def test_an_empty_workload_has_a_reason(advised: Advise) -> None:
    assert advised().reason == "no statement was seen in the window"
