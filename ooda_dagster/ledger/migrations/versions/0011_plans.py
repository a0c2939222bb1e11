"""Plans and regressions

Plans of statements with when each was seen, how far the plan log was read, and statements that became slower.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_SOURCES = "source in ('executed', 'estimate')"


def _target(table: str) -> tuple[sa.Column, sa.ForeignKeyConstraint]:
    return (
        sa.Column("target", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["target"], ["ooda.target.name"], name=op.f(f"fk_{table}_target"), ondelete="CASCADE"),
    )


def _moment(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "statement_plan",
        *_target("statement_plan"),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("relations", ARRAY(sa.Text()), nullable=False),
        _moment("first_seen"),
        _moment("last_seen"),
        sa.Column("executions", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_ms", sa.Float(), server_default="0", nullable=False),
        sa.CheckConstraint(_SOURCES, name=op.f("ck_statement_plan_source")),
        sa.PrimaryKeyConstraint("target", "fingerprint", "source", "plan_hash", name=op.f("pk_statement_plan")),
        schema="ooda",
    )
    op.create_table(
        "plan_use",
        *_target("plan_use"),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=False),
        _moment("seen_at"),
        sa.Column("executions", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_ms", sa.Float(), server_default="0", nullable=False),
        sa.CheckConstraint(_SOURCES, name=op.f("ck_plan_use_source")),
        sa.PrimaryKeyConstraint("target", "fingerprint", "source", "plan_hash", "seen_at", name=op.f("pk_plan_use")),
        schema="ooda",
    )
    op.create_index("ix_plan_use_target_seen_at", "plan_use", ["target", "seen_at"], schema="ooda")
    op.create_table(
        "plan_check",
        *_target("plan_check"),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        _moment("checked_at"),
        sa.Column("depends_on", sa.Text(), nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("target", "fingerprint", name=op.f("pk_plan_check")),
        schema="ooda",
    )
    op.create_table(
        "plan_log_position",
        *_target("plan_log_position"),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("byte", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
        _moment("read_at"),
        sa.PrimaryKeyConstraint("target", name=op.f("pk_plan_log_position")),
        schema="ooda",
    )
    op.create_table(
        "regression",
        sa.Column("regression_id", sa.BigInteger(), sa.Identity(), nullable=False),
        *_target("regression"),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        _moment("since"),
        _moment("opened_at"),
        sa.Column("opened_by", sa.Text(), nullable=False),
        _moment("looked_at"),
        _moment("gone_at", nullable=True),
        sa.Column("before_ms", sa.Float(), nullable=False),
        sa.Column("after_ms", sa.Float(), nullable=False),
        sa.Column("calls_before", sa.BigInteger(), nullable=False),
        sa.Column("calls_after", sa.BigInteger(), nullable=False),
        sa.Column("extra_s", sa.Float(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("plan_before", sa.Text(), nullable=True),
        sa.Column("plan_after", sa.Text(), nullable=True),
        sa.Column("evidence", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.CheckConstraint(
            "kind in ('plan_regression', 'slower_same_plan', 'slower_plan_unknown', 'parameter_sensitive')",
            name=op.f("ck_regression_kind"),
        ),
        sa.CheckConstraint(
            "state in ('open', 'gone') and (state = 'gone') = (gone_at is not null)", name=op.f("ck_regression_state")
        ),
        sa.PrimaryKeyConstraint("regression_id", name=op.f("pk_regression")),
        schema="ooda",
    )
    op.create_index(
        "uq_regression_open",
        "regression",
        ["target", "fingerprint"],
        unique=True,
        schema="ooda",
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("ix_regression_target_opened_at", "regression", ["target", "opened_at"], schema="ooda")


def downgrade() -> None:
    for table in ("regression", "plan_log_position", "plan_check", "plan_use", "statement_plan"):
        op.drop_table(table, schema="ooda")
