"""The rest of the improvement history's columns, and its predictions

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TABLE = "improvement_history"
_PLAIN = {
    "predicted_improvement": sa.Float,
    "expected_improvement": sa.Float,
    "executed_at": lambda: sa.DateTime(timezone=True),
    "target_entity": sa.Text,
    "target_id": sa.Text,
    "old_value": sa.Text,
    "new_value": sa.Text,
    "notes": sa.Text,
}
_COMPUTED = {"improvement_type": (sa.Text, "change_type"), "success": (sa.Boolean, "success_score > 0.7")}


def upgrade() -> None:
    for name, kind in _PLAIN.items():
        op.add_column(_TABLE, sa.Column(name, kind()), schema="ooda")
    for name, (kind, term) in _COMPUTED.items():
        op.add_column(_TABLE, sa.Column(name, kind(), sa.Computed(term)), schema="ooda")


def downgrade() -> None:
    for name in (*_COMPUTED, *_PLAIN):
        op.drop_column(_TABLE, name, schema="ooda")
