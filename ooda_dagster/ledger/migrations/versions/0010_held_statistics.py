"""Statistics from before an ANALYZE

They hold values of rows, and are kept in the table for literals, for as long as these.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "sampled_text", sa.Column("kind", sa.Text(), server_default="statement", nullable=False), schema="ooda"
    )
    op.create_check_constraint(op.f("ck_sampled_text_kind"), "sampled_text", "kind in ('statement', 'undo')", schema="ooda")


def downgrade() -> None:
    op.execute("delete from ooda.sampled_text where kind <> 'statement'")
    op.drop_constraint(op.f("ck_sampled_text_kind"), "sampled_text", schema="ooda")
    op.drop_column("sampled_text", "kind", schema="ooda")
