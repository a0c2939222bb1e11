"""Rebuilds the source's definitions on the clone, on heaps of no size. Triggers, rules and rows stay where they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from ooda_dagster.core.identifiers import qualified, quote_identifier, quote_literal
from ooda_dagster.embedded.clone.replay import Named, replay
from ooda_dagster.embedded.clone.report import CloneReport
from ooda_dagster.embedded.clone.scratch import Scratch
from ooda_dagster.embedded.clone.source import Source, trusted


@dataclass
class Carried:
    """Relations and indexes that the clone holds, by the source's oid."""

    relations: dict[int, Any] = field(default_factory=dict)
    indexes: dict[int, Any] = field(default_factory=dict)

    def label(self, oid: int) -> str:
        row = self.relations[oid]
        return qualified(row.schema, row.name)


def rebuild(
    source: Source,
    scratch: Scratch,
    report: CloneReport,
    wanted: Collection[tuple[str, str]] | None,
) -> Carried:
    """Definitions of the wanted relations (None: all) and of what they need; what fails is named in the report."""
    carried, clone = Carried(), scratch.session
    names = list(wanted) if wanted is not None else None
    for row in source.sized_rows(
        "read_relations",
        schemas=[s for s, _ in names] if names is not None else None,
        names=[t for _, t in names] if names is not None else None,
    ):
        if row.kind == "f":
            report.blind[qualified(row.schema, row.name)] = "foreign table: left out"
        elif row.locked:
            report.blind[qualified(row.schema, row.name)] = "left out: another session locks it"
        else:
            carried.relations[row.oid] = row
    oids = list(carried.relations)
    _names(source, scratch, report)
    report.blind |= replay(clone.execute, _types(source), chunk=1)
    functions = [(f"function {r.name}", r.definition) for r in _unlocked(source, report, "read_functions")]
    late_functions = replay(clone.execute, functions)
    _tables(source, clone, report, carried, oids)
    links = source.rows("read_links", oids=oids)
    report.blind |= replay(clone.execute, _inheritance(links, carried))
    # Functions may take a table's row, tables may default to a function: what failed is tried again.
    again = [f for f in functions if f[0] in late_functions]
    failed = replay(clone.execute, [*again, *_materialised(carried)])
    views = replay(
        clone.execute,
        [(f"view {qualified(r.schema, r.name)}", _view(r)) for r in _unlocked(source, report, "read_views")],
    )
    if wanted is None:  # otherwise a function or view may well belong to what was left out
        report.blind |= failed | views
    _indexes(source, clone, report, carried, oids)
    constraints = source.rows("read_constraints", oids=oids)
    report.blind |= replay(
        clone.execute,
        [
            (
                f"constraint {quote_identifier(r.name)} on {carried.label(r.relation)}",
                f"alter table {carried.label(r.relation)} add constraint {quote_identifier(r.name)} {r.definition}",
            )
            for r in constraints
        ],
    )
    extended = source.rows("read_extended_statistics", oids=oids)
    report.blind |= replay(clone.execute, [(f"statistics {r.name}", r.definition) for r in extended], chunk=1)
    report.blind |= {f"statistics {r.name}": "definition only: its data is not visible to the role" for r in extended}
    return carried


def _unlocked(source: Source, report: CloneReport, name: str) -> list[Any]:
    """Definitions that the server deparses under locks; none, named, where another session's lock is in the way."""
    try:
        return source.rows(name)
    except psycopg.errors.LockNotAvailable:
        report.blind[name.removeprefix("read_")] = "left out: another session's lock is in the way"
        return []


def _names(source: Source, scratch: Scratch, report: CloneReport) -> None:
    statements: dict[str, list[Named]] = {"schema": [], "extension": [], "sequence": []}
    for row in source.rows("read_names"):
        if row.kind == "schema":
            statement = f"create schema if not exists {quote_identifier(row.name)}"
        elif row.kind == "extension":
            name, schema = quote_identifier(row.name), quote_identifier(row.schema)
            statement = f"create extension if not exists {name} schema {schema} cascade"
        else:
            statement = f"create sequence if not exists {qualified(row.schema, row.name)}"
        statements[row.kind].append((f"{row.kind} {row.name}", statement))
    for kind, found in statements.items():
        run = scratch.create_extension if kind == "extension" else scratch.session.execute
        report.blind |= replay(run, found, chunk=1 if kind == "extension" else 100)


def _types(source: Source) -> Iterator[Named]:
    for row in source.rows("read_types"):
        name = qualified(row.schema, row.name)
        if row.kind == "e":
            text = f"create type {name} as enum ({', '.join(quote_literal(label) for label in row.labels)})"
        elif row.kind == "d":
            text = f"create domain {name} as {row.base} {'not null ' if row.not_null else ''}{' '.join(row.checks)}"
        elif row.kind == "c":
            text = f"create type {name} as ({', '.join(row.attributes)})"
        else:
            text = f"create type {name} as range (subtype = {row.subtype})"
        yield f"type {name}", text


def _tables(
    source: Source, clone: psycopg.Connection[Any], report: CloneReport, carried: Carried, oids: list[int]
) -> None:
    columns: dict[int, list[Any]] = defaultdict(list)
    for row in source.rows("read_columns", oids=oids):
        columns[row.relation].append(row)
    every = [c for found in columns.values() for c in found]
    known_types = _known(clone, "to_regtype", {c.type for c in every})
    known_collations = _known(
        clone, "to_regcollation", {qualified(c.collation_schema, c.collation_name) for c in every if c.collation_name}
    )
    tables: list[Named] = []
    defaults: list[Named] = []
    for oid, row in carried.relations.items():
        if row.kind == "m":
            continue
        label, parts = carried.label(oid), []
        for column in columns[oid]:
            name = quote_identifier(column.name)
            type_name = column.type
            if type_name not in known_types:
                report.blind[f"{label}.{name}"] = f"type {type_name} is not in the clone: only its width is known"
                type_name = "text"
            text = f"{name} {type_name}"
            if column.collation_name:
                collation = qualified(column.collation_schema, column.collation_name)
                if collation in known_collations:
                    text += f" collate {collation}"
                else:
                    report.blind[f"{label}.{name}"] = f"collation {collation} is not in the clone"
            if column.generated:
                kind = "virtual" if column.generated == "v" else "stored"
                text += f" generated always as ({column.expression}) {kind}"
            elif column.identity and not row.is_partition:  # a partition gets its parent's
                text += f" generated {'always' if column.identity == 'a' else 'by default'} as identity"
            elif column.expression:
                change = f"alter table {label} alter {name} set default {column.expression}"
                defaults.append((f"default of {label}.{name}", change))
            parts.append(text + (" not null" if column.not_null else ""))
        persistence = "unlogged " if row.persistence == "u" and row.kind == "r" else ""
        statement = f"create {persistence}table {label} ({', '.join(parts)})"
        if row.partition_key:
            statement += f" partition by {row.partition_key}"
        if row.options and row.kind == "r":
            statement += f" with ({', '.join(row.options)})"
        tables.append((label, statement))
    report.blind |= replay(clone.execute, tables)
    report.blind |= replay(clone.execute, defaults)


def _known(clone: psycopg.Connection[Any], function: str, names: set[str]) -> set[str]:
    """Which names the clone resolves."""
    found = clone.execute(
        trusted(f"select n from unnest(%s::text[]) s(n) where pg_catalog.{function}(n) is not null"),  # noqa: S608
        (sorted(names),),
    )
    return {row[0] for row in found}


def _inheritance(links: list[Any], carried: Carried) -> Iterator[Named]:
    for link in links:
        if link.child not in carried.relations or link.parent not in carried.relations:
            continue
        child, parent = carried.label(link.child), carried.label(link.parent)
        row = carried.relations[link.child]
        if row.is_partition:
            yield f"{child} in {parent}", f"alter table {parent} attach partition {child} {row.bound}"
        else:
            yield f"{child} in {parent}", f"alter table {child} inherit {parent}"


def _materialised(carried: Carried) -> Iterator[Named]:
    for oid, row in carried.relations.items():
        if row.kind == "m":
            definition = row.definition.rstrip().rstrip(";")
            label = carried.label(oid)
            yield label, f"create materialized view {label} as {definition} with no data"


def _view(row: Any) -> str:
    return f"create view {qualified(row.schema, row.name)} as {row.definition}"


def _indexes(
    source: Source, clone: psycopg.Connection[Any], report: CloneReport, carried: Carried, oids: list[int]
) -> None:
    statements: list[Named] = []
    for row in source.sized_rows("read_indexes", oids=oids):
        name = qualified(row.schema, row.name)
        if not row.valid and row.kind == "i":
            report.blind[name] = "invalid on the source: left out"
            continue
        carried.indexes[row.oid] = row
        if row.constraint_name:
            table = carried.label(row.relation)
            only = "only " if row.kind == "I" else ""
            text = f"alter table {only}{table} add constraint {quote_identifier(row.constraint_name)} "
            text += row.constraint_definition
            if row.options and row.kind == "i":
                text += f"; alter index {name} set ({row.options})"
        else:
            text = row.definition
        statements.append((name, text))
    report.blind |= replay(clone.execute, statements)
    attach = []
    for link in source.rows("read_links", oids=list(carried.indexes)):
        if link.parent in carried.indexes:
            child, parent = carried.indexes[link.child], carried.indexes[link.parent]
            child_name, parent_name = qualified(child.schema, child.name), qualified(parent.schema, parent.name)
            attach.append(
                (f"{child_name} in {parent_name}", f"alter index {parent_name} attach partition {child_name}")
            )
    report.blind |= replay(clone.execute, attach)
