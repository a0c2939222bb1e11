"""Which texts stand for a normalised statement, and which literals for its parameters?"""

from __future__ import annotations

import re

import pytest

from ooda_dagster.advisor.instantiate import DEFAULT_SHARE, Binding, bindings, mended, readable_part
from ooda_dagster.advisor.shape import UnreadableStatementError
from ooda_dagster_tests.advisor.shop import shape_of

MENDED = {
    "select interval $1": "select CAST($1 AS interval)",
    "select now() - interval $1 day": "select now() - CAST($1 AS interval day)",
    "select TIMESTAMPTZ $2": "select CAST($2 AS TIMESTAMPTZ)",
    "select timestamp with time zone $1": "select CAST($1 AS timestamp with time zone)",
    "select double precision $1": "select CAST($1 AS double precision)",
    "select public.citext $12, uuid $3": "select CAST($12 AS public.citext), CAST($3 AS uuid)",
    # and what is left alone
    "select $$interval $1$$": "select $$interval $1$$",
    "select $tag$ date $1 $tag$": "select $tag$ date $1 $tag$",
    "select 'date $1', \"date $2\"": "select 'date $1', \"date $2\"",
    "select 1 /* date $1 */": "select 1 /* date $1 */",
    "select * from t where a like $1 limit $2": "select * from t where a like $1 limit $2",
    "select 'open interval $1": "select 'open interval $1",
}

READABLE = {
    "update orders o set status = $1 from customers c where c.id = o.customer": (
        "SELECT 1 FROM orders AS o, customers AS c WHERE c.id = o.customer"
    ),
    "delete from orders where customer = $1": "SELECT 1 FROM orders WHERE customer = $1",
    "delete from orders o using lines l where l.order_id = o.id": (
        "SELECT 1 FROM orders AS o, lines AS l WHERE l.order_id = o.id"
    ),
    "with x as (select 1) update orders set paid = true where id in (select * from x)": (
        "WITH x AS (SELECT 1) SELECT 1 FROM orders WHERE id IN (SELECT * FROM x)"
    ),
    "insert into lines select id, customer, 1 from orders where status = $1": (
        "SELECT id, customer, 1 FROM orders WHERE status = $1"
    ),
    "select * from orders where id = $1 for update skip locked": "SELECT * FROM orders WHERE id = $1",
    "insert into lines values ($1, $2, $3)": None,
    "delete from orders": None,
}


def texts(text: str, *, rows: float = 1, share: float = DEFAULT_SHARE) -> list[Binding]:
    shape = shape_of(mended(text))
    readable = readable_part(shape)
    assert readable is not None
    return bindings(shape, readable, rows_per_call=rows, share=share)


def bound(text: str, **how: float) -> list[str]:
    """What stands behind WHERE, for each binding."""
    return [re.sub(r"\s+", " ", b.text.split("where", 1)[-1]).strip() for b in texts(text, **how)]


@pytest.mark.parametrize("text", MENDED)
def test_typed_parameters_are_mended_and_quotes_left_alone(text: str) -> None:
    assert mended(text) == MENDED[text]


@pytest.mark.parametrize("text", READABLE)
def test_the_part_that_reads(text: str) -> None:
    assert readable_part(shape_of(text)) == READABLE[text]


def test_a_merge_is_not_priced() -> None:
    text = "merge into orders o using lines l on l.order_id = o.id when matched then delete"

    with pytest.raises(UnreadableStatementError, match="MERGE is not priced"):
        readable_part(shape_of(text))


def test_a_common_and_a_rare_value_are_bound() -> None:
    found = bound("select * from orders where status = $1")

    assert found == ["status = 'done'::text", "status = 'open'::text"]


def test_a_statement_without_parameters_is_its_own_text() -> None:
    text = "select * from orders where status = 'open'"

    assert texts(text) == [Binding(text)]


def test_dollar_quotes_and_strings_are_not_bound() -> None:
    text = "select * from orders where status = $1 and note <> $$ $1 $$ and note <> '$1'"

    assert all(t.endswith("and note <> $$ $1 $$ and note <> '$1'") for t in bound(text))


def test_ten_parameters_are_not_taken_for_the_first() -> None:
    text = "select * from orders where status = $1 and amount in ($2,$3,$4,$5,$6,$7,$8,$9,$10)"

    assert all("$" not in t and "'done'::text0" not in t for t in bound(text))


def test_unicode_before_a_parameter_does_not_shift_it() -> None:
    text = 'select * from "My Schema"."Odd Table" where "Größe" = $1 and "select" = $2'

    assert all(re.fullmatch(r"\"Größe\" = '\d+'::integer and \"select\" = '\d+'::text", t) for t in bound(text))


def test_arrays_are_bound_as_arrays() -> None:
    found = bound("select * from orders where status = any($1) and customer <> all($2)")

    assert all(
        re.fullmatch(r"status = any\( '\{[^']+\}'::text\[\]\) and customer <> all\( '\{[^']+\}'::integer\[\]\)", t)
        for t in found
    )


def test_the_elements_of_an_array_constructor_are_typed() -> None:
    assert (
        "array[ '500'::integer, '500'::integer]" in bound("select * from orders where customer = any(array[$1, $2])")[1]
    )


def test_a_vector_gets_as_many_dimensions_as_its_column() -> None:
    (found,) = texts("select * from orders order by embedding <-> $1 limit $2", rows=10)

    assert found.text == "select * from orders order by embedding <->  '[0.1,0.1,0.1]'::vector(3) limit  10"


def test_limit_is_the_rows_that_were_measured_and_offset_none() -> None:
    (found,) = texts("select * from orders order by placed limit $1 offset $2", rows=25)

    assert found.text.split() == [
        "select",
        "*",
        "from",
        "orders",
        "order",
        "by",
        "placed",
        "limit",
        "25",
        "offset",
        "0",
    ]


def test_two_bounds_of_a_range_are_centred_around_the_share() -> None:
    (found,) = bound("select * from orders where amount between $1 and $2", share=0.2)

    assert found == "amount between '400'::numeric and '600'::numeric"


@pytest.mark.parametrize(("operator", "value"), [("<", "100"), (">=", "900")])
def test_one_bound_leaves_the_share(operator: str, value: str) -> None:
    assert bound(f"select * from orders where amount {operator} $1", share=0.1) == [
        f"amount {operator} '{value}'::numeric"
    ]


def test_an_interval_of_a_statement_from_the_server_is_bound() -> None:
    (found,) = bound("select * from orders where placed > now() - interval $1", share=0.005)

    assert found == "placed > now() - CAST( '1 hour' AS interval)"


def test_a_literal_with_quotes_cannot_leave_its_string() -> None:
    shape = shape_of("select * from orders where status = $1")
    column = shape.uses[0].table.columns["status"]
    assert column.statistics is not None
    object.__setattr__(column.statistics, "common_values", ("it's'; drop table orders --", "b"))
    try:
        found = bindings(shape, shape.text, rows_per_call=1, share=0.05)
    finally:
        object.__setattr__(column.statistics, "common_values", ("done", "open"))

    assert found[0].text.endswith("= 'it''s''; drop table orders --'::text".replace("= ", "=  "))


def test_a_type_without_a_known_value_leaves_the_plan_generic() -> None:
    (found,) = texts("select * from orders where paid and status::point ~= $1::point")

    assert found == Binding("select * from orders where paid and status::point ~= $1::point", generic=True)
