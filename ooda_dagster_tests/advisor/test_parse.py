"""Does the reader see what each form of statement compares, joins and orders by?"""

from __future__ import annotations

import pytest

from ooda_dagster_tests.advisor.shop import shape_of, sketch

READS = {
    # comparisons
    "select * from orders where customer = $1": "orders: equal=customer",
    "select * from orders where $1 = customer": "orders: equal=customer",
    "select * from orders where $1 < placed": "orders: range=placed",
    "select * from orders where customer = $1 and placed > $2": "orders: equal=customer range=placed",
    "select * from orders where placed between $1 and $2": "orders: range=placed",
    "select * from orders where placed not between $1 and $2": "",
    "select * from orders where customer in ($1, $2)": "orders: equal=customer",
    "select * from orders where customer not in ($1, $2)": "",
    "select * from orders where customer = any($1)": "orders: equal=customer",
    "select * from orders where customer = any(array[$1, $2])": "orders: equal=customer",
    "select * from orders where customer <> all($1)": "",
    "select * from orders where customer = all($1)": "",
    "select * from orders where customer is not distinct from $1": "orders: equal=customer",
    "select * from orders where customer = $1::int": "orders: equal=customer",
    "select * from orders where customer = abs($1)": "orders: equal=customer",
    'select * from orders where status collate "C" = $1': "orders: equal=status",
    "select * from orders where placed > now() - $1::interval": "orders: range=placed",
    # what no plain btree serves
    "select * from orders where customer::text = $1": "",
    "select * from orders where lower(status) = $1": "",
    "select * from orders where status like $1": "",
    "select * from orders where customer = id": "",
    "select * from orders where customer + 1 = $1": "",
    # NULL and booleans
    "select * from orders where status is null": "orders: equal=status",
    "select * from orders where status is not null": "",
    "select * from orders where paid": "orders: equal=paid",
    "select * from orders where not paid": "orders: equal=paid",
    "select * from orders where paid is true": "orders: equal=paid",
    "select * from orders where paid is not true": "",
    # rows
    "select * from orders where (customer, status) = ($1, $2)": "orders: equal=customer,status",
    "select * from orders where (customer, status) in (($1, $2), ($3, $4))": "orders: equal=customer,status",
    "select * from orders where (customer, id) > ($1, $2) order by customer, id limit $3": (
        "orders: range=customer order=customer+,id+ limited"
    ),
    # OR
    "select * from orders where customer = $1 or status = $2": "orders: any=customer,status",
    "select * from orders where placed > $3 and (customer = $1 or status = $2)": (
        "orders: range=placed any=customer,status"
    ),
    # order
    "select * from orders order by placed desc limit 10": "orders: order=placed- limited",
    "select placed as p, id from orders order by p limit 5": "orders: order=placed+ limited",
    "select id, placed from orders order by 2 desc": "orders: order=placed-",
    "select * from orders order by status, placed desc nulls last": "orders: order=status+,placed-L",
    "select * from orders order by lower(status), placed": "",
    "select * from orders order by placed using >": "",
    "select * from orders where status = $1 order by placed fetch first 5 rows only": (
        "orders: equal=status order=placed+ limited"
    ),
    "select max(placed) from orders where customer = $1": "orders: equal=customer order=placed+ limited",
    "select coalesce(max(placed), now()) from orders": "orders: order=placed+ limited",
    "select max(placed), min(amount) from orders": "",
    # groups
    "select customer, count(*) from orders group by customer": "orders: group=customer",
    "select customer, count(*) from orders group by 1": "orders: group=customer",
    "select customer as c, count(*) from orders group by c": "orders: group=customer",
    "select customer, status from orders group by rollup(customer, status)": "",
    "select distinct status from orders": "orders: group=status",
    "select distinct on (customer) * from orders order by customer, placed desc": (
        "orders: order=customer+,placed- group=customer"
    ),
    # joins
    "select * from orders o join lines l on l.order_id = o.id where o.customer = $1": (
        "orders: equal=customer join=id; lines: join=order_id"
    ),
    "select * from orders o left join lines l on l.order_id = o.id and l.sku = $1": (
        "orders: join=id; lines: equal=sku join=order_id"
    ),
    "select * from lines l join orders o using (amount)": "lines: join=amount; orders: join=amount",
    "select * from lines natural join orders": "lines: join=amount; orders: join=amount",
    "select * from orders o, customers c where o.customer = c.id and c.region = $1": (
        "orders: join=customer; customers: equal=region join=id"
    ),
    "select * from orders a join orders b on a.customer = b.customer where a.id = $1": (
        "orders: equal=id join=customer; orders: join=customer"
    ),
    "select * from customers c, lateral (select * from orders where customer = c.id order by placed limit 3) x": (
        "customers: join=id; orders: equal=customer order=placed+ limited"
    ),
    "select * from generate_series(1, $1) g join orders o on o.id = g": "orders: equal=id",
    # subselects and common table expressions
    "select * from orders where customer in (select id from customers where region = $1)": (
        "orders: join=customer; customers: equal=region"
    ),
    "select * from orders where (customer, status) in (select id, email from customers)": (
        "orders: join=customer,status"
    ),
    "select * from orders o where exists (select 1 from lines l where l.order_id = o.id and l.sku = $1)": (
        "orders: join=id; lines: equal=order_id,sku"
    ),
    "select (select count(*) from lines where order_id = o.id) from orders o where o.customer = $1": (
        "orders: equal=customer join=id; lines: equal=order_id"
    ),
    "select * from (select * from orders where status = $1) o where o.customer = $2": "orders: equal=status",
    "with x as (select * from orders where customer = $1) select * from x where status = $2": "orders: equal=customer",
    "with orders as (select * from orders where customer = $1) select * from orders where status = $2": (
        "orders: equal=customer"
    ),
    "with recursive t as (select id from orders where customer = $1 union all "
    "select l.order_id from lines l join t on t.id = l.sku) select * from t": (
        "orders: equal=customer; lines: equal=sku"
    ),
    "select * from orders where customer = $1 union all select * from orders where status = $2 order by 1": (
        "orders: equal=customer; orders: equal=status"
    ),
    # names
    "select * from public.orders where public.orders.customer = $1": "orders: equal=customer",
    'select * from "My Schema"."Odd Table" where "Größe" = $1 and "select" > $2': "Odd Table: equal=Größe range=select",
    'select * from "Odd Table" where "Größe" = $1': "Odd Table: equal=Größe",
    "select * from a.twin where k = $1": "twin: equal=k",
    "select amount from orders, lines where amount = $1": "",
}

WRITES = {
    "update orders set status = $1 where customer = $2": ("orders: equal=customer", "orders", {"status"}),
    "update orders set (status, paid) = ($1, $2) where id = $3": ("orders: equal=id", "orders", {"status", "paid"}),
    "update orders o set status = $1 from customers c where c.id = o.customer and c.region = $2": (
        "orders: join=customer; customers: equal=region join=id",
        "orders",
        {"status"},
    ),
    "delete from orders where placed < now() - $1::interval": ("orders: range=placed", "orders", set()),
    "delete from orders o using customers c where c.id = o.customer": (
        "orders: join=customer; customers: join=id",
        "orders",
        set(),
    ),
    "insert into lines select id, customer, 1 from orders where status = $1": ("orders: equal=status", "lines", set()),
    "insert into orders (id, customer) values ($1, $2) on conflict (id) do update set status = excluded.status": (
        "",
        "orders",
        set(),
    ),
    "merge into orders o using lines l on l.order_id = o.id when matched then update set amount = l.amount": (
        "orders: join=id; lines: join=order_id",
        "orders",
        {"amount"},
    ),
    "with gone as (delete from lines where sku = $1 returning order_id) "
    "select * from orders where id in (select order_id from gone)": (
        "lines: equal=sku; orders: join=id",
        "lines",
        set(),
    ),
}


@pytest.mark.parametrize("text", READS)
def test_what_a_statement_reads(text: str) -> None:
    assert sketch(text) == READS[text]


@pytest.mark.parametrize("text", WRITES)
def test_what_a_statement_writes(text: str) -> None:
    read, table, columns = WRITES[text]
    shape = shape_of(text)

    assert (sketch(text), shape.written.name if shape.written else None) == (read, table)
    assert shape.set_columns == columns


def test_a_view_is_named_and_what_is_beside_it_is_read() -> None:
    text = "select * from recent v join orders o on o.id = v.id where o.customer = $1"

    assert shape_of(text).unresolved == {"recent"}
    assert sketch(text) == "orders: equal=customer,id"


def test_a_name_that_two_schemas_have_is_not_guessed() -> None:
    shape = shape_of("select * from twin where k = $1")

    assert shape.uses == []
    assert shape.unresolved == {"twin"}


def test_system_tables_are_not_called_views() -> None:
    assert shape_of("select * from pg_catalog.pg_class where relname = $1").unresolved == set()


def test_a_limit_on_a_union_is_known_as_one() -> None:
    shape = shape_of("select id from orders where customer = $1 union select id from orders limit $2")

    assert shape.parameters[2].role == "limit"


def test_parameters_know_the_column_that_they_meet() -> None:
    shape = shape_of(
        "select * from orders where customer <> all($1) and status not in ($2, $3) and (placed, id) > ($4, $5) "
        "and amount = any(array[$6, $7]) and placed > now() - $8::interval "
        "order by embedding <-> $9 limit $10 offset $11"
    )
    found = {n: (p.column, p.role, p.many) for n, p in shape.parameters.items()}

    assert found == {
        1: ("customer", "value", True),
        2: ("status", "value", False),
        3: ("status", "value", False),
        4: ("placed", "value", False),
        5: ("id", "value", False),
        6: ("amount", "value", False),
        7: ("amount", "value", False),
        8: ("placed", "interval", False),
        9: ("embedding", "value", False),
        10: (None, "limit", False),
        11: (None, "offset", False),
    }
