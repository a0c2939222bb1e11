"""Carries pg_stats and the sizes in pg_class across, with PostgreSQL 18's own functions to restore them.

Values of rows are in here: they go through COPY from server to server, and into no message.
"""

from __future__ import annotations

from typing import Any

import psycopg

from ooda_dagster.core.identifiers import qualified, quote_literal
from ooda_dagster.core.planner_statistics import COLUMN_ARGUMENTS
from ooda_dagster.embedded.clone.report import CloneReport
from ooda_dagster.embedded.clone.schema import Carried
from ooda_dagster.embedded.clone.source import Source, trusted

_RANGES_SINCE = 17  # pg_stats shows range histograms
_FALLBACK = ("null_frac", "avg_width", "n_distinct")


def _arguments(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{n}', r.{n}" for n in names)


# A row whose values do not fit the clone's type is taken with its widths and counts only.
_PREPARE = f"""
create table clone_meta.attribute (schema_name text, table_name text, column_name text, inherited bool,
    {", ".join(f"{n} {t}" for n, t in COLUMN_ARGUMENTS.items())});
create table clone_meta.relation (schema_name text, relation_name text, pages int, tuples real, all_visible int);
create function clone_meta.put(r clone_meta.attribute) returns text language plpgsql as $body$
begin
    perform pg_catalog.pg_restore_attribute_stats('schemaname', r.schema_name, 'relname', r.table_name,
        'attname', r.column_name, 'inherited', r.inherited, {_arguments(tuple(COLUMN_ARGUMENTS))});
    return null;
exception when others then
    begin
        perform pg_catalog.pg_restore_attribute_stats('schemaname', r.schema_name, 'relname', r.table_name,
            'attname', r.column_name, 'inherited', r.inherited, {_arguments(_FALLBACK)});
        return 'its values do not fit the clone (' || sqlstate || '): widths and counts only';
    exception when others then
        return 'not taken (' || sqlstate || ')';
    end;
end $body$;
"""


def carry(source: Source, clone: psycopg.Connection[Any], report: CloneReport, carried: Carried) -> None:
    """Statistics of the carried relations; what is missing is named."""
    clone.execute(trusted(_PREPARE))
    _copy_attributes(source, clone, carried)
    bad = clone.execute(
        "select schema_name, table_name, column_name, why from (select schema_name, table_name, column_name, "
        "clone_meta.put(a) as why from clone_meta.attribute a offset 0) x where why is not null"
    ).fetchall()
    for schema, table, column, why in bad:
        report.blind[f"statistics of {qualified(schema, table, column)}"] = why
    rows = [(r.schema, r.name, r.pages, r.rows, r.all_visible) for r in carried.relations.values()]
    rows += [(i.schema, i.name, i.pages, i.rows, 0) for i in carried.indexes.values()]
    with clone.cursor() as cursor, cursor.copy("copy clone_meta.relation from stdin") as copy:
        for row in rows:
            copy.write_row(row)
    restore_relations(clone)
    report.counts |= {"relations": len(carried.relations), "indexes": len(carried.indexes)}
    count = clone.execute("select count(*) from clone_meta.attribute").fetchone()
    report.counts["columns with statistics"] = count[0] if count else 0
    _name_missing(source, clone, report, carried)


def restore_relations(clone: psycopg.Connection[Any]) -> None:
    """Set every relation's pages and rows: building an index on an emptied heap overwrites them."""
    clone.execute(
        "select pg_catalog.pg_restore_relation_stats('schemaname', schema_name, 'relname', relation_name, "
        "'relpages', pages, 'reltuples', tuples, 'relallvisible', all_visible) from clone_meta.relation "
        "where to_regclass(quote_ident(schema_name) || '.' || quote_ident(relation_name)) is not null"
    )


def _copy_attributes(source: Source, clone: psycopg.Connection[Any], carried: Carried) -> None:
    selected = []
    for name, kind in COLUMN_ARGUMENTS.items():
        if name.startswith("range_") and source.major < _RANGES_SINCE:
            selected.append("null")
        else:
            selected.append(f"{name}::text" if kind == "text" else name)
    labels = [qualified(r.schema, r.name) for r in (*carried.relations.values(), *carried.indexes.values())]
    if not labels:
        return
    # COPY takes no parameters: names are quoted as literals.
    wanted = ", ".join(quote_literal(label) for label in labels)
    text = (
        f"copy (select schemaname, tablename, attname, inherited, {', '.join(selected)} from pg_catalog.pg_stats "  # noqa: S608
        f"where pg_catalog.format('%I.%I', schemaname, tablename) in ({wanted})) to stdout"
    )
    with clone.cursor() as cursor, cursor.copy("copy clone_meta.attribute from stdin") as copy:
        for block in source.copy_out(text):
            copy.write(block)


def _name_missing(source: Source, clone: psycopg.Connection[Any], report: CloneReport, carried: Carried) -> None:
    seen = {tuple(r) for r in clone.execute("select distinct schema_name, table_name from clone_meta.attribute")}
    for row in carried.relations.values():
        if row.kind not in "rpm" or (row.schema, row.name) in seen or row.rows == 0:
            continue
        if not row.readable:
            why = "no SELECT right"
        elif row.row_security:
            why = "row level security hides them"
        else:
            why = "never analysed" if row.rows < 0 else "none visible"
        report.blind[f"statistics of {qualified(row.schema, row.name)}"] = why
    for row in carried.indexes.values():
        if row.kind == "i" and row.has_expressions and row.rows > 0 and (row.schema, row.name) not in seen:
            why = "the role does not see those of its expressions; one with pg_read_all_data does"
            report.blind[f"statistics of {qualified(row.schema, row.name)}"] = why
    if source.major < _RANGES_SINCE:
        ranges = clone.execute(
            "select m.schema_name, m.table_name, m.column_name from clone_meta.attribute m "
            "join pg_catalog.pg_attribute a on a.attname = m.column_name and a.attrelid = "
            "to_regclass(quote_ident(m.schema_name) || '.' || quote_ident(m.table_name)) "
            "join pg_catalog.pg_type t on t.oid = a.atttypid where t.typtype in ('r', 'm')"
        )
        for schema, table, column in ranges:
            label = f"statistics of {qualified(schema, table, column)}"
            report.blind[label] = "range histograms are not shown before PostgreSQL 17"
