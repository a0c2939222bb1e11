"""Past days of each target, and the pace at which its requests are read

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _json(name: str, default: str) -> sa.Column:
    return sa.Column(name, JSONB(), server_default=sa.text(f"'{default}'::jsonb"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "workload_day",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("grain", sa.Text()),
        sa.Column("hours", sa.Float(), nullable=False),
        sa.Column("statements", sa.Integer()),
        sa.Column("calls", sa.BigInteger()),
        sa.Column("total_ms", sa.Float()),
        sa.Column("p50_ms", sa.Float()),
        sa.Column("p95_ms", sa.Float()),
        sa.Column("requests", sa.BigInteger()),
        sa.Column("failed", sa.BigInteger()),
        sa.Column("avg_ms", sa.Float()),
        _json("top_statements", "[]"),
        _json("slower", "[]"),
        _json("proposals", "[]"),
        _json("decided", "{}"),
        _json("notes", "[]"),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("target", "day", name=op.f("pk_workload_day")),
        schema="ooda",
    )
    op.create_index("ix_workload_day_day", "workload_day", ["day"], schema="ooda")
    op.create_table(
        "request_read",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("target", name=op.f("pk_request_read")),
        schema="ooda",
    )


def downgrade() -> None:
    op.drop_table("request_read", schema="ooda")
    op.drop_table("workload_day", schema="ooda")
