"""How many requests did a table hold on a past day, and how long did they take? One read-only query a day."""

from __future__ import annotations

from datetime import datetime

import psycopg

from ooda_dagster.core.request_days import DAY_EXPRESSIONS, RequestDay
from ooda_dagster.core.request_settings import Requests
from ooda_dagster.targets.base import RefusedError, TargetError
from ooda_dagster.targets.postgres.connection import PooledConnection, foreign_code
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.observing import PostgresObserving
from ooda_dagster.targets.postgres.queries import marked, query
from ooda_dagster.targets.postgres.request_mapping import find_mapped_table, told

#: An expression that needs a time zone is computed in UTC.
_LIMITS = marked(
    "select pg_catalog.set_config('statement_timeout', %s, false) as timeout, "
    "pg_catalog.set_config('timezone', 'UTC', false) as zone"
)


def read_request_day(
    session: PostgresObserving, since: datetime, until: datetime, *, mapped: Requests, timeout_s: float
) -> RequestDay:
    """The requests in [since, until), complete or not. Raises TargetError, which names the setting that mends it.

    `mapped.enabled` does not matter: it is of the intake.
    """
    connection = session.connection
    if isinstance(connection, PooledConnection):
        raise RefusedError("a past day is not read through a connection pooler; give observe the server's own port")
    try:
        connection.execute(_LIMITS, (f"{timeout_s * 1000:.0f}",))
    except psycopg.Error as error:
        raise translate(error, "reading a day of requests") from error
    table = find_mapped_table(connection, mapped, DAY_EXPRESSIONS, switch="history.requests")
    if table is None:
        raise TargetError(
            f"there is no table {mapped.table} that we may read; name yours in requests.table, or GRANT SELECT on it"
        )
    values = {"since": since, "until": until, "failed": list(mapped.failed)}
    try:
        with foreign_code(connection):
            row = connection.execute(query("read_requests_day").format(**table.parts), values).fetchone()
    except psycopg.errors.QueryCanceled:
        raise TargetError(
            f"reading a day of requests took longer than {timeout_s:g} s (history.timeout_s); is there an index on "
            f"{mapped.requested_at}?"
        ) from None
    except psycopg.Error as error:
        raise told(error, f"reading a day of {table.label}") from error
    assert row is not None
    p50, p95 = row.quantiles_ms or (None, None)
    return RequestDay(f"table {table.label}", row.requests, row.failed, row.avg_ms, p50, p95)
