"""Reads the catalogue of one database into values: tables, columns with statistics, indexes with use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

import pglast
import psycopg

from ooda_dagster.core.catalogue import Catalogue, Column, ColumnStatistics, Index, Table
from ooda_dagster.core.identifiers import qualified
from ooda_dagster.core.indexes import IndexColumn, IndexSpec
from ooda_dagster.targets.postgres.connection import foreign_code
from ooda_dagster.targets.postgres.queries import marked, query

_DESC, _NULLS_FIRST = 1, 2  # bits of pg_index.indoption


def read_catalogue(
    connection: psycopg.Connection[Any], statistics_for: Collection[tuple[str, str]] | None = None
) -> Catalogue:
    """All user tables; column statistics only for `statistics_for` (None: of none), as they are large.

    Seven short queries, each with a snapshot of its own: a table that is dropped between two of them is left out.
    """
    statistics = _statistics(connection, statistics_for) if statistics_for else {}
    labels = {}
    # Of a table that is gone by now, the server's functions know nothing.
    tables = {row.oid: row for row in connection.execute(query("read_tables")) if row.readable is not None}
    for oid, row in tables.items():
        labels[oid] = (row.schema, row.name)
    columns: dict[int, dict[str, Column]] = defaultdict(dict)
    for row in connection.execute(query("read_columns")):
        if row.table_oid in labels:
            values = row._asdict()
            values.pop("table_oid")
            key = (*labels[row.table_oid], row.name)
            columns[row.table_oid][row.name] = Column(**values, statistics=statistics.get(key))
    indexes: dict[int, list[Index]] = defaultdict(list)
    for row in connection.execute(query("read_indexes"), {"schema": None, "name": None}):
        if row.table_oid in labels and row.definition is not None:
            indexes[row.table_oid].append(index_of(row))
    found = {}
    for oid, row in tables.items():
        found[labels[oid]] = Table(**row._asdict(), columns=columns[oid], indexes=tuple(indexes[oid]))
    with foreign_code(connection, given_path=True):
        path = connection.execute(marked("select pg_catalog.current_schemas(false) as path")).fetchone()
    reset = connection.execute(
        marked("select stats_reset from pg_catalog.pg_stat_database where datname = current_database()")
    ).fetchone()
    return Catalogue(found, tuple(path.path) if path else ("public",), reset.stats_reset if reset else None)


def _statistics(
    connection: psycopg.Connection[Any], tables: Collection[tuple[str, str]]
) -> dict[tuple[str, str, str], ColumnStatistics]:
    labels = [qualified(schema, name) for schema, name in tables]
    found: dict[tuple[str, str, str], ColumnStatistics] = {}
    for row in connection.execute(query("read_column_statistics"), {"tables": labels}):
        # `inherited` rows come first: of a parent they describe what a statement on it sees; others overwrite none.
        found.setdefault(
            (row.schema, row.table, row.name),
            ColumnStatistics(
                null_frac=row.null_frac,
                avg_width=row.avg_width,
                n_distinct=row.n_distinct,
                common_values=tuple(row.common_values or ()),
                common_freqs=tuple(row.common_freqs or ()),
                histogram=tuple(row.histogram or ()),
                correlation=row.correlation,
            ),
        )
    return found


def index_of(row: Any) -> Index:
    """An Index from a row of read_indexes.sql."""
    return Index(
        oid=row.oid,
        schema=row.schema,
        name=row.name,
        table=row.table,
        definition=row.definition,
        spec=_spec(row),
        bytes=row.bytes,
        scans=row.scans,
        unique=row.unique,
        primary=row.primary,
        constraint=row.constraint,
        valid=row.valid,
        replica_identity=row.replica_identity,
        comment=row.comment,
        altered=row.altered,
        attached=row.attached,
    )


def _spec(row: Any) -> IndexSpec | None:
    if row.keys is None or row.has_options:
        return None  # an operator class with options of its own is not ours to compare
    own = _own_collations(row) if any(k["expression"] and k["collation"] for k in row.keys) else ()
    keys, include = [], []
    for part in row.keys:
        if not part["key"]:
            include.append(part["name"])
            continue
        descending = bool(part["option"] & _DESC)
        nulls_first = bool(part["option"] & _NULLS_FIRST)
        keys.append(
            IndexColumn(
                name=part["name"],
                expression=part["expression"],
                descending=descending,
                nulls_first=None if nulls_first == descending else nulls_first,
                opclass=part["opclass"],
                collation=None if part["expression"] and len(keys) not in own else part["collation"],
            )
        )
    return IndexSpec(row.schema, row.table, tuple(keys), tuple(include), row.predicate, row.method, row.unique)


def _own_collations(row: Any) -> Collection[int]:
    """Places of the keys that the definition gives a collation: the server writes it where it is not the key's own."""
    statement: Any = pglast.parse_sql(row.definition)[0].stmt
    return {place for place, key in enumerate(statement.indexParams) if key.collation}
