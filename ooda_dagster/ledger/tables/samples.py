"""Samples of tables."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from ooda_dagster.ledger.tables.base import metadata, moment
from ooda_dagster.ledger.tables.cycles import target

#: The last sample of some columns of a table: counts and names, no value of a row. counts: null where it failed.
table_sample = Table(
    "table_sample",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    Column("relation", Text, primary_key=True),
    Column("columns", Text, primary_key=True),
    Column("table_oid", BigInteger, nullable=False),
    moment("sampled_at", nullable=False),
    moment("analyzed_at"),  # the table's last ANALYZE by then, by the server's clock
    Column("counts", JSONB(none_as_null=True)),
)
