"""Concepts

What was found in embeddings, how far they are counted, and what became of each concept.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "concept",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("concept_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("absences", sa.Integer(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("sample_n", sa.Integer(), nullable=False),
        sa.Column("coherence", sa.Float(), nullable=False),
        sa.Column("density", sa.Float(), nullable=False),
        sa.Column("strength", sa.Float(), nullable=False),
        sa.Column("buckets", sa.Integer(), nullable=False),
        sa.Column("radius", sa.Float(), nullable=False),
        sa.Column("centroid", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["target"], ["ooda.target.name"], name=op.f("fk_concept_target"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("target", "concept_id", name=op.f("pk_concept")),
        schema="ooda",
    )
    op.create_table(
        "concept_event",
        sa.Column("event_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("analysis_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("concept_id", sa.Text(), nullable=False),
        sa.Column("related", JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.ForeignKeyConstraint(
            ["target"], ["ooda.target.name"], name=op.f("fk_concept_event_target"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_concept_event")),
        schema="ooda",
    )
    op.create_index(op.f("ix_concept_event_target_at"), "concept_event", ["target", "at"], schema="ooda")
    op.create_table(
        "concept_progress",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("identity", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("discovered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("analysis_id", sa.Text(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mark", sa.Text(), nullable=True),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("rows_then", sa.BigInteger(), nullable=True),
        sa.Column("noise", sa.BigInteger(), nullable=False),
        sa.Column("rejected", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("quality", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("picture", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.ForeignKeyConstraint(
            ["target"], ["ooda.target.name"], name=op.f("fk_concept_progress_target"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("target", name=op.f("pk_concept_progress")),
        schema="ooda",
    )


def downgrade() -> None:
    op.drop_table("concept_progress", schema="ooda")
    op.drop_table("concept_event", schema="ooda")
    op.drop_table("concept", schema="ooda")
