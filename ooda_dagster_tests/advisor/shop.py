"""A catalogue made by hand: a shop's tables with statistics, without a server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ooda_dagster.advisor.parse import read_shape
from ooda_dagster.advisor.shape import Shape, Use
from ooda_dagster.advisor.workload import WorkloadStatement
from ooda_dagster.core.catalogue import Catalogue, Column, ColumnStatistics, Index, Table
from ooda_dagster.core.fingerprint import fingerprint, kind_of
from ooda_dagster.core.indexes import IndexColumn, IndexSpec

ROWS = 100_000.0


def column(name: str, type_name: str = "integer", *, distinct: float = 1000, width: int = 4, **more: Any) -> Column:
    """A column with even values 0..99 in its histogram unless `values` says otherwise."""
    values = more.pop("values", tuple(str(n * 10) for n in range(101)))
    common = more.pop("common", {})
    has_btree = more.pop("has_btree", True)
    statistics = ColumnStatistics(0.0, width, distinct, tuple(common), tuple(common.values()), values, **more)
    return Column(name, type_name, 4, "i", True, has_btree, statistics=statistics)


def index(table: str, *columns: str | IndexColumn, unique: bool = False, **more: Any) -> Index:
    """An existing valid btree."""
    keys = tuple(IndexColumn(c) if isinstance(c, str) else c for c in columns)
    spec = IndexSpec("public", table, keys, where=more.pop("where", None), unique=unique)
    name = "_".join([table, *(k.label for k in keys), "idx"])
    return Index(1, "public", name, table, "", spec, 8192, 0, unique, more.get("primary", False), None, True)


def table(name: str, *columns: Column, schema: str = "public", **more: Any) -> Table:
    """An analysed table of 2,000 pages."""
    values: dict[str, Any] = {"kind": "r", "rows": ROWS, "pages": 2000, **more}
    named = {c.name: c for c in columns}
    size = 8192 * int(values["pages"])
    return Table(1, schema, name, owner="o", bytes=size, total_bytes=size, columns=named, **values)


ORDERS = table(
    "orders",
    column("id", "bigint", distinct=-1),
    column("customer", distinct=5000),
    column("status", "text", distinct=2, values=(), common={"done": 0.98, "open": 0.02}),
    column("placed", "timestamp with time zone", distinct=-1, values=tuple(f"2026-01-{d:02d}" for d in range(1, 29))),
    column("paid", "boolean", distinct=2, values=(), common={"t": 0.5, "f": 0.5}),
    column("amount", "numeric"),
    column("note", "text", width=800),
    column("embedding", "vector(3)", has_btree=False, values=()),
    indexes=(index("orders", "id", unique=True, primary=True),),
)
CUSTOMERS = table(
    "customers",
    column("id", distinct=-1),
    column("region", distinct=50),
    column("email", "text", distinct=-1),
    indexes=(index("customers", "id", unique=True, primary=True),),
)
LINES = table("lines", column("order_id", "bigint", distinct=50_000), column("sku", distinct=900), column("amount"))
QUOTED = table("Odd Table", column("Größe"), column("select", "text"), schema="My Schema")
TWIN_A, TWIN_B = (table("twin", column("k"), schema=s) for s in ("a", "b"))
EVENTS = table("events", column("kind"), kind="p")
FAR = table("far", column("k"), kind="f")
TINY = table("tiny", column("k"), pages=3)
SHOP = Catalogue({t.key: t for t in (ORDERS, CUSTOMERS, LINES, QUOTED, TWIN_A, TWIN_B, EVENTS, FAR, TINY)})


def with_indexes(*indexes: Index) -> Catalogue:
    """The shop with other indexes on `orders`."""
    return Catalogue({**SHOP.tables, ORDERS.key: replace(ORDERS, indexes=indexes)})


def shape_of(text: str, catalogue: Catalogue = SHOP) -> Shape:
    return read_shape(text, catalogue)


def sketch(text: str, catalogue: Catalogue = SHOP) -> str:
    """What was read, in short: `orders: equal=customer order=placed- limited; lines: join=order_id`."""
    return "; ".join(filter(None, (_sketch(use) for use in shape_of(text, catalogue).uses)))


def _sketch(use: Use) -> str:
    parts = [
        f"{word}={','.join(sorted(names))}"
        for word, names in (("equal", use.equal), ("join", use.join), ("range", use.range), ("any", use.any_of))
        if names
    ]
    if use.order:
        nulls = {None: "", True: "F", False: "L"}
        keys = (f"{o.column}{'-' if o.descending else '+'}{nulls[o.nulls_first]}" for o in use.order)
        parts.append("order=" + ",".join(keys))
    if use.group:
        parts.append("group=" + ",".join(use.group))
    if use.limited:
        parts.append("limited")
    return f"{use.table.name}: {' '.join(parts)}" if parts else ""


def statement(text: str, *, calls: float = 100, total_ms: float | None = 60_000, rows: float = 0) -> WorkloadStatement:
    """A statement of a workload, heavy unless told."""
    return WorkloadStatement(fingerprint(text), text, kind_of(text), calls, total_ms, rows)
