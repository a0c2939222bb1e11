"""Which CREATE INDEX statements of a person are taken, and what is said of the others?"""

from __future__ import annotations

import pytest

from ooda_dagster.advisor.index_ddl import IndexDdlError, read_create_index
from ooda_dagster_tests.advisor.shop import SHOP

TAKEN = {
    "create index on orders (customer)": "ON public.orders USING btree (customer)",
    "CREATE INDEX CONCURRENTLY named ON public.orders (status, placed DESC)": (
        "ON public.orders USING btree (status, placed DESC)"
    ),
    "create index on orders (placed desc nulls last) include (amount) where paid": (
        "ON public.orders USING btree (placed DESC NULLS LAST) INCLUDE (amount) WHERE paid"
    ),
    "create index on orders (lower(status) text_pattern_ops)": (
        "ON public.orders USING btree ((lower(status)) text_pattern_ops)"
    ),
    'create index on "My Schema"."Odd Table" ("Größe")': 'ON "My Schema"."Odd Table" USING btree ("Größe")',
    "create index on orders using hash (customer)": "ON public.orders USING hash (customer)",
}

REFUSED = {
    "create unique index on orders (customer)": "unique",
    "create index on orders (customer) with (fillfactor = 50)": "WITH",
    "create index on orders (customer) tablespace fast": "TABLESPACE",
    "create index on nowhere (customer)": "no table nowhere",
    "create index on orders (nothing)": "no column nothing",
    "create index on orders (customer) include (nothing)": "no column nothing",
    "create index on orders using gist (note gist_trgm_ops(siglen = 32))": "operator class options",
    "drop table orders": "only one CREATE INDEX",
    "create index on orders (customer); drop table orders": "only one CREATE INDEX",
    "create index on": "no valid SQL",
    "": "only one CREATE INDEX",
    "create index on orders ((1" + "+1" * 40_000 + "))": "nested too deeply",
}


@pytest.mark.parametrize("text", TAKEN)
def test_an_index_is_read(text: str) -> None:
    spec, name, table = read_create_index(text, SHOP)

    assert spec.definition == TAKEN[text]
    assert name == ("named" if "named" in text else None)
    assert table.key in SHOP.tables


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_taken_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(IndexDdlError, match=REFUSED[text]):
        read_create_index(text, SHOP)
