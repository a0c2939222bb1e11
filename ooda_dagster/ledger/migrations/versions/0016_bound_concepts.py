"""How often a concept was found, and whether it is still what was approved

Before its rows are written into the target.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("discoveries", "version"):
        column = sa.Column(name, sa.Integer(), server_default=sa.text("1"), nullable=False)
        op.add_column("concept", column, schema="ooda")


def downgrade() -> None:
    op.drop_column("concept", "version", schema="ooda")
    op.drop_column("concept", "discoveries", schema="ooda")
