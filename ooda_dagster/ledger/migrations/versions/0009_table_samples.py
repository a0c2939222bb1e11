"""Samples of tables

What the last sample of some columns counted, so that it is not taken again every cycle.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "table_sample",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("columns", sa.Text(), nullable=False),
        sa.Column("table_oid", sa.BigInteger(), nullable=False),
        sa.Column("sampled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("analyzed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counts", JSONB(), nullable=True),
        sa.ForeignKeyConstraint(
            ["target"], ["ooda.target.name"], name=op.f("fk_table_sample_target"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("target", "relation", "columns", name=op.f("pk_table_sample")),
        schema="ooda",
    )


def downgrade() -> None:
    op.drop_table("table_sample", schema="ooda")
