"""Which cluster and database does a session stand in? Observing and acting must stand in the same, standby or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import psycopg

from ooda_dagster.targets.base import RefusedError
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.queries import marked


@dataclass(frozen=True)
class Place:
    """A database of a cluster. A physical standby has the system identifier of its primary, and the same oids.

    system_identifier: None where a managed service hides it.
    """

    system_identifier: str | None
    database: str
    database_oid: int
    in_recovery: bool

    #: Of two connections that are one.
    SAME: ClassVar[Place]


Place.SAME = Place(None, "", 0, False)


def read_place(connection: psycopg.Connection[Any]) -> Place:
    """Raises TargetError."""
    asked = marked(
        "select d.oid, d.datname as name, pg_catalog.pg_is_in_recovery() as in_recovery "
        "from pg_catalog.pg_database d where d.datname = current_database()"
    )
    try:
        row = connection.execute(asked).fetchone()
        identifier = read_system_identifier(connection)
    except psycopg.Error as error:
        raise translate(error, "looking which database this is") from error
    assert row is not None
    return Place(identifier, row.name, row.oid, row.in_recovery)


def read_system_identifier(connection: psycopg.Connection[Any]) -> str | None:
    """Of the cluster; None where a managed service hides it."""
    try:
        row = connection.execute(
            marked("select system_identifier::text as id from pg_catalog.pg_control_system()")
        ).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None
    return row.id if row else None


def refuse_another(target: str, observed: Place, changed: Place) -> None:
    """Raise RefusedError where what would be changed is not what is observed."""
    if observed is Place.SAME:
        return
    ids = (observed.system_identifier, changed.system_identifier)
    if None not in ids and ids[0] != ids[1]:
        raise RefusedError(
            f"target {target}: `observe` and `act` lead to different clusters (system identifiers {ids[0]} and "
            f"{ids[1]}): what is learned on one must not change the other; give act the observed server, or its primary"
        )
    if (observed.database, observed.database_oid) != (changed.database, changed.database_oid):
        raise RefusedError(
            f"target {target}: `observe` leads to database {observed.database} and `act` to database "
            f"{changed.database}; give both the same"
        )
