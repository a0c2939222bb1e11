"""How many requests did a table hold on a past day, and how long did they take? One read-only query a day."""

from __future__ import annotations

from datetime import datetime

import psycopg
from psycopg import sql

from ooda_dagster.core.identifiers import parts
from ooda_dagster.core.request_days import RequestColumns, RequestDay
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.postgres.connection import translate
from ooda_dagster.targets.postgres.observing import PostgresObserving
from ooda_dagster.targets.postgres.queries import marked, query

#: A column without a time zone is taken as UTC.
_LIMITS = marked(
    "select pg_catalog.set_config('statement_timeout', %s, false) as timeout, "
    "pg_catalog.set_config('timezone', 'UTC', false) as zone"
)


def read_request_day(
    session: PostgresObserving,
    since: datetime,
    until: datetime,
    *,
    columns: RequestColumns,
    table: str = "",
    timeout_s: float,
) -> RequestDay:
    """The requests in [since, until). table: schema.table; empty: the document's, where it is found.

    Raises TargetError, which names the setting that mends it.
    """
    connection = session.connection
    try:
        connection.execute(_LIMITS, (f"{timeout_s * 1000:.0f}",))
        if table:
            names = tuple(parts(table))
        else:
            found = connection.execute(query("find_requests")).fetchone()
            if found is None:
                raise TargetError("there is no table inference_requests that we may read; name yours in history.table")
            names = (found.schema, found.name)
        failed = sql.SQL("{status}::text = any(%(failed)s)").format(status=sql.Identifier(columns.status or "status"))
        text = query("read_requests_day").format(
            table=sql.Identifier(*names),
            requested_at=sql.Identifier(columns.requested_at),
            duration=sql.Identifier(columns.duration_ms),
            failed=failed if columns.status else sql.SQL("false"),
        )
        parameters = {"since": since, "until": until, "failed": list(columns.failed_statuses)}
        row = connection.execute(text, parameters).fetchone()
    except psycopg.errors.QueryCanceled:
        raise TargetError(
            f"reading a day of requests took longer than {timeout_s:g} s (history.timeout_s); is there an index on "
            f"{columns.requested_at}?"
        ) from None
    except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable) as error:
        words = error.diag.message_primary
        raise TargetError(f"{words}; name your table and columns in the target's history settings") from None
    except psycopg.Error as error:
        raise translate(error, "reading a day of requests", "GRANT SELECT on the table of requests") from error
    assert row is not None
    p50, p95 = row.quantiles_ms or (None, None)
    known_failed = row.failed if columns.status else None
    return RequestDay(f"table {'.'.join(names)}", row.requests, known_failed, row.avg_ms, p50, p95)
