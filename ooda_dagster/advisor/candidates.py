"""Which indexes could a statement use? Btree candidates by the role of each column, in the order that a btree wants.

Equality first, then one range or the ORDER BY; of several equalities, each may lead. Width is bounded; what an existing
index serves already is left out and named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ooda_dagster.advisor.shape import Order, Shape, Use
from ooda_dagster.core.btree_size import PAGE_BYTES
from ooda_dagster.core.catalogue import Index, Table
from ooda_dagster.core.indexes import IndexColumn, IndexSpec

#: Tables below this many pages are read whole faster than any index is.
MIN_PAGES = 16
#: A key wider than this makes a poor btree, and one above a third of a page makes none.
MAX_KEY_BYTES = 256
#: Distinct values from which a column may stand before a more selective one.
_LEADS_FROM = 20


@dataclass
class Candidates:
    """Candidates of one statement; `served`: what exists already; `refused`: table → why it gets no index."""

    specs: list[IndexSpec] = field(default_factory=list)
    served: dict[IndexSpec, Index] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def candidates(shape: Shape, max_width: int) -> Candidates:
    """All candidates for the tables that a statement reads."""
    found = Candidates()
    for use in shape.uses:
        if why := refusal(use.table):
            found.refused[use.table.label] = why
            continue
        for spec in _for_use(use, max_width):
            if spec in found.specs or spec in found.served:
                continue
            existing = serving(use.table, spec)
            if existing:
                found.served[spec] = existing
            else:
                found.specs.append(spec)
    return found


def refusal(table: Table) -> str | None:
    """Why a table gets no index from us; None where it may."""
    if table.kind == "p":
        return "it is partitioned, and no what-if prices an index on it: propose one yourself (`ooda actions propose`)"
    if table.kind == "f":
        return "it is a foreign table"
    if table.persistence == "t":
        return "it is temporary"
    pages = max(table.pages, table.bytes // PAGE_BYTES)
    if pages < MIN_PAGES:
        return f"it is small ({pages} pages): reading it whole is cheap"
    if table.rows < 0:
        return "it was never analysed, so nothing is known of its rows: ANALYZE it"
    return None


def serving(table: Table, spec: IndexSpec) -> Index | None:
    """An existing valid index that makes `spec` pointless."""
    return next((i for i in table.indexes if i.valid and i.spec is not None and i.spec.serves(spec)), None)


def _for_use(use: Use, width: int) -> Iterator[IndexSpec]:
    table = use.table
    equal = _by_selectivity(table, use.equal)
    joins = _by_selectivity(table, use.join - use.equal)
    ranges = _by_selectivity(table, use.range - use.equal)
    for name in (*equal, *joins, *ranges, *_by_selectivity(table, use.any_of)):
        yield IndexSpec.on(table.schema, table.name, name)

    def spec(*columns: IndexColumn) -> IndexSpec:
        return IndexSpec(table.schema, table.name, columns)

    def plain(names: Sequence[str]) -> list[IndexColumn]:
        return [IndexColumn(n) for n in names]

    order = [k for k in use.order if k.column not in use.equal]
    keys = _order_keys(order) if all(_usable(table, k.column) for k in order) else []
    heads = list(_heads(table, equal, width))
    for head in heads:
        if len(head) > 1:
            yield spec(*plain(head))
        if len(head) < width:
            for name in (*ranges, *joins):
                yield spec(*plain(head), IndexColumn(name))
            if keys and len(head) + len(keys) <= width:
                yield spec(*plain(head), *keys)
                extra = [r for r in ranges if r not in {k.name for k in keys}]
                if extra and len(head) + len(keys) < width:
                    yield spec(*plain(head), *keys, IndexColumn(extra[0]))
            group = [g for g in use.group if g not in head and _usable(table, g)]
            if group and len(group) + len(head) <= width and len(group) == len([g for g in use.group if g not in head]):
                yield spec(*plain(head), *plain(group))
    for join in joins:
        if len(joins) > 1 < width:
            yield spec(*plain([join, *(j for j in joins if j != join)][:width]))
        if width > 1:
            for name in (*equal[:2], *ranges[:1]):
                yield spec(IndexColumn(join), IndexColumn(name))
            if keys and 1 + len(keys) <= width:
                yield spec(IndexColumn(join), *keys)
    if keys and len(keys) <= width and (use.limited or not equal):
        yield spec(*keys)
    group = [g for g in use.group if _usable(table, g)]
    if group and len(group) == len(use.group) <= width:
        yield spec(*plain(group))


def _heads(table: Table, equal: Sequence[str], width: int) -> Iterator[tuple[str, ...]]:
    """Equality prefixes, most selective column first; another may lead where it is selective in itself.

    For one statement the order of equalities does not matter; it decides which other statements are served too.
    """
    for name in equal:
        yield (name,)
    for size in range(2, min(len(equal), width) + 1):
        for lead in equal:
            if lead == equal[0] or _distinct(table, lead) >= _LEADS_FROM:
                yield (lead, *[c for c in equal if c != lead][: size - 1])


def _order_keys(order: Sequence[Order]) -> list[IndexColumn]:
    """Keys for an ORDER BY. Where all run the same way, ascending ones are read backwards."""
    default = all(k.nulls_first is None or k.nulls_first == k.descending for k in order)
    if default and len({k.descending for k in order}) <= 1:
        return [IndexColumn(k.column) for k in order]
    return [IndexColumn(k.column, descending=k.descending, nulls_first=k.nulls_first) for k in order]


def _usable(table: Table, name: str) -> bool:
    column = table.columns.get(name)
    if column is None or not column.has_btree or column.type.split("(")[0].endswith(("vector", "halfvec", "sparsevec")):
        return False
    return column.statistics is None or column.statistics.avg_width <= MAX_KEY_BYTES


def _by_selectivity(table: Table, names: set[str]) -> list[str]:
    """Usable columns, most distinct first; by name where nothing is known, so that results repeat."""

    return sorted((n for n in names if _usable(table, n)), key=lambda n: (-_distinct(table, n), n))


def _distinct(table: Table, name: str) -> float:
    """Distinct values of a column; 0 where nothing is known."""
    statistics = table.columns[name].statistics
    return statistics.distinct(max(table.rows, 1)) if statistics else 0.0
