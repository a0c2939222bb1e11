"""Did somebody ask for an analysis from inside the database, by `ooda.request_analysis()`?"""

from __future__ import annotations

from typing import Any

import psycopg

from ooda_dagster.targets.base import AnalysisRequest
from ooda_dagster.targets.postgres.connection import foreign_code
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.queries import query


def installed(connection: psycopg.Connection[Any]) -> tuple[bool, bool]:
    """Whether the function is there, and whether its table is ours to read."""
    try:
        found = connection.execute(query("find_analysis_requests")).fetchone()
    except psycopg.Error as error:
        raise translate(error, "looking for ooda.request_analysis") from error
    return (True, found.readable) if found else (False, False)


def read_analysis_requests(connection: psycopg.Connection[Any], seen: str) -> list[AnalysisRequest] | None:
    """Requests that are not in `seen`, oldest first; None where the function is not there or its table not readable."""
    if installed(connection) != (True, True):
        return None
    try:
        with foreign_code(connection):  # its owner may have given the table policies
            rows = connection.execute(query("read_analysis_requests"), {"seen": seen}).fetchall()
    except psycopg.Error as error:
        raise translate(error, "reading requests for an analysis") from error
    return [AnalysisRequest(r.key, r.requested_at, r.requested_by, r.lookback_hours) for r in rows]
