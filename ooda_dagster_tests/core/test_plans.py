"""Is a plan the same whatever its costs and values, another where it reads otherwise, and free of values?"""

from __future__ import annotations

from typing import Any

import pytest

from ooda_dagster.core.catalogue import Catalogue, Index, Table
from ooda_dagster.core.plans import UnreadablePlanError, read_plan, scrubbed_expression


def scan(kind: str = "Seq Scan", *, on: str = "orders", alias: str = "o", **fields: Any) -> dict[str, Any]:
    known = {f.replace("_", " ").title(): value for f, value in fields.items()}
    return {"Node Type": kind, "Relation Name": on, "Alias": alias, "Total Cost": 9.5, "Plan Rows": 100, **known}


def node(kind: str, *children: dict[str, Any], **fields: Any) -> dict[str, Any]:
    known = {f.replace("_", " ").title(): value for f, value in fields.items()}
    return {"Node Type": kind, "Plans": list(children), **known}


def look_up(value: str, **fields: Any) -> dict[str, Any]:
    return scan("Index Scan", index_name="orders_customer", index_cond=f"(customer = {value})", **fields)


def test_costs_rows_times_loops_and_values_make_no_other_plan() -> None:
    executed = {**look_up("7"), "Total Cost": 1e9, "Plan Rows": 1, "Actual Rows": 5, "Actual Loops": 3}
    generic = look_up("$1", filter="(status = $2)")
    custom = look_up("'x'::text", filter="(status = 'open'::text)")
    assert read_plan(executed).hash == read_plan(generic).hash == read_plan(custom).hash


@pytest.mark.parametrize(
    "other",
    [
        scan(),
        scan("Bitmap Heap Scan", recheck_cond="(customer = 7)"),
        look_up("7", scan_direction="Backward"),
        {**look_up("7"), "Index Name": "orders_placed"},
        {**look_up("7"), "Index Cond": None},
        {**look_up("7"), "Relation Name": "customers"},
        {**look_up("7"), "Parallel Aware": True},
        node("Limit", look_up("7")),
    ],
)
def test_another_way_of_reading_is_another_plan(other: dict[str, Any]) -> None:
    assert read_plan(other).hash != read_plan(look_up("7")).hash


def test_which_side_of_a_join_is_read_first_counts() -> None:
    a, b = scan(on="a", alias="a"), scan(on="b", alias="b")
    first = node("Nested Loop", {**a, "Parent Relationship": "Outer"}, {**b, "Parent Relationship": "Inner"})
    second = node("Nested Loop", {**b, "Parent Relationship": "Outer"}, {**a, "Parent Relationship": "Inner"})
    assert read_plan(first).hash != read_plan(second).hash


def test_workers_and_numbers_of_subplans_do_not_count() -> None:
    two = node("Gather", scan(parallel_aware=True), workers_planned=2)
    four = node("Gather", scan(parallel_aware=True), workers_planned=4)
    assert read_plan(two).hash == read_plan(four).hash
    first = node("Result", scan(parent_relationship="InitPlan", subplan_name="InitPlan 1"))
    renamed = node("Result", scan(parent_relationship="InitPlan", subplan_name="InitPlan 3 (returns $0)"))
    assert read_plan(first).hash == read_plan(renamed).hash


def partitions(*names: str) -> Catalogue:
    tables = {}
    for n, name in enumerate(names):
        index = Index(n, "public", f"{name}_at_idx", name, f"CREATE INDEX {name}_at_idx ON {name} USING btree (at)",
                      None, 0, 0, False, False, None, True)  # fmt: skip
        tables["public", name] = Table(n, "public", name, "r", "app", 1, 1, 1, 1, is_partition=True, indexes=(index,))
    return Catalogue(tables)


def part(name: str, alias: str, kind: str = "Index Scan") -> dict[str, Any]:
    fields = {"index_name": f"{name}_at_idx", "index_cond": "(at > 1)"} if kind == "Index Scan" else {}
    return scan(kind, on=name, alias=alias, parent_relationship="Member", **fields)


def test_which_partitions_are_left_does_not_count_but_how_they_are_read_does() -> None:
    known = partitions("log_1", "log_2", "log_3")
    one = {**part("log_3", "log"), "Parent Relationship": "Outer"}
    two = node("Append", part("log_1", "log_1"), part("log_2", "log_2"), parent_relationship="Outer")
    three = node("Append", *(part(f"log_{n}", f"log_{n}") for n in (1, 2, 3)), parent_relationship="Outer")
    mixed = node("Append", part("log_1", "log_1"), part("log_2", "log_2", "Seq Scan"), parent_relationship="Outer")
    plans = [read_plan(node("Sort", p), known) for p in (one, two, three, mixed)]
    assert plans[0].hash == plans[1].hash == plans[2].hash != plans[3].hash
    assert "(3 of them)" in plans[2].text
    assert read_plan(node("Sort", two)).hash != read_plan(node("Sort", three)).hash  # a UNION ALL, for all one knows


def test_a_plan_is_told_as_explain_tells_it_without_any_value() -> None:
    secret = "4111-1111"
    top = node(
        "Aggregate",
        node(
            "Hash Join",
            scan(schema="public", parent_relationship="Outer", output=[f"'{secret}'"], filter=f"(note = '{secret}')"),
            node("Hash", look_up(f"'{secret}'::text", on="people", alias="people", parent_relationship="Outer")),
            join_type="Left",
            hash_cond="(o.person = people.id)",
        ),
        strategy="Hashed",
        partial_mode="Simple",
        group_key=["o.status", f"(o.note || '{secret}'::text)"],
        remote_sql=f"select '{secret}'",
    )
    plan = read_plan(top)
    assert plan.text.splitlines() == [
        "HashAggregate",
        "     Group Key: o.status, (o.note || ?)",
        "  -> Hash Left Join",
        "       Hash Cond: (o.person = people.id)",
        "    -> Seq Scan on orders o",
        "         Filter: (note = ?)",
        "    -> Hash",
        "      -> Index Scan using orders_customer on people",
        "           Index Cond: (customer = ?)",
    ]
    assert plan.relations == ("people", "public.orders")
    assert secret not in repr(plan)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("(c = ANY ('{1,2}'::integer[]))", "(c = ANY (?))"),
        ("((a)::numeric > 1.5)", "((a)::numeric > ?)"),
        ("(at > '2026-01-01 00:00:00+00'::timestamp with time zone)", "(at > ?)"),
        ("(s = 'o''brien'::character varying(20))", "(s = ?)"),
        ("(u = E'a\\\\b'::text)", "(u = ?)"),
        ('("Grüße" = $3)', '("Grüße" = ?)'),
        ("(b = B'101'::\"bit\")", '(b = ?::"bit")'),
        ("(payload @> '{\"card\": 4111}'::jsonb)", "(payload @> ?)"),
        ("(s = 'cut off", "(a condition that cannot be read)"),
    ],
)
def test_conditions_keep_no_value(text: str, told: str) -> None:
    assert scrubbed_expression(text) == told


def test_what_is_no_plan_is_refused_in_words_without_it() -> None:
    deep: dict[str, Any] = scan()
    for _ in range(3000):
        deep = node("Append", deep)
    for broken in (deep, {"Plans": []}, {"Node Type": "Sort", "Plans": [7]}):
        with pytest.raises(UnreadablePlanError, match="it is no plan"):
            read_plan(broken)
