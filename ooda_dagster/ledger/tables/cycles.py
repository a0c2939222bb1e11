"""Targets, the timer, cycles and what their phases say to each other."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from ooda_dagster.ledger.tables.base import json, metadata, moment

target = Table(
    "target",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("mode", Text, nullable=False),
    json("identity", "{}"),  # system identifier, database oid and version: another server behind the name shows
    moment("first_seen", nullable=False, server_default=func.now()),
    moment("last_sampled_at"),
    moment("paused_at"),
    Column("barred", Text),  # why the acting role is not let in, as last seen
    moment("barred_at"),
    Column("settings", JSONB),  # as they were seen last, for the audit of the next change
)

#: The one timer: a target has one open request for a cycle.
analyze_queue = Table(
    "analyze_queue",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    moment("deliver_at", nullable=False),
    Column("reason", Text, nullable=False),
    Column("previous_analysis_id", Text),
    json("body", "{}"),
    moment("enqueued_at", nullable=False, server_default=func.now()),
)

#: A turn of the loop, and the conversation of its phases: it outlives a run that dies, until `expires_at`.
cycle = Table(
    "cycle",
    metadata,
    Column("analysis_id", Text, primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    moment("due_at", nullable=False),
    Column("run_id", Text, nullable=False, unique=True),  # the run that took it on last
    Column("trigger", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("dry_run", Boolean, nullable=False, server_default=text("false")),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Float, nullable=False),
    moment("lease_until", nullable=False),
    moment("started_at", nullable=False),
    moment("expires_at", nullable=False),
    moment("finished_at"),
    Column("state", Text, nullable=False, server_default="running"),
    Column("error", Text),
    moment("next_due_at"),
    Column("next_due_reason", Text),
    UniqueConstraint("target", "due_at"),
    CheckConstraint("state in ('running', 'interrupted', 'finished', 'failed')", name="state"),
    Index("uq_cycle_running", "target", unique=True, postgresql_where=text("state = 'running'")),
    Index("ix_cycle_target_started", "target", text("started_at desc")),
)

#: Every run that took part in a cycle: a due time is answered once, whoever answers it.
cycle_run = Table(
    "cycle_run",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("analysis_id", Text, ForeignKey(cycle.c.analysis_id, ondelete="CASCADE"), nullable=False),
    Column("target", Text, nullable=False),
    moment("due_at", nullable=False),
    moment("began_at", nullable=False),
    UniqueConstraint("target", "due_at"),
)

#: What a phase sent, once. Where the next phase is to receive it, the queue it waits in.
message = Table(
    "message",
    metadata,
    Column("message_id", BigInteger, Identity(), primary_key=True),
    Column("analysis_id", Text, nullable=False),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    Column("phase", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("replayed", Boolean, nullable=False, server_default=text("false")),
    Column("body", JSONB, nullable=False),
    moment("created_at", nullable=False, server_default=func.now()),
    Column("queue", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    moment("received_at"),
    moment("acknowledged_at"),
    UniqueConstraint("analysis_id", "phase"),
    Index("ix_message_latest", "target", "phase", text("created_at desc")),
    Index(
        "ix_message_waiting",
        "queue",
        "target",
        postgresql_where=text("queue is not null and acknowledged_at is null"),
    ),
)

#: Messages that could not be worked on, and why; their conversation ended with that error.
dead_letter = Table(
    "dead_letter",
    metadata,
    Column("dead_letter_id", BigInteger, Identity(), primary_key=True),
    Column("message_id", BigInteger, ForeignKey(message.c.message_id, ondelete="CASCADE"), nullable=False, unique=True),
    Column("analysis_id", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
    moment("died_at", nullable=False),
    moment("cleared_at"),
    Column("cleared_by", Text),
    Index("ix_dead_letter_open", "target", postgresql_where=text("cleared_at is null")),
)
