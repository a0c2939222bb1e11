"""What targets execute: statements, their rollups, the sampler's own state."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY

from ooda_dagster.ledger.tables.base import json, metadata, moment
from ooda_dagster.ledger.tables.cycles import target

statement = Table(
    "statement",
    metadata,
    Column("statement_id", Integer, Identity(), primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    moment("first_seen", nullable=False, server_default=func.now()),
    UniqueConstraint("target", "fingerprint"),
)

#: pg_stat_statements' queryid → our statement; null for the loop's own statements.
statement_query = Table(
    "statement_query",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    Column("query_id", BigInteger, primary_key=True),
    Column("statement_id", Integer, ForeignKey(statement.c.statement_id, ondelete="CASCADE")),
)

#: Texts with their literals, sampled from sessions, for EXPLAIN, and values that an undo needs, whose `fingerprint` is
#: the action's id: the only table that holds any. Kept for days.
sampled_text = Table(
    "sampled_text",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("text", Text, nullable=False),
    moment("sampled_at", nullable=False),
    Column("kind", Text, nullable=False, server_default="statement"),
    CheckConstraint("kind in ('statement', 'undo')", name="kind"),
)

#: Buckets of one grain, for all statements together: `data` holds what was called in them (ledger/packing.py), the
#: arrays have one entry a bucket: when it starts, how long it is and how many statements were called in it. The sampler
#: adds a row each minute; compaction joins them.
rollup_chunk = Table(
    "rollup_chunk",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    Column("grain", Text, primary_key=True),
    moment("first_start", primary_key=True, nullable=False),
    moment("last_start", nullable=False),
    Column("starts", ARRAY(DateTime(timezone=True)), nullable=False),
    Column("spans_s", ARRAY(Float), nullable=False),
    Column("called", ARRAY(Integer), nullable=False),
    Column("data", LargeBinary, nullable=False),
    CheckConstraint("grain in ('minute', 'block', 'hour')", name="grain"),
)

#: The counters at the last sample: the next sample is a difference to them.
counter_snapshot = Table(
    "counter_snapshot",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    moment("taken_at", nullable=False),
    json("epoch", "{}"),
    Column("counters", LargeBinary, nullable=False),
)

#: Times that no rollup tells the truth about.
sample_gap = Table(
    "sample_gap",
    metadata,
    Column("gap_id", BigInteger, Identity(), primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    moment("since", nullable=False),
    moment("until", nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
    Index("ix_sample_gap_target_until", "target", "until"),
)
