"""Plans of statements, where the reading of the plan log stands, and statements that became slower."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from ooda_dagster.ledger.tables.base import json, metadata, moment
from ooda_dagster.ledger.tables.cycles import target


def _target(*, key: bool = True) -> Column:
    return Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=key, nullable=False)


_SOURCES = "source in ('executed', 'estimate')"

#: A plan without costs, rows, times and literals. executions, total_ms: those that the plan log had; none of estimates.
statement_plan = Table(
    "statement_plan",
    metadata,
    _target(),
    Column("fingerprint", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("plan_hash", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("relations", ARRAY(Text), nullable=False),
    moment("first_seen", nullable=False),
    moment("last_seen", nullable=False),
    Column("executions", BigInteger, nullable=False, server_default="0"),
    Column("total_ms", Float, nullable=False, server_default="0"),
    CheckConstraint(_SOURCES, name="source"),
)

#: When a plan was seen: executions by stretch of time, estimates by the moment.
plan_use = Table(
    "plan_use",
    metadata,
    _target(),
    Column("fingerprint", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("plan_hash", Text, primary_key=True),
    moment("seen_at", primary_key=True, nullable=False),
    Column("executions", BigInteger, nullable=False, server_default="0"),
    Column("total_ms", Float, nullable=False, server_default="0"),
    CheckConstraint(_SOURCES, name="source"),
    Index("ix_plan_use_target_seen_at", "target", "seen_at"),
)

#: The last estimate of a statement's plan: what it depended on then, and why there is none.
plan_check = Table(
    "plan_check",
    metadata,
    _target(),
    Column("fingerprint", Text, primary_key=True),
    moment("checked_at", nullable=False),
    Column("depends_on", Text, nullable=False),
    Column("plan_hash", Text),
    Column("error", Text),
)

#: How far the plan log was read: file, byte, and a hash of the file's beginning, as names of files come again.
plan_log_position = Table(
    "plan_log_position",
    metadata,
    _target(),
    Column("file", Text, nullable=False),
    Column("byte", BigInteger, nullable=False),
    Column("head", Text, nullable=False),
    moment("read_at", nullable=False),
)

#: A statement that became slower. One is open at a time; times are means per call.
regression = Table(
    "regression",
    metadata,
    Column("regression_id", BigInteger, Identity(), primary_key=True),
    _target(key=False),
    Column("fingerprint", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="open"),
    moment("since", nullable=False),
    moment("opened_at", nullable=False),
    Column("opened_by", Text, nullable=False),  # analysis_id
    moment("looked_at", nullable=False),
    moment("gone_at"),
    Column("before_ms", Float, nullable=False),
    Column("after_ms", Float, nullable=False),
    Column("calls_before", BigInteger, nullable=False),
    Column("calls_after", BigInteger, nullable=False),
    Column("extra_s", Float, nullable=False),
    Column("score", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("source", Text),
    Column("plan_before", Text),
    Column("plan_after", Text),
    json("evidence", "{}"),
    CheckConstraint(
        "kind in ('plan_regression', 'slower_same_plan', 'slower_plan_unknown', 'parameter_sensitive')", name="kind"
    ),
    CheckConstraint("state in ('open', 'gone') and (state = 'gone') = (gone_at is not null)", name="state"),
    Index("uq_regression_open", "target", "fingerprint", unique=True, postgresql_where=text("state = 'open'")),
    Index("ix_regression_target_opened_at", "target", "opened_at"),
)
