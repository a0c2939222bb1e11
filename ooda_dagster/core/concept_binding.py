"""The table that says which concept rows are of, and the statements that fill and empty it: text alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ooda_dagster.core.concept_settings import Concepts
from ooda_dagster.core.identifiers import quote_identifier, quote_literal

SCHEMA, NAME = "ooda", "atom_concepts"
TABLE = f"{SCHEMA}.{NAME}"
#: Of a row with both its indexes, about.
ROW_BYTES = 200
_COLUMNS = ("atom_id", "concept_id", "action_id")
#: Of texts the order of the index need not be that of the user's column: nothing tells how far an id is.
_ORDERED = ("bigint", "uuid")


@dataclass(frozen=True)
class Binding:
    """Which rows are to be bound to which concept. new_rows: how many are, by what was counted when it was proposed.

    source: label of the user's table; source_oid, owner: of it. mapping: digest of the expressions by which it is read.
    id_type: of its ids. page_rows: that are read, and written, at once.
    """

    concept_id: str
    version: int
    source: str
    source_oid: int
    owner: str
    mapping: str
    id_type: str
    page_rows: int
    new_rows: int

    @property
    def identity(self) -> str:
        return f"concept {self.concept_id}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table, with types, in order."""
        return tuple(f"{n} {t}" for n, t in zip(_COLUMNS, (self.id_type, "text", "uuid"), strict=True))

    @property
    def create(self) -> str:
        columns = ", ".join(f"{c} NOT NULL" for c in self.columns)
        return (
            f"CREATE TABLE IF NOT EXISTS {TABLE} ({columns}, PRIMARY KEY (concept_id, atom_id), "
            "UNIQUE (atom_id, concept_id))"
        )

    @property
    def grant(self) -> str:
        return f"GRANT SELECT ON {TABLE} TO {quote_identifier(self.owner)}"

    @property
    def insert(self) -> str:
        return (
            f"INSERT INTO {TABLE} (atom_id, concept_id, action_id) "  # noqa: S608
            f"SELECT id, {quote_literal(self.concept_id)}, $1::uuid FROM pg_catalog.unnest($2::{self.id_type}[]) AS id "
            f"ON CONFLICT DO NOTHING /* $1: this action; $2: ids of the rows in version {self.version} of the concept, "
            f"of {self.page_rows} rows at a time */"
        )

    @property
    def delete(self) -> str:
        mine = f"concept_id = {quote_literal(self.concept_id)} AND action_id = $1::uuid"
        return (
            f"DELETE FROM {TABLE} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {TABLE} WHERE {mine} "  # noqa: S608
            f"LIMIT {self.page_rows})) AND {mine} /* $1: this action; until none is left */"
        )

    @property
    def resumable(self) -> bool:
        """Whether the highest id that is bound tells how far it came."""
        return self.id_type in _ORDERED


#: Where rows are left, whoever's, nothing is dropped.
DROP = (
    f"DO $ooda$ BEGIN LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE; IF NOT EXISTS (SELECT FROM {TABLE}) THEN "
    f"DROP TABLE {TABLE}; END IF; END $ooda$"
)


def columns() -> tuple[str, ...]:
    """Names of the table's columns."""
    return _COLUMNS


def mapping_of(mapped: Concepts) -> str:
    """Digest of how embeddings are read: with other expressions, other rows would be bound."""
    text = "\0".join((mapped.table, mapped.id, mapped.embedding, mapped.model))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def array_of(ids: Iterable[Any]) -> str:
    """Ids as the text of an array of any type."""
    escaped = (str(i).replace("\\", "\\\\").replace('"', '\\"') for i in ids)
    return "{" + ",".join(f'"{i}"' for i in escaped) + "}"


def grants(role: str, readers: Iterable[str]) -> list[str]:
    """What a role needs to make the table, and who owns embeddings to reach it: for a DBA to run."""
    return [
        f"CREATE SCHEMA IF NOT EXISTS {SCHEMA};",
        f"GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO {quote_identifier(role)};",
        *(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {quote_identifier(reader)};" for reader in readers),
    ]
