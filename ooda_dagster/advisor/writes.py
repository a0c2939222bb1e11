"""What does an index cost those who write? Estimated, in ms per hour, and netted against what it saves.

An insert makes one entry in every index. An update makes one in each index where it cannot be heap-only (HOT): when it
sets an indexed column, or the page is full. An index on a column that updates set takes HOT away from them: then every
index of the table gets an entry that it was spared before. (PostgreSQL's src/backend/access/heap/README.HOT.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ooda_dagster.advisor.shape import Shape
from ooda_dagster.advisor.workload import WorkloadStatement
from ooda_dagster.core.catalogue import Table
from ooda_dagster.core.indexes import IndexSpec

#: ms for one btree entry where nothing was measured: descent, insertion, WAL, and its share of vacuum.
DEFAULT_ENTRY_MS = 0.01
#: What a row costs beside its index entries, in entries: finding it or its page, and the heap tuple.
_ROW_ENTRIES = 2
_ENTRY_MS_BOUNDS = (0.002, 0.2)


@dataclass(frozen=True)
class Writing:
    """One statement's writes to a table."""

    table: Table
    kind: str
    rows_per_hour: float
    ms_per_row: float | None
    set_columns: frozenset[str]


def writings(statements: Sequence[tuple[WorkloadStatement, Shape]], hours: float) -> list[Writing]:
    """The workload's writes, from the rows that its statements changed."""
    found = []
    for statement, shape in statements:
        if shape.written is None or shape.kind not in ("insert", "update", "delete", "merge"):
            continue
        rows = statement.rows or statement.calls
        per_row = statement.total_ms / rows if statement.total_ms is not None and rows else None
        found.append(Writing(shape.written, shape.kind, rows / hours, per_row, shape.set_columns))
    return found


def write_ms_per_hour(spec: IndexSpec, table: Table, found: Sequence[Writing]) -> float:
    """Time that the index would cost the workload's writers."""
    own = [w for w in found if w.table.key == table.key]
    if not own:
        return 0.0
    keys = set(spec.column_names) | set(spec.include)
    indexed = {c for i in table.indexes if i.spec for c in (*i.spec.column_names, *i.spec.include)}
    hot = table.hot_updated / table.updated if table.updated else 0.5
    entry_ms = _entry_ms(table, own, hot)
    entries = 0.0
    for writing in own:
        if writing.kind in ("insert", "merge"):
            entries += writing.rows_per_hour
        if writing.kind in ("update", "merge"):
            was_hot = hot if not (writing.set_columns & indexed) else 0.0
            if writing.set_columns & keys:
                entries += writing.rows_per_hour * (1 + was_hot * len(table.indexes))
            else:
                entries += writing.rows_per_hour * (1 - was_hot)
        # A delete leaves the entry to vacuum: half an entry's work, later.
        if writing.kind == "delete":
            entries += 0.5 * writing.rows_per_hour
    return entries * entry_ms


def _entry_ms(table: Table, own: Sequence[Writing], hot: float) -> float:
    """ms per index entry, from what a written row costs now: a heap tuple, and an entry in each index unless it is HOT.

    Inserts tell it best; where there are none, updates do.
    """
    for kind, share in (("insert", 1.0), ("update", 1 - hot)):
        entries = _ROW_ENTRIES + share * len(table.indexes)
        measured = [w.ms_per_row / entries for w in own if w.kind == kind and w.ms_per_row is not None]
        if measured:
            low, high = _ENTRY_MS_BOUNDS
            return min(high, max(low, min(measured)))
    return DEFAULT_ENTRY_MS
