"""What may the observing role see? Every missing grant and extension is named with the statement that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from ooda_dagster.core.identifiers import quote_identifier
from ooda_dagster.core.seen import BlindSpot
from ooda_dagster.targets.base import Capabilities
from ooda_dagster.targets.postgres.connection import PooledConnection, is_local
from ooda_dagster.targets.postgres.place import read_system_identifier
from ooda_dagster.targets.postgres.queries import marked, query

SUPPORTED = range(15, 19)


def read_capabilities(connection: psycopg.Connection[Any]) -> Capabilities:
    """Look once at a session's rights and at the server's extensions."""
    row = connection.execute(query("read_capabilities")).fetchone()
    assert row is not None
    blind: list[BlindSpot] = []
    major = row.server_version // 10_000
    if major not in SUPPORTED:
        known = f"PostgreSQL {SUPPORTED.start} to {SUPPORTED.stop - 1}"
        blind.append(BlindSpot(what=f"PostgreSQL {major}", why=f"not tested here; supported: {known}"))
    levels = set()
    if row.reads_stats:
        levels.add(1)
    else:
        blind.append(
            BlindSpot(
                what="other roles' statements and sessions",
                why=f"role {row.role} is no member of pg_monitor",
                remedy=f"GRANT pg_monitor TO {quote_identifier(row.role)};",
            )
        )
    if not row.unreadable:
        levels.add(2)
    else:
        blind.append(
            BlindSpot(
                what=f"column statistics and plans of {_some(row.unreadable)}",
                why=f"role {row.role} has no SELECT on them",
                remedy=f"GRANT pg_read_all_data TO {quote_identifier(row.role)};",
            )
        )
    if row.row_secured:
        blind.append(
            BlindSpot(
                what=f"column statistics of {_some(row.row_secured)}",
                why=f"their row security holds for role {row.role}, and the server then hides them",
                remedy=f"ALTER ROLE {quote_identifier(row.role)} BYPASSRLS;",
            )
        )
    if row.plan_log:
        levels.add(3)
    if row.encoding == "SQL_ASCII":
        blind.append(
            BlindSpot(
                what="names and texts that are not UTF-8",
                why="the database is SQL_ASCII, which tells no encoding: bytes that are no UTF-8 are read as \ufffd, "
                "and what has them in its name is left alone",
            )
        )
    if row.superuser:
        levels.add(4)
    statements_ok, why = _statements(connection, row)
    if why:
        blind.append(why)
    behind_proxy = isinstance(connection, PooledConnection)
    if behind_proxy:
        blind.append(
            BlindSpot(
                what="what-if",
                why="it needs a session of its own, which a connection pooler does not give: nothing is proposed",
                remedy="give observe the server's own port",
            )
        )
    if row.in_recovery:
        blind.append(
            BlindSpot(
                what="statements that write",
                why="they run on the primary, and this is its standby: what an index costs writers is not priced",
                remedy="observe the primary, or give it a target of its own",
            )
        )
    return Capabilities(
        server_version=row.server_version,
        database=row.database,
        database_oid=row.database_oid,
        role=row.role,
        superuser=row.superuser,
        in_recovery=row.in_recovery,
        levels=frozenset(levels),
        extensions=dict(row.extensions),
        statements_ok=statements_ok,
        started_at=row.started_at,
        system_identifier=read_system_identifier(connection),
        behind_proxy=behind_proxy,
        encrypted=connection.pgconn.ssl_in_use,
        local=is_local(connection),
        blind_spots=tuple(blind),
    )


def _some(tables: Sequence[str]) -> str:
    """How many tables, and the first of them."""
    named = ", ".join(tables[:5]) + (", ..." if len(tables) > 5 else "")
    return f"{len(tables)} table{'s' if len(tables) > 1 else ''} ({named})"


def _statements(connection: psycopg.Connection[Any], row: Any) -> tuple[bool, BlindSpot | None]:
    """Whether pg_stat_statements can be read, else why not."""
    schema = row.extensions.get("pg_stat_statements")
    if schema is None:
        return False, BlindSpot(
            what="statement statistics",
            why="the extension pg_stat_statements is not installed in this database: nothing is proposed; what remains "
            "are sizes, load, inference requests, and advice on statements of your own (ooda advise --workload)",
            remedy="shared_preload_libraries = 'pg_stat_statements', a restart, CREATE EXTENSION pg_stat_statements;",
        )
    try:
        connection.execute(query("read_epoch").format(schema=sql.Identifier(schema)))
    except psycopg.errors.InsufficientPrivilege:
        role = quote_identifier(row.role)
        grant = f"GRANT USAGE ON SCHEMA {quote_identifier(schema)} TO {role}; GRANT pg_read_all_stats TO {role};"
        why = f"role {row.role} may not read {schema}.pg_stat_statements"
        return False, BlindSpot(what="statement statistics", why=why, remedy=grant)
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return False, BlindSpot(
            what="statement statistics",
            why="pg_stat_statements is installed but not loaded",
            remedy="shared_preload_libraries = 'pg_stat_statements' in postgresql.conf, and a restart",
        )
    except psycopg.errors.UndefinedTable:
        return False, BlindSpot(
            what="statement statistics",
            why="pg_stat_statements is older than 1.9",
            remedy="ALTER EXTENSION pg_stat_statements UPDATE;",
        )
    if not row.mixed_encodings or row.encoding == "SQL_ASCII":
        return True, None
    try:  # the server reads the texts of all its databases before it leaves any out
        connection.execute(marked("select from {}.pg_stat_statements(true) limit 1").format(sql.Identifier(schema)))
    except (psycopg.DataError, psycopg.errors.UndefinedFunction):  # of an encoding, or of a conversion to ours
        return False, BlindSpot(
            what="statement statistics",
            why=f"a statement of another database has bytes that are no {row.encoding}: no text can be read then",
            remedy="SELECT pg_stat_statements_reset(); or keep databases of one encoding on a server",
        )
    return True, None
