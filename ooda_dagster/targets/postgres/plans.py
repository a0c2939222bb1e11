"""Plans of statements: the planner's estimate without values, and those that auto_explain logged."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from ooda_dagster.core.errors import silenced
from ooda_dagster.core.plan_log import LoggedPlan, LogPosition, PlanLogPart
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.postgres.connection import foreign_code
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.queries import MARKER, marked, query, trusted

_GENERIC_SINCE = 160_000  # EXPLAIN (GENERIC_PLAN)
_PREPARED = "ooda_estimated"


def estimated_plan(connection: psycopg.Connection[Any], text: str, timeout_s: float) -> dict[str, Any]:
    """The plan of one SELECT whose parameters are `$1`, `$2`, ..., as EXPLAIN (FORMAT JSON) tells its top node.

    It is not executed. Raises TargetError, whose message holds no text of it.
    """
    try:
        with foreign_code(connection, given_path=True):
            limit = marked("select pg_catalog.set_config('statement_timeout', %s, true)")
            connection.execute(limit, (f"{max(1, int(timeout_s * 1000))}ms",))
            if connection.info.server_version >= _GENERIC_SINCE:
                explain = f"EXPLAIN (FORMAT JSON, VERBOSE, GENERIC_PLAN) {text} {MARKER}"
                row = connection.execute(trusted(explain)).fetchone()
            else:
                row = _explain_prepared(connection, text)
    except psycopg.Error as error:
        silenced(error)
        raise TargetError(f"EXPLAIN failed ({error.sqlstate})") from error
    assert row is not None
    return row[0][0]["Plan"]


def _explain_prepared(connection: psycopg.Connection[Any], text: str) -> Any:
    """Before 16 only a prepared statement has a generic plan. A rollback leaves it: it is taken away again."""
    connection.execute(trusted(f"PREPARE {_PREPARED} AS {text} {MARKER}"))
    connection.execute(marked("savepoint ooda_explain"))
    try:
        asked = marked(
            "select pg_catalog.cardinality(p.parameter_types) as n, "
            "pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true) as mode "
            "from pg_catalog.pg_prepared_statements p where p.name = %s"
        )
        known = connection.execute(asked, (_PREPARED,)).fetchone()
        assert known is not None
        values = f"({', '.join(['null'] * known.n)})" if known.n else ""
        explain = f"EXPLAIN (FORMAT JSON, VERBOSE) EXECUTE {_PREPARED}{values} {MARKER}"
        return connection.execute(trusted(explain)).fetchone()
    except psycopg.Error:
        connection.execute(marked("rollback to ooda_explain"))
        raise
    finally:
        if not connection.closed:
            connection.execute(trusted(f"DEALLOCATE {_PREPARED} {MARKER}"))


def planner_settings(connection: psycopg.Connection[Any]) -> str:
    """What the planner goes by in our session beside the catalogue, as one text to compare."""
    try:
        row = connection.execute(query("read_planner_settings"), {}).fetchone()
    except psycopg.Error as error:
        raise translate(error, "reading the planner's settings") from error
    return row.settings if row else ""


def read_plan_log(connection: psycopg.Connection[Any], after: LogPosition | None, most_bytes: int) -> PlanLogPart:
    """The next part of the log after a position, or the end of it; at most so many bytes, and 8 MB.

    Raises TargetError where there is no log, or no reader of it.
    """
    place = after or LogPosition("", 0, "")
    values = {"file": place.file, "byte": place.byte, "head": place.head, "most": most_bytes}
    try:
        rows = connection.execute(query("read_plan_log"), values).fetchall()
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        silenced(error)
        remedy = "log_destination = 'jsonlog' (or 'stderr,jsonlog') and logging_collector = on"
        raise TargetError(f"the server writes no JSON log: set {remedy}") from error
    except psycopg.Error as error:
        raise translate(error, "reading the plan log") from error
    last = rows[-1]
    plans, unreadable = [], last.unreadable
    for row in rows[:-1]:
        plan = _plan(row)
        if plan is None:
            unreadable += 1
        else:
            plans.append(plan)
    return PlanLogPart(LogPosition(last.file, last.next_byte, last.head), plans, last.behind, unreadable)


def _plan(row: Any) -> LoggedPlan | None:
    """None for an entry of another format than JSON, and for one that was cut."""
    try:
        entry = json.loads(row.plan)
        top, text = entry["Plan"], entry["Query Text"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(top, dict) or not isinstance(text, str) or row.logged_at is None:
        return None
    return LoggedPlan(row.logged_at, row.duration_ms, row.query_id, text, top)
