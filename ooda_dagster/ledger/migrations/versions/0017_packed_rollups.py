"""Packed rollups

Arrays of one bucket become chunks of many; what is in them stays, as exactly as each grain keeps it.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby

import numpy as np
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from ooda_dagster.ledger.chunks import chunk_of, combined, microseconds, one_bucket, row_of

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_STRETCHES = {"minute": timedelta(hours=1), "block": timedelta(hours=6), "hour": timedelta(days=1)}
#: As they were packed then: what is counted later is no part of this.
_PACKED = ("n", "sum_ms", "sum_ms_sq", "rows", "blocks_hit", "blocks_read", "temp_blocks", "wal_bytes")
_STORED = ("calls", "total_ms", "total_ms_sq", "rows", "blocks_hit", "blocks_read", "temp_blocks", "wal_bytes")
_CHUNK = sa.table(
    "rollup_chunk",
    *(sa.column(name) for name in ("target", "grain", "first_start", "last_start", "starts", "spans_s", "called")),
    sa.column("data"),
    schema="ooda",
)
_BUCKET = sa.table(
    "rollup", *(sa.column(n) for n in ("target", "grain", "bucket_start", "span_s", "statement_ids", *_STORED)), schema="ooda"
)
_NUMBERS = {name: ARRAY(sa.Float() if name.startswith("total") else sa.BigInteger()) for name in _STORED}


def upgrade() -> None:
    op.create_table(
        "rollup_chunk",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("grain", sa.Text(), nullable=False),
        sa.Column("first_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("starts", ARRAY(sa.DateTime(timezone=True)), nullable=False),
        sa.Column("spans_s", ARRAY(sa.Float()), nullable=False),
        sa.Column("called", ARRAY(sa.Integer()), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("grain in ('minute', 'block', 'hour')", name=op.f("ck_rollup_chunk_grain")),
        sa.ForeignKeyConstraint(["target"], ["ooda.target.name"], name=op.f("fk_rollup_chunk_target"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("target", "grain", "first_start", name=op.f("pk_rollup_chunk")),
        schema="ooda",
    )
    # What is packed cannot be compressed again. Chunks are rewritten all day: without bounds of their own, a fifth of
    # the table would be dead before a vacuum came.
    op.execute("alter table ooda.rollup_chunk alter column data set storage external")
    op.execute(
        "alter table ooda.rollup_chunk set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200, "
        "toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 3000)"
    )
    # A sampler of the older version waits, then fails and loses nothing: its snapshot has not moved on.
    op.execute("lock table ooda.rollup in exclusive mode")
    _convert()
    op.drop_table("rollup", schema="ooda")


def _convert() -> None:
    conn = op.get_bind()
    query = sa.select(_BUCKET).order_by(_BUCKET.c.target, _BUCKET.c.grain, _BUCKET.c.bucket_start)
    rows = conn.execute(query, execution_options={"stream_results": True, "yield_per": 100})

    def stretch(row: sa.Row) -> tuple[str, str, int]:
        width = _STRETCHES[row.grain] // timedelta(microseconds=1)
        return row.target, row.grain, microseconds(row.bucket_start) // width

    for (target, grain, _), found in groupby(rows, stretch):
        buckets = [
            one_bucket(
                row.bucket_start,
                row.span_s,
                np.array(row.statement_ids, "int64"),
                {name: _work(getattr(row, stored)) for name, stored in zip(_PACKED, _STORED, strict=True)},
            )
            for row in found
        ]
        conn.execute(sa.insert(_CHUNK), row_of(target, grain, combined(buckets)))


def _work(numbers: list[float]) -> np.ndarray:
    """What is no sum of work, which nobody should have written, must not bar the upgrade: it counts as none."""
    return np.maximum(np.nan_to_num(np.array(numbers, float), posinf=0.0), 0.0)


def downgrade() -> None:
    op.create_table(
        "rollup",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("grain", sa.Text(), nullable=False),
        sa.Column("bucket_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("span_s", sa.Float(), nullable=False),
        sa.Column("statement_ids", ARRAY(sa.Integer()), nullable=False),
        *(sa.Column(name, kind, nullable=False) for name, kind in _NUMBERS.items()),
        sa.Column("log_ms", ARRAY(sa.Float()), nullable=True),
        sa.Column("log_ms_sq", ARRAY(sa.Float()), nullable=True),
        sa.CheckConstraint("grain in ('minute', 'block', 'hour')", name=op.f("ck_rollup_grain")),
        sa.ForeignKeyConstraint(["target"], ["ooda.target.name"], name=op.f("fk_rollup_target"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("target", "grain", "bucket_start", name=op.f("pk_rollup")),
        schema="ooda",
    )
    conn = op.get_bind()
    for row in conn.execute(sa.select(_CHUNK), execution_options={"stream_results": True, "yield_per": 4}):
        cells = chunk_of(row).cells
        for number, (start, span_s) in enumerate(zip(row.starts, row.spans_s, strict=True)):
            mine = cells.bucket == number
            numbers = {stored: cells.values[name][mine].tolist() for name, stored in zip(_PACKED, _STORED, strict=True)}
            values = {"target": row.target, "grain": row.grain, "bucket_start": start, "span_s": span_s}
            conn.execute(sa.insert(_BUCKET), values | {"statement_ids": cells.ids[cells.row[mine]].tolist()} | numbers)
    op.drop_table("rollup_chunk", schema="ooda")
