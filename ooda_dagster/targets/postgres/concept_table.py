"""Reads our table of which concept rows are of."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import psycopg
from psycopg import sql

from ooda_dagster.targets.embeddings import ConceptTable
from ooda_dagster.targets.postgres.connection import foreign_code
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.queries import query


def read_concept_table(
    connection: psycopg.Connection[Any],
    schema: str,
    name: str,
    *,
    kept: Collection[str] = (),
    concept_id: str = "",
    action_id: str = "",
) -> ConceptTable:
    """The table under a name. Its rows are looked at only where it has at least the columns `kept`, and this role may.

    Raises TargetError.
    """
    try:
        found = connection.execute(query("read_concept_table"), {"schema": schema, "name": name}).fetchone()
        assert found is not None
        values = {
            key: getattr(found, key) for key in ("schema_there", "may_create", "oid", "comment", "readable", "own")
        }
        columns = tuple(found.columns)
        known = set(kept) <= {c.split()[0] for c in columns}
        if found.oid is None or not (found.readable and kept and known):
            return ConceptTable(**values, columns=columns, known=known)
        asked = query("read_concept_rows").format(table=sql.Identifier(schema, name))
        with foreign_code(connection):  # somebody may have given it policies
            rows = connection.execute(asked, {"concept_id": concept_id, "action_id": action_id}).fetchone()
    except psycopg.Error as error:
        raise translate(error, f"reading {schema}.{name}") from error
    assert rows is not None
    return ConceptTable(**values, columns=columns, bound=rows.bound, last=rows.last, empty=rows.empty)
