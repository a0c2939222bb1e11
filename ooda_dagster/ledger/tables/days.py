"""Past days."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, Float, Index, Integer, Table, Text

from ooda_dagster.ledger.tables.base import json, metadata, moment

#: A past day of a target, rolled up. No foreign key: a day may come from files, of a target that was never reached.
workload_day = Table(
    "workload_day",
    metadata,
    Column("target", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("source", Text, nullable=False),
    Column("grain", Text),
    Column("hours", Float, nullable=False),
    Column("statements", Integer),
    Column("calls", BigInteger),
    Column("total_ms", Float),
    Column("p50_ms", Float),
    Column("p95_ms", Float),
    Column("requests", BigInteger),
    Column("failed", BigInteger),
    Column("avg_ms", Float),
    json("top_statements", "[]"),
    json("slower", "[]"),
    json("proposals", "[]"),
    json("decided", "{}"),
    json("notes", "[]"),
    moment("computed_at", nullable=False),
    Index("ix_workload_day_day", "day"),
)
