"""Room for large gains and losses

A statement that became 10,001 times slower is -1,000,000 %, and a busy server saves millions of ms an hour: neither
fits the document's DECIMAL(10,4).

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COLUMNS = ("latency_improvement", "performance_delta")


def upgrade() -> None:
    for column in _COLUMNS:
        op.alter_column("improvement_history", column, type_=sa.Numeric(18, 4), schema="ooda")


def downgrade() -> None:
    for column in _COLUMNS:
        op.alter_column("improvement_history", column, type_=sa.Numeric(10, 4), schema="ooda")
