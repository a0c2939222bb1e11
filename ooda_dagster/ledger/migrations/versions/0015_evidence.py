"""Evidence

What verdicts were computed from, and the files that were written of it.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "judged",
        sa.Column("change_set_id", sa.Text(), nullable=False),
        sa.Column("look", sa.Integer(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["change_set_id"], ["ooda.verification.change_set_id"], name=op.f("fk_judged_change_set_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["target"], ["ooda.target.name"], name=op.f("fk_judged_target"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("change_set_id", "look", name=op.f("pk_judged")),
        schema="ooda",
    )
    op.create_index("ix_judged_target", "judged", ["target", "judged_at"], schema="ooda")
    op.create_table(
        "evidence_file",
        sa.Column("action_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("journal_seq", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["action_id"], ["ooda.action.action_id"], name=op.f("fk_evidence_file_action_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["target"], ["ooda.target.name"], name=op.f("fk_evidence_file_target"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("action_id", name=op.f("pk_evidence_file")),
        schema="ooda",
    )
    op.create_index("ix_evidence_file_target", "evidence_file", ["target"], schema="ooda")


def downgrade() -> None:
    op.drop_table("evidence_file", schema="ooda")
    op.drop_table("judged", schema="ooda")
