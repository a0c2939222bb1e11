"""Which estimates are wrong? The rows that the planner expects of a statement against those that its calls returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from ooda_dagster.advisor.costs import shapes_of
from ooda_dagster.advisor.instantiate import DEFAULT_SHARE, bindings, has_range, mended, readable_part
from ooda_dagster.advisor.parse import read_shape
from ooda_dagster.advisor.shape import Shape, UnreadableStatementError, Use
from ooda_dagster.advisor.workload import WorkloadStatement
from ooda_dagster.core.catalogue import Catalogue, Table
from ooda_dagster.core.settings import Statistics

_MOST_SAMPLES = 3


@dataclass(frozen=True)
class Misestimate:
    """A statement that returns `ratio` times more rows a call than the planner expects."""

    statement: WorkloadStatement
    shape: Shape
    expected: float
    returned: float

    @property
    def ratio(self) -> float:
        return self.returned / self.expected


def misestimates(
    statements: Sequence[WorkloadStatement],
    catalogue: Catalogue,
    planned_rows: Callable[[str], float | None],
    policy: Statistics,
) -> list[Misestimate]:
    """Statements whose rows are underestimated, worst first.

    planned_rows: the server's estimate for a text, None where the rows follow from no condition (LIMIT, an aggregate).
    Only SELECTs count: of those the rows returned are known. Overestimates are left: values of parameters are bound one
    by one, so that a pair of them may be one that never occurs.
    """
    found = []
    for statement, shape in shapes_of(statements, catalogue)[0]:
        if statement.kind != "select" or statement.rows_per_call < policy.min_estimate_rows:
            continue
        if not any(equalities(use) for use in shape.uses):
            continue
        expected = _expected(statement, shape, catalogue, planned_rows)
        if expected is not None and statement.rows_per_call >= policy.min_estimate_ratio * expected:
            found.append(Misestimate(statement, shape, expected, statement.rows_per_call))
    return sorted(found, key=lambda m: -m.ratio)


def equalities(use: Use) -> list[str]:
    """Columns that a statement compares with values, in the table's order; none where they single out one row."""
    columns = [name for name in use.table.columns if name in use.equal]
    unique = any(
        i.unique and i.valid and i.spec is not None and i.spec.where is None and set(i.spec.column_names) <= use.equal
        for i in use.table.indexes
    )
    return [] if unique else [name for name in columns if use.table.columns[name].has_btree]


def samplable(table: Table) -> bool:
    """Whether a sample of it may be read, and an object of ours be made on it."""
    return table.kind in ("r", "m") and table.persistence != "t" and table.readable and not table.row_security


def _expected(
    statement: WorkloadStatement,
    shape: Shape,
    catalogue: Catalogue,
    planned_rows: Callable[[str], float | None],
) -> float | None:
    """Mean estimate for what sessions really asked, else the median for values from the statistics; at least 1."""
    asked = [text for sample in statement.samples[:_MOST_SAMPLES] for text in _texts(sample, statement, catalogue)]
    rows = [r for r in map(planned_rows, asked) if r is not None]
    if rows:
        return max(1.0, sum(rows) / len(rows))
    if has_range(shape):  # how much of it is asked for is not known
        return None
    rows = [r for r in map(planned_rows, _bound(shape, statement)) if r is not None]
    return max(1.0, median(rows)) if rows else None


def _texts(sample: str, statement: WorkloadStatement, catalogue: Catalogue) -> list[str]:
    try:
        return _bound(read_shape(mended(sample), catalogue), statement)[:1]
    except UnreadableStatementError:
        return []


def _bound(shape: Shape, statement: WorkloadStatement) -> list[str]:
    text = readable_part(shape)
    if text is None:
        return []
    found = bindings(shape, text, rows_per_call=statement.rows_per_call, share=DEFAULT_SHARE)
    return [b.text for b in found if not b.generic]
