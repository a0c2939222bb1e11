"""Files of requests

How far each Parquet file of inference requests was read.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "request_file",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("rows_read", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["target"], ["ooda.target.name"], name=op.f("fk_request_file_target"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("target", "path", name=op.f("pk_request_file")),
        schema="ooda",
    )
    op.drop_constraint(op.f("ck_request_progress_keyed_by"), "request_progress", schema="ooda")
    op.create_check_constraint(
        op.f("ck_request_progress_keyed_by"), "request_progress", "keyed_by in ('id', 'time', 'file')", schema="ooda"
    )


def downgrade() -> None:
    op.execute("delete from ooda.request_progress where keyed_by = 'file'")
    op.drop_constraint(op.f("ck_request_progress_keyed_by"), "request_progress", schema="ooda")
    op.create_check_constraint(
        op.f("ck_request_progress_keyed_by"), "request_progress", "keyed_by in ('id', 'time')", schema="ooda"
    )
    op.drop_table("request_file", schema="ooda")
