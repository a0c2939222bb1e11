"""Why the acting role is not let in

Told by status and alerts until it is.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("target", sa.Column("barred", sa.Text(), nullable=True), schema="ooda")
    op.add_column("target", sa.Column("barred_at", sa.DateTime(timezone=True), nullable=True), schema="ooda")


def downgrade() -> None:
    op.drop_column("target", "barred_at", schema="ooda")
    op.drop_column("target", "barred", schema="ooda")
