"""What targets execute: statements, their rollups, the sampler's own state."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
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

#: One row a bucket: parallel arrays over the statements that were called in it. `log_*` where calls are seen singly.
rollup = Table(
    "rollup",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    Column("grain", Text, primary_key=True),
    moment("bucket_start", primary_key=True, nullable=False),
    Column("span_s", Float, nullable=False),
    Column("statement_ids", ARRAY(Integer), nullable=False),
    Column("calls", ARRAY(BigInteger), nullable=False),
    Column("total_ms", ARRAY(Float), nullable=False),
    Column("total_ms_sq", ARRAY(Float), nullable=False),
    Column("rows", ARRAY(BigInteger), nullable=False),
    Column("blocks_hit", ARRAY(BigInteger), nullable=False),
    Column("blocks_read", ARRAY(BigInteger), nullable=False),
    Column("temp_blocks", ARRAY(BigInteger), nullable=False),
    Column("wal_bytes", ARRAY(BigInteger), nullable=False),
    Column("log_ms", ARRAY(Float)),
    Column("log_ms_sq", ARRAY(Float)),
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
