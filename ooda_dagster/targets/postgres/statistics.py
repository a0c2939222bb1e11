"""Reads how a table's statistics are kept, and samples whether they are wrong. Only counts leave the server."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations
from typing import Any

import psycopg
from psycopg import sql

from ooda_dagster.core.catalogue import Table
from ooda_dagster.core.errors import silenced
from ooda_dagster.core.identifiers import qualified
from ooda_dagster.core.settings import Statistics
from ooda_dagster.core.statistics import ExtendedStatistics, PairSample, RareSample, TableStatistics
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.postgres.connection import foreign_code
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.queries import MARKER, marked, query, trusted

#: Plan nodes that return as many rows as what is below them.
_PASSING = frozenset({"Sort", "Incremental Sort", "Gather", "Gather Merge", "Materialize", "LockRows", "Subquery Scan"})
#: Plan nodes after which the number of rows tells nothing of the conditions.
_CUTTING = frozenset({"Aggregate", "Group", "Limit", "Unique", "SetOp", "Result", "ProjectSet", "ModifyTable"})


def read_table_statistics(
    connection: psycopg.Connection[Any], tables: Collection[tuple[str, str]]
) -> dict[tuple[str, str], TableStatistics]:
    """Of each table that exists, by (schema, name). Raises TargetError."""
    labels = [qualified(schema, name) for schema, name in tables]
    try:
        rows = connection.execute(query("read_table_statistics"), {"tables": labels}).fetchall()
    except psycopg.Error as error:
        raise translate(error, "reading what statistics there are") from error
    found = {}
    for row in rows:
        values = row._asdict()
        key = (values.pop("schema"), values.pop("table"))
        extended = tuple(_extended(one) for one in values.pop("extended"))
        found[key] = TableStatistics(**values, extended=extended)
    return found


def _extended(value: dict[str, Any]) -> ExtendedStatistics:
    columns, kinds = frozenset(value.pop("columns") or ()), frozenset(value.pop("kinds"))
    return ExtendedStatistics(**value, columns=columns, kinds=kinds)


def planned_rows(connection: psycopg.Connection[Any], text: str) -> float | None:
    """Rows that the planner expects of a SELECT, which is not executed; None where they follow from no condition.

    Raises TargetError, whose message holds no literal.
    """
    try:
        with foreign_code(connection, given_path=True):
            row = connection.execute(trusted(f"EXPLAIN (FORMAT JSON) {text} {MARKER}")).fetchone()
    except psycopg.Error as error:
        silenced(error)
        raise TargetError(f"EXPLAIN failed ({error.sqlstate})") from error
    assert row is not None
    node = row[0][0]["Plan"]
    while node["Node Type"] in _PASSING and node.get("Plans"):
        if node["Node Type"] == "Subquery Scan" and node.get("Filter"):
            break
        rows, node = float(node["Plan Rows"]), node["Plans"][0]
        node = {**node, "Plan Rows": rows}  # below Gather stand the rows of one worker
    return None if node["Node Type"] in _CUTTING else float(node["Plan Rows"])


def sample_pairs(
    connection: psycopg.Connection[Any], table: Table, columns: Sequence[str], policy: Statistics
) -> list[PairSample]:
    """How often rows of a sample agree in each two of the columns. Raises TargetError where it takes too long."""
    pairs = list(combinations(range(len(columns)), 2))
    names = [sql.Identifier(c) for c in columns]
    single = [trusted(f"count(*) over (partition by c{i}) as n{i}") for i in range(len(columns))]
    double = [trusted(f"count(*) over (partition by c{i}, c{j}) as n{i}_{j}") for i, j in pairs]
    means = [
        trusted(
            f"coalesce(avg(n{i}_{j} - 1), 0)::float8 as both{i}_{j}, "
            f"coalesce(avg((n{i} - 1)::float8 * (n{j} - 1)), 0) as apart{i}_{j}, "
            f"coalesce(avg((n{i}_{j} = n{i})::int) filter (where n{i} > 1), 0)::float8 as first{i}_{j}, "
            f"coalesce(avg((n{i}_{j} = n{j})::int) filter (where n{j} > 1), 0)::float8 as second{i}_{j}"
        )
        for i, j in pairs
    ]
    text = query("sample_pairs").format(
        columns=sql.SQL(", ").join(sql.SQL("{} as {}").format(c, trusted(f"c{i}")) for i, c in enumerate(names)),
        table=sql.Identifier(table.schema, table.name),
        percent=sql.Literal(_percent(table, policy)),
        known=sql.SQL(" and ").join(sql.SQL("{} is not null").format(c) for c in names),
        rows=sql.Literal(policy.sample_rows),
        counts=sql.SQL(", ").join([*single, *double]),
        means=sql.SQL(", ").join(means),
    )
    row = _limited(connection, text, policy)
    return [
        PairSample(
            columns[i],
            columns[j],
            row.n,
            *(getattr(row, f"{what}{i}_{j}") for what in ("both", "apart", "first", "second")),
        )
        for i, j in pairs
    ]


def sample_rare(connection: psycopg.Connection[Any], table: Table, column: str, policy: Statistics) -> RareSample:
    """How often rows of a sample share a value that is not among the common ones that the server knows."""
    text = query("sample_rare_values").format(
        schema=sql.Literal(table.schema),
        name=sql.Literal(table.name),
        label=sql.Literal(column),
        column=sql.Identifier(column),
        table=sql.Identifier(table.schema, table.name),
        percent=sql.Literal(_percent(table, policy)),
        rows=sql.Literal(policy.sample_rows),
    )
    row = _limited(connection, text, policy)
    return RareSample(row.n, row.mates, row.share)


def _percent(table: Table, policy: Statistics) -> float:
    """Share of the pages to sample, in per cent: enough for the rows that are wanted, within the pages allowed.

    Pages are told from the file's size: of a table that was never vacuumed the catalogue knows none.
    """
    pages = max(table.bytes / 8192, 1)
    # A fifth more than is needed, so that LIMIT ends the scan, not chance.
    wanted = 1.2 * policy.sample_rows / max(table.rows, 1)
    return round(100 * min(1.0, wanted, policy.sample_pages / pages), 6) or 0.000001


def _limited(connection: psycopg.Connection[Any], text: sql.Composed, policy: Statistics) -> Any:
    """The one row of a sample, under its own timeout. Only for sessions that look: they are read-only."""
    try:
        with foreign_code(connection):  # equality may be a function of the user's
            limit = marked("select pg_catalog.set_config('statement_timeout', %s, true)")
            connection.execute(limit, (f"{max(1, int(policy.sample_timeout_s * 1000))}ms",))
            return connection.execute(text).fetchone()
    except psycopg.Error as error:
        raise translate(error, "sampling a table") from error
