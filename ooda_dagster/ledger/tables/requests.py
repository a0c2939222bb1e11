"""Inference requests: how far they were read, and their rollups."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import INT8MULTIRANGE

from ooda_dagster.ledger.tables.base import json, metadata, moment
from ooda_dagster.ledger.tables.cycles import target

#: When a target's table of requests may be read next, whoever reads it.
request_read = Table(
    "request_read",
    metadata,
    Column("target", Text, primary_key=True),
    moment("next_at", nullable=False),
)

#: How far a target's table of inference requests was read. `version` counts the reads that moved it.
request_progress = Table(
    "request_progress",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    json("identity", "{}"),
    Column("keyed_by", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("mark", BigInteger),  # ids up to it are not looked at any more
    Column("highest", BigInteger),
    json("marks", "[]"),  # [moment, id]: they become the mark with age
    moment("floor_at"),  # the same where ids are not numbers: what was requested before is not looked at
    moment("covers_since", nullable=False),
    Column("behind", Boolean, nullable=False, server_default=text("false")),
    moment("read_at", nullable=False),
    CheckConstraint("keyed_by in ('id', 'time', 'file')", name="keyed_by"),
)

#: Ids that were consumed and may still be met again.
request_seen = Table(
    "request_seen",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    Column("source", Text, primary_key=True),
    moment("bucket_start", primary_key=True, nullable=False),
    Column("keys", INT8MULTIRANGE, nullable=False),
    CheckConstraint("source in ('inference', 'analysis')", name="source"),
)

#: Files that hold requests, and how far each was read: by row position, as the order of a file's rows never changes.
request_file = Table(
    "request_file",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    moment("modified_at"),
    Column("rows", BigInteger, nullable=False),
    Column("rows_read", BigInteger, nullable=False),
    moment("seen_at", nullable=False),
)

#: Inference requests per minute of their request. Logs are over durations above zero.
request_rollup = Table(
    "request_rollup",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    moment("minute", primary_key=True, nullable=False),
    Column("model", Text, primary_key=True),
    Column("operation", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("n_zero", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("sum_ms", Float, nullable=False),
    Column("sum_ms_sq", Float, nullable=False),
    Column("sum_log_ms", Float, nullable=False),
    Column("sum_log_ms_sq", Float, nullable=False),
    Column("max_ms", Float, nullable=False),
    Column("tokens", Float, nullable=False),
)

#: One row a read that consumed something. `analysis_id`: the cycle that read it, and so knows its alarm.
request_batch = Table(
    "request_batch",
    metadata,
    Column("batch_id", BigInteger, Identity(), primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    moment("consumed_at", nullable=False),
    Column("rows", BigInteger, nullable=False),
    json("rejected", "{}"),
    json("notes", "[]"),
    Column("first_id", BigInteger),
    Column("last_id", BigInteger),
    moment("window_start"),
    moment("window_end"),
    json("alarm", "[]"),
    Column("analysis_id", Text),
    Column("report_id", BigInteger),  # the last batch of the report that this one is in, set before it is made
    moment("reported_at"),
    Index("ix_request_batch_unreported", "target", "batch_id", postgresql_where=text("reported_at is null")),
    Index("ix_request_batch_consumed", "target", text("consumed_at desc")),
)
