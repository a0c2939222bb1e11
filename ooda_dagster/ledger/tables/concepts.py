"""Concepts that were found in a target's embeddings: what tells them again, and what became of them; no row of them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)

from ooda_dagster.ledger.tables.base import json, metadata, moment
from ooda_dagster.ledger.tables.cycles import target

#: state: present, missing (not in the last discovery), gone. n: rows counted since the last discovery; sample_n and the
#: rest are of the sample. centroid: float32, little-endian; null once it is gone. discoveries: in how many it was
#: found; version: rises when it goes on as something else.
concept = Table(
    "concept",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    Column("concept_id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    moment("first_seen_at", nullable=False),
    moment("last_seen_at", nullable=False),
    Column("absences", Integer, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("sample_n", Integer, nullable=False),
    Column("coherence", Float, nullable=False),
    Column("density", Float, nullable=False),
    Column("strength", Float, nullable=False),
    Column("buckets", Integer, nullable=False),
    Column("radius", Float, nullable=False),
    Column("centroid", LargeBinary),
    Column("discoveries", Integer, nullable=False, server_default="1"),
    Column("version", Integer, nullable=False, server_default="1"),
)

#: What a discovery found of them: born, split, merged, missing, returned, gone. related: ids.
concept_event = Table(
    "concept_event",
    metadata,
    Column("event_id", BigInteger, Identity(), primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    moment("at", nullable=False),
    Column("analysis_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("concept_id", Text, nullable=False),
    json("related", "[]"),
    Index(None, "target", "at"),
)

#: How far the embeddings of a target are counted since the last discovery. mark: the last id that was; rejected: rows
#: by why they were not compared; quality, picture: of the sample.
concept_progress = Table(
    "concept_progress",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    json("identity", "{}"),
    moment("discovered_at", nullable=False),
    Column("analysis_id", Text, nullable=False),
    moment("read_at", nullable=False),
    Column("mark", Text),
    Column("complete", Boolean, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("rows_then", BigInteger),  # when all were counted for the first time
    Column("noise", BigInteger, nullable=False),
    json("rejected", "{}"),
    json("quality", "{}"),
    json("picture", "{}"),
)
