"""Inference requests: how far they were read, what was read, and their rollups

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import INT8MULTIRANGE, JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def _target(table: str) -> tuple[sa.Column, sa.ForeignKeyConstraint]:
    link = sa.ForeignKeyConstraint(["target"], ["ooda.target.name"], name=f"fk_{table}_target", ondelete="CASCADE")
    return sa.Column("target", sa.Text, nullable=False), link


def _json(name: str, default: str) -> sa.Column:
    return sa.Column(name, JSONB, nullable=False, server_default=sa.text(f"'{default}'::jsonb"))


def upgrade() -> None:
    op.create_table(
        "request_progress",
        *_target("request_progress"),
        _json("identity", "{}"),
        sa.Column("keyed_by", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("mark", sa.BigInteger),
        sa.Column("highest", sa.BigInteger),
        _json("marks", "[]"),
        sa.Column("floor_at", _TIME),
        sa.Column("covers_since", _TIME, nullable=False),
        sa.Column("behind", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("read_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("target", name="pk_request_progress"),
        sa.CheckConstraint("keyed_by in ('id', 'time')", name=op.f("ck_request_progress_keyed_by")),
        schema="ooda",
    )
    op.create_table(
        "request_seen",
        *_target("request_seen"),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("bucket_start", _TIME, nullable=False),
        sa.Column("keys", INT8MULTIRANGE, nullable=False),
        sa.PrimaryKeyConstraint("target", "source", "bucket_start", name="pk_request_seen"),
        sa.CheckConstraint("source in ('inference', 'analysis')", name=op.f("ck_request_seen_source")),
        schema="ooda",
    )
    op.create_table(
        "request_rollup",
        *_target("request_rollup"),
        sa.Column("minute", _TIME, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("n", sa.BigInteger, nullable=False),
        sa.Column("n_zero", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("sum_ms", sa.Float, nullable=False),
        sa.Column("sum_ms_sq", sa.Float, nullable=False),
        sa.Column("sum_log_ms", sa.Float, nullable=False),
        sa.Column("sum_log_ms_sq", sa.Float, nullable=False),
        sa.Column("max_ms", sa.Float, nullable=False),
        sa.Column("tokens", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("target", "minute", "model", "operation", name="pk_request_rollup"),
        schema="ooda",
    )
    op.create_table(
        "request_batch",
        sa.Column("batch_id", sa.BigInteger, sa.Identity(), nullable=False),
        *_target("request_batch"),
        sa.Column("consumed_at", _TIME, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        _json("rejected", "{}"),
        _json("notes", "[]"),
        sa.Column("first_id", sa.BigInteger),
        sa.Column("last_id", sa.BigInteger),
        sa.Column("window_start", _TIME),
        sa.Column("window_end", _TIME),
        _json("alarm", "[]"),
        sa.Column("analysis_id", sa.Text),
        sa.Column("report_id", sa.BigInteger),
        sa.Column("reported_at", _TIME),
        sa.PrimaryKeyConstraint("batch_id", name="pk_request_batch"),
        schema="ooda",
    )
    op.create_index(
        "ix_request_batch_unreported",
        "request_batch",
        ["target", "batch_id"],
        schema="ooda",
        postgresql_where=sa.text("reported_at is null"),
    )
    op.create_index(
        "ix_request_batch_consumed", "request_batch", ["target", sa.text("consumed_at desc")], schema="ooda"
    )


def downgrade() -> None:
    for table in ("request_batch", "request_rollup", "request_seen", "request_progress"):
        op.drop_table(table, schema="ooda")
