"""Reads what else is going on around a PostgreSQL database; see `targets.surroundings` for the values."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

import psycopg

from ooda_dagster.targets.postgres.connection import is_local
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.queries import marked, query
from ooda_dagster.targets.surroundings import Attached, Partition, Replication, Slot, Standby, Tablespace, Work


def read_work(
    connection: psycopg.Connection[Any], tables: Collection[tuple[str, str]], own: Collection[int]
) -> tuple[Work, ...]:
    """Builds anywhere on the server, and locks on `tables` that a build conflicts with; not those of the pids `own`."""
    values = {"schemas": [s for s, _ in tables], "tables": [t for _, t in tables], "own": list(own)}
    return tuple(Work(**row._asdict()) for row in _rows(connection, "read_work", values))


def read_replication(connection: psycopg.Connection[Any]) -> Replication:
    """Standbys, subscribers and slots."""
    try:
        row = connection.execute(marked("select pg_catalog.pg_is_in_recovery() as so")).fetchone()
    except psycopg.Error as error:
        raise translate(error, "reading replication") from error
    standbys = tuple(Standby(**r._asdict()) for r in _rows(connection, "read_standbys"))
    slots = tuple(Slot(**r._asdict()) for r in _rows(connection, "read_slots"))
    return Replication(bool(row and row.so), standbys, slots)


def read_tablespaces(connection: psycopg.Connection[Any]) -> tuple[Tablespace, ...]:
    """Where this session would write and sort an index, as far as that is not the server's own directory."""
    rows = [row for row in _rows(connection, "read_tablespaces") if row.location]
    return tuple(Tablespace(row.use, row.name, *free_space(connection, row.location)) for row in rows)


def read_partitions(connection: psycopg.Connection[Any], schema: str, table: str) -> tuple[Partition, ...]:
    """The tree below a partitioned table, itself first, each table after its parent; nothing of any other table."""
    rows = _rows(connection, "read_partitions", {"schema": schema, "table": table})
    return tuple(
        Partition(r.schema, r.name, r.kind, r.owner, r.level, (r.parent_schema, r.parent) if r.parent else None)
        for r in rows
    )


def read_attached(connection: psycopg.Connection[Any], schema: str, name: str) -> tuple[Attached, ...]:
    """A partitioned index and all that are attached to it, itself first; nothing where there is none."""
    rows = _rows(connection, "read_attached", {"schema": schema, "name": name})
    return tuple(Attached(**row._asdict()) for row in rows)


def free_space(connection: psycopg.Connection[Any], directory: str | None) -> tuple[int | None, int | None]:
    """Free and total bytes of a disk of the server's, where server and we share a machine; SQL does not tell."""
    if not directory or not is_local(connection) or not os.path.isdir(directory):
        return None, None
    try:
        disk = os.statvfs(directory)
    except OSError:
        return None, None
    return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize


def _rows(connection: psycopg.Connection[Any], name: str, values: dict[str, Any] | None = None) -> list[Any]:
    try:
        return connection.execute(query(name), values).fetchall()
    except psycopg.Error as error:
        raise translate(error, "looking around the target") from error
