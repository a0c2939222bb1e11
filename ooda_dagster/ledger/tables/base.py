"""What all tables have in common. Times are aware and UTC, ids are opaque text, sizes are bytes, durations carry their
unit."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, MetaData, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from ooda_dagster.core.journal import State

SCHEMA = "ooda"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    },
)


def moment(name: str, *, nullable: bool = True, **kwargs: object) -> Column:
    return Column(name, DateTime(timezone=True), nullable=nullable, **kwargs)  # type: ignore[arg-type]


def json(name: str, default: str) -> Column:
    return Column(name, JSONB, nullable=False, server_default=text(f"'{default}'::jsonb"))


def chained() -> tuple[Column, Column, Column]:
    """A row's place in its chain (from 1), the hash of the row before it and its own; see core/chain.py."""
    return (
        Column("position", BigInteger, nullable=False),
        Column("prev_hash", Text, nullable=False),
        Column("hash", Text, nullable=False),
    )


def quoted(states: frozenset[State]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))
