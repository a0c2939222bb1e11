"""How far is the model of index sizes from indexes that were really built?"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from ooda_dagster.core.btree_size import IndexSize, KeyColumn, btree_size, index_bytes, index_size
from ooda_dagster.core.catalogue import Table
from ooda_dagster.core.indexes import IndexColumn, IndexSpec
from ooda_dagster.embedded import Cluster
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import Database

ROWS = 40_000
TOLERANCE = 0.15

#: Columns by what is hard about them: type, and its value in row g.
COLUMNS = {
    "id": ("bigint", "g"),
    "few": ("int", "g % 7"),
    "thousand": ("int", "hashint4(g) % 1000"),
    "in_pairs": ("int", "g / 2"),
    "loose_pairs": ("int", "(random() * 50000)::int"),
    "skewed": ("int", "(10000 * random() ^ 8)::int"),
    "flag": ("boolean", "g % 3 = 0"),
    "small": ("smallint", "hashint4(g) % 30000"),
    "day": ("date", "date '2025-01-01' + g % 365"),
    "at": ("timestamptz", "timestamptz '2025-01-01' + g * interval '1 second'"),
    "key": ("uuid", "md5(g::text)::uuid"),
    "hash": ("text", "md5(g::text)"),
    "status": ("text", "(array['open', 'done', 'cancelled'])[1 + (random() ^ 4 * 2.99)::int % 3]"),
    "name": ("varchar(40)", "left(md5(g::text), 5 + g % 20)"),
    "city": ("text", "'city ' || hashint4(g) % 2000"),
    "code": ("char(8)", "lpad((g % 5000)::text, 8)"),
    "amount": ("numeric(12,2)", "(random() * 1000)::numeric(12,2)"),
    "score": ("double precision", "round(random()::numeric, 2)"),
    "url": ("text", "repeat(md5(g::text), 6)"),
    "half": ("int", "case when g % 2 = 0 then g end"),
    "rare": ("bigint", "case when g % 100 = 0 then g end"),
    "maybe": ("text", "case when g % 3 > 0 then 'value ' || g % 50 end"),
    "never": ("int", "null"),
    "address": ("inet", "'10.0.0.0'::inet + g"),
    "tags": ("text[]", "array['a', (g % 100)::text]"),
}


def _on(*columns: str, **fields: object) -> IndexSpec:
    return replace(IndexSpec.on("public", "sizes", *columns), **fields)  # type: ignore[arg-type]


BUILT = [
    *(_on(name) for name in COLUMNS),
    _on("few", "thousand"),
    _on("thousand", "few"),
    _on("few", "at"),
    _on("flag", "few"),
    _on("status", "city"),
    _on("city", "id"),
    _on("day", "few", "thousand"),
    _on("half", "rare"),
    _on("maybe", "few"),
    _on("thousand", include=("amount",)),
    _on("few", include=("id", "city")),
    _on("id", unique=True),
    _on("hash", unique=True),
    _on("few", unique=False, columns=(IndexColumn("few", descending=True), IndexColumn("id"))),
]


@pytest.fixture(scope="module")
def sizes(target_server: Cluster) -> Iterator[Database]:
    """A table with all the columns and all the indexes."""
    database = Database(target_server, f"test_{uuid.uuid4().hex[:12]}")
    database.create()
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
    values = ", ".join(f"({value})::{kind}" for kind, value in COLUMNS.values())
    database.execute(
        f"create table sizes ({columns}); select setseed(0.5); "
        f"insert into sizes select {values} from generate_series(1, {ROWS}) g; analyze sizes",
        dsn=database.app,
    )
    database.execute("; ".join(spec.ddl(concurrently=False) for spec in BUILT), dsn=database.app)
    yield database
    database.drop()


@pytest.fixture(scope="module")
def table(sizes: Database) -> Table:
    """The table as the observing role sees it: statistics as ANALYZE left them."""
    with PostgresTarget("t", sizes.observe).observing("test") as session:
        return session.catalogue({("public", "sizes")}).tables["public", "sizes"]


@pytest.mark.parametrize("spec", BUILT, ids=lambda s: s.definition.split("btree ")[1] + " unique" * s.unique)
def test_a_size_is_within_15_per_cent_of_the_built_index(spec: IndexSpec, table: Table) -> None:
    built = next(index.bytes for index in table.indexes if index.name == spec.name)
    assert abs(index_bytes(table, spec) / built - 1) < TOLERANCE


def test_the_height_is_that_of_the_built_index(sizes: Database, table: Table) -> None:
    sizes.execute("create extension if not exists pageinspect")
    for spec in (_on("few"), _on("id"), _on("url"), _on("never")):
        level = sizes.execute("select level from bt_metap(%s)", spec.name)[0][0]
        assert index_size(table, spec).height == level, spec


def test_a_partial_index_is_sized_by_its_share_of_the_rows(sizes: Database, table: Table) -> None:
    spec = _on("id", where="few = 0")
    sizes.execute(spec.ddl(concurrently=False), dsn=sizes.app)
    built = sizes.execute("select pg_relation_size(%s::regclass)", spec.name)[0][0]
    assert index_bytes(table, spec, selectivity=1 / 7) == pytest.approx(built, rel=TOLERANCE)


def test_an_empty_index_is_one_page() -> None:
    assert btree_size(0, [KeyColumn(4, "i", 4, 0, -1)]) == IndexSize(1, 0)


def test_more_rows_or_wider_keys_are_never_smaller() -> None:
    pages = [btree_size(rows, [KeyColumn(4, "i", 4, 0.1, 100)]).pages for rows in (1, 10, 1e3, 1e5, 1e7, 1e9)]
    widths = [btree_size(1e5, [KeyColumn(-1, "i", width, 0, -1)]).pages for width in (2, 8, 40, 126, 130, 500)]
    assert pages == sorted(pages)
    assert widths == sorted(widths)


def test_statistics_at_their_bounds_give_a_finite_size() -> None:
    bounds = product((-1, 0, 0.5, 1, 1e10), (-1.0, -0.5, 0.0, 1.0, 1e12), (0.0, 0.5, 1.0), (1, 3))
    for rows, n_distinct, null_frac, count in bounds:
        size = btree_size(rows, [KeyColumn(8, "d", 8, null_frac, n_distinct)] * count)
        assert 1 <= size.pages < math.inf, (rows, n_distinct, null_frac, count)
        assert size.bytes == size.pages * 8192


def test_a_table_without_statistics_gets_a_size_all_the_same(table: Table) -> None:
    bare = replace(table, columns={n: replace(c, statistics=None) for n, c in table.columns.items()})
    for spec in (_on("id"), _on("city"), _on("few", "url")):
        assert 0.2 < index_bytes(bare, spec) / index_bytes(table, spec) < 5
    assert index_bytes(replace(table, rows=-1), _on("id")) == 8192


@pytest.mark.parametrize(
    ("method", "column", "lowest", "highest"),
    [("hash", "id", 0.5, 2), ("gist", "address", 0.5, 2), ("brin", "id", 0.3, 3), ("gin", "tags", 0.5, 30)],
)
def test_other_access_methods_are_told_to_the_order_of_magnitude(
    method: str, column: str, lowest: float, highest: float, sizes: Database, table: Table
) -> None:
    opclass = "inet_ops" if method == "gist" else None
    spec = _on(method=method, columns=(IndexColumn(column, opclass=opclass),))
    sizes.execute(spec.ddl(concurrently=False), dsn=sizes.app)
    built = sizes.execute("select pg_relation_size(%s::regclass)", spec.name)[0][0]
    assert lowest < index_bytes(table, spec) / built < highest
