"""What does an index cost those who write?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ooda_dagster.advisor.writes import DEFAULT_ENTRY_MS, Writing, write_ms_per_hour, writings
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster_tests.advisor.shop import ORDERS, shape_of, statement

HOT = replace(ORDERS, updated=1000, hot_updated=1000)
CUSTOMER = IndexSpec.on("public", "orders", "customer")


def cost(writing: Writing, spec: IndexSpec = CUSTOMER) -> float:
    """In index entries."""
    return write_ms_per_hour(spec, HOT, [writing]) / DEFAULT_ENTRY_MS


def writing(kind: str, *columns: str) -> Writing:
    return Writing(HOT, kind, 1000, None, frozenset(columns))


def test_an_insert_makes_one_entry_a_row() -> None:
    assert cost(writing("insert")) == 1000


def test_an_update_of_other_columns_stays_free_while_it_is_heap_only() -> None:
    assert cost(writing("update", "status")) == 0


def test_an_update_of_an_indexed_column_pays_for_every_index_that_was_spared() -> None:
    assert cost(writing("update", "customer")) == 1000 * (1 + len(HOT.indexes))


def test_an_update_that_is_not_heap_only_already_pays_one_entry() -> None:
    assert cost(writing("update", "id")) == 1000


def test_an_included_column_counts_as_a_key() -> None:
    spec = IndexSpec.on("public", "orders", "customer", include=("status",))

    assert cost(writing("update", "status"), spec) > 0


def test_writes_to_another_table_cost_nothing() -> None:
    other = replace(writing("insert"), table=replace(HOT, name="other"))

    assert cost(other) == 0


def test_an_inserted_row_that_is_dear_now_makes_entries_dear() -> None:
    dear = replace(writing("insert"), ms_per_row=0.3)

    assert cost(dear) == pytest.approx(1000 * 0.1 / DEFAULT_ENTRY_MS)


def test_rows_written_are_read_from_the_statements_by_kind() -> None:
    statements = [
        statement("insert into orders (id) values ($1)", calls=10, rows=50),
        statement("update orders set status = $1 where id = $2", calls=20),
        statement("select * from orders where id = $1", calls=30),
    ]
    found = writings([(s, shape_of(s.text)) for s in statements], hours=2)

    assert [(w.kind, w.rows_per_hour, set(w.set_columns)) for w in found] == [
        ("insert", 25, set()),
        ("update", 10, {"status"}),
    ]
