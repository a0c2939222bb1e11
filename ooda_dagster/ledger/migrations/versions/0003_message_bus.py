"""Queues, receipts and dead letters

A phase that fails again and again must end somewhere, and a run that dies must not lose what its phases said: messages
count their receipts, and a cycle outlives the runs that work on it.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

S = "ooda"
_STATES_BEFORE = "state in ('running', 'finished', 'failed')"
_STATES = "state in ('running', 'interrupted', 'finished', 'failed')"
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("cycle", sa.Column("expires_at", _MOMENT), schema=S)
    op.execute("update ooda.cycle set expires_at = started_at + interval '2 hours'")
    op.alter_column("cycle", "expires_at", nullable=False, schema=S)
    op.drop_constraint(op.f("ck_cycle_state"), "cycle", schema=S)
    op.create_check_constraint(op.f("ck_cycle_state"), "cycle", _STATES, schema=S)
    op.create_index("ix_cycle_target_started", "cycle", ["target", sa.text("started_at desc")], schema=S)
    op.create_table(
        "cycle_run",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("analysis_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("began_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_cycle_run")),
        sa.ForeignKeyConstraint(
            ["analysis_id"], ["ooda.cycle.analysis_id"], name=op.f("fk_cycle_run_analysis_id"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint("target", "due_at", name=op.f("uq_cycle_run_target_due_at")),
        schema=S,
    )
    op.execute("insert into ooda.cycle_run select run_id, analysis_id, target, due_at, started_at from ooda.cycle")
    op.add_column("message", sa.Column("queue", sa.Text()), schema=S)
    op.add_column("message", sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False), schema=S)
    op.add_column("message", sa.Column("received_at", _MOMENT), schema=S)
    op.add_column("message", sa.Column("acknowledged_at", _MOMENT), schema=S)
    op.create_index(
        "ix_message_waiting",
        "message",
        ["queue", "target"],
        schema=S,
        postgresql_where=sa.text("queue is not null and acknowledged_at is null"),
    )
    op.create_table(
        "dead_letter",
        sa.Column("dead_letter_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("analysis_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("died_at", _MOMENT, nullable=False),
        sa.Column("cleared_at", _MOMENT),
        sa.Column("cleared_by", sa.Text()),
        sa.PrimaryKeyConstraint("dead_letter_id", name=op.f("pk_dead_letter")),
        sa.ForeignKeyConstraint(
            ["message_id"], ["ooda.message.message_id"], name=op.f("fk_dead_letter_message_id"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint("message_id", name=op.f("uq_dead_letter_message_id")),
        schema=S,
    )
    op.create_index(
        "ix_dead_letter_open", "dead_letter", ["target"], schema=S, postgresql_where=sa.text("cleared_at is null")
    )


def downgrade() -> None:
    op.drop_table("dead_letter", schema=S)
    op.drop_index("ix_message_waiting", "message", schema=S)
    for column in ("acknowledged_at", "received_at", "attempts", "queue"):
        op.drop_column("message", column, schema=S)
    op.drop_table("cycle_run", schema=S)
    op.drop_index("ix_cycle_target_started", "cycle", schema=S)
    op.execute("update ooda.cycle set state = 'failed' where state = 'interrupted'")
    op.drop_constraint(op.f("ck_cycle_state"), "cycle", schema=S)
    op.create_check_constraint(op.f("ck_cycle_state"), "cycle", _STATES_BEFORE, schema=S)
    op.drop_column("cycle", "expires_at", schema=S)
