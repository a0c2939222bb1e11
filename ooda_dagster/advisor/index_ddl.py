"""Reads a person's CREATE INDEX into an IndexSpec."""

# pglast types every field as optional; what the grammar guarantees is not checked again.
# pyright: reportOptionalIterable=false, reportOptionalMemberAccess=false, reportArgumentType=false

from __future__ import annotations

from pglast import ast
from pglast.enums import SortByDir, SortByNulls
from pglast.stream import RawStream

from ooda_dagster.advisor.parsing import parse
from ooda_dagster.advisor.shape import UnreadableStatementError
from ooda_dagster.core.catalogue import Catalogue, Table
from ooda_dagster.core.identifiers import qualified
from ooda_dagster.core.indexes import IndexColumn, IndexSpec


class IndexDdlError(ValueError):
    """A statement that is not taken; the message says what would be."""


def read_create_index(text: str, catalogue: Catalogue) -> tuple[IndexSpec, str | None, Table]:
    """The index that a CREATE INDEX statement describes, the name that it gives, and its table.

    Raises IndexDdlError for anything else, and for what the loop does not build: unique indexes (they can make a
    statement fail), storage options and tablespaces.
    """
    try:
        statements = parse(text)
    except UnreadableStatementError as error:
        raise IndexDdlError(f"no valid SQL: {error}") from None
    node = statements[0].stmt if len(statements) == 1 else None
    if not isinstance(node, ast.IndexStmt):
        raise IndexDdlError("only one CREATE INDEX statement is taken")
    if node.unique:
        raise IndexDdlError("a unique index is a constraint: it can make statements fail, so the loop builds none")
    if node.options or node.tableSpace:
        raise IndexDdlError("WITH (...) and TABLESPACE are not supported")
    relation = node.relation
    table = catalogue.find(relation.relname, relation.schemaname)
    if table is None:
        raise IndexDdlError(f"no table {'.'.join(p for p in (relation.schemaname, relation.relname) if p)}")
    spec = IndexSpec(
        table.schema,
        table.name,
        tuple(_column(p, table) for p in node.indexParams),
        tuple(p.name for p in node.indexIncludingParams or ()),
        RawStream()(node.whereClause) if node.whereClause else None,
        node.accessMethod or "btree",
    )
    missing = (set(spec.column_names) | set(spec.include)) - table.columns.keys()
    if missing:
        raise IndexDdlError(f"{table.label} has no column {', '.join(sorted(missing))}")
    return spec, node.idxname, table


def _column(node: ast.IndexElem, table: Table) -> IndexColumn:
    if node.opclassopts:
        raise IndexDdlError("operator class options are not supported")
    descending = node.ordering == SortByDir.SORTBY_DESC
    nulls = {SortByNulls.SORTBY_NULLS_FIRST: True, SortByNulls.SORTBY_NULLS_LAST: False}.get(node.nulls_ordering)
    return IndexColumn(
        name=node.name,
        expression=RawStream()(node.expr) if node.expr is not None else None,
        descending=descending,
        nulls_first=None if nulls == descending else nulls,
        opclass=qualified(*(p.sval for p in node.opclass)) if node.opclass else None,
        collation=qualified(*(p.sval for p in node.collation)) if node.collation else None,
    )
