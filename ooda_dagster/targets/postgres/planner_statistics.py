"""Reads what the planner knows of a table, so that it can be put back, and says what keeps it from that."""

from __future__ import annotations

from typing import Any

import psycopg

from ooda_dagster.core.identifiers import qualified, quote_identifier
from ooda_dagster.core.planner_statistics import Column, PlannerStatistics, Relation
from ooda_dagster.targets.postgres.connection import foreign_code
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.queries import MARKER, marked, query, trusted

#: How long the reading may take; it waits for nobody's lock.
_TIMEOUT_S = 30


def read_planner_statistics(
    connection: psycopg.Connection[Any], schema: str, table: str, *, become: str | None, values: bool
) -> PlannerStatistics:
    """As `become` sees them (None: the session's own role); with the values of rows only where `values` asks for them.

    Only from PostgreSQL 18 on. Raises TargetError.
    """
    try:
        with foreign_code(connection):  # a type's output function may be the user's
            # A setting of the role's would round what is read.
            limits = marked(
                "select pg_catalog.set_config('extra_float_digits', '1', true) as digits, "
                "pg_catalog.set_config('statement_timeout', %s, true) as timeout"
            )
            connection.execute(limits, (f"{_TIMEOUT_S}s",))
            if become is not None:
                connection.execute(trusted(f"set local role {quote_identifier(become)} {MARKER}"))
            asked = {"schema": schema, "table": table, "values": values}
            rows = connection.execute(query("read_planner_statistics"), asked).fetchall()
    except psycopg.Error as error:
        raise translate(error, "reading what the planner knows") from error
    return PlannerStatistics(
        tuple(Relation(row.oid, row.schema, row.name, row.numbers, row.vacuumed_at) for row in rows),
        tuple(Column(**column) for row in rows for column in row.statistics),
        {row.oid: {int(n): (name, kind) for n, (name, kind) in row.columns.items()} for row in rows},
        next((why for row in rows if (why := _hidden(row, become or connection.info.user))), ""),
        next((why for row in rows if (why := _beyond(row))), ""),
    )


def _hidden(row: Any, role: str) -> str:
    label, reader = qualified(row.schema, row.name), quote_identifier(role)
    if row.hidden is not None and row.is_index:  # whose rights nobody can grant
        why = f"{reader} may not read the statistics of {label}, an index on expressions"
        return f"{why}: GRANT pg_read_all_data TO {reader}; or let it become the owner"
    if row.hidden is not None:
        return f"{reader} may not read {label} ({row.hidden}): GRANT SELECT ON {label} TO {reader};"
    if row.secured:
        remedy = f"ALTER TABLE {label} NO FORCE ROW LEVEL SECURITY, or ALTER ROLE {reader} BYPASSRLS"
        return f"row level security hides the statistics of {label} from {reader}: {remedy}"
    return ""


def _beyond(row: Any) -> str:
    label = qualified(row.schema, row.name)
    if row.extended:
        return f"{label} has extended statistics, which the server does not take back"
    if row.own_kinds is not None:
        return f"column {row.own_kinds} of {label} is of a type with statistics of its own kind"
    return ""
