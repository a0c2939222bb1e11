"""What was thought, decided, done and judged, and what people did and should hear of."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from ooda_dagster.core.journal import OPEN, WAITING, State
from ooda_dagster.ledger.tables.base import chained, json, metadata, moment, quoted
from ooda_dagster.ledger.tables.cycles import target

hypothesis = Table(
    "hypothesis",
    metadata,
    Column("hypothesis_id", Text, primary_key=True),
    Column("analysis_id", Text, nullable=False),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    Column("hypothesis_type", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("risk", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("blocked_by", Text),
    Column("body", JSONB, nullable=False),
    moment("created_at", nullable=False, server_default=func.now()),
    CheckConstraint("priority between 1 and 5", name="priority"),
    Index("ix_hypothesis_target_created", "target", text("created_at desc")),
)

#: Actions that are judged together; a closed verification keeps its last verdict.
verification = Table(
    "verification",
    metadata,
    Column("change_set_id", Text, primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    moment("acted_from", nullable=False),
    moment("acted_until"),
    json("treated", "[]"),
    json("bystanders", "[]"),
    moment("next_look_at"),
    moment("deadline_at"),
    Column("looks", Integer, nullable=False, server_default=text("0")),
    Column("open", Boolean, nullable=False, server_default=text("true")),
    moment("closed_at"),
    Column("learned_in", Text),  # the analysis that reported it
    Index("ix_verification_open", "target", "next_look_at", postgresql_where=text("open")),
)

action = Table(
    "action",
    metadata,
    Column("action_id", Text, primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    Column("action_type", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("hypothesis_id", Text),
    Column("analysis_id", Text),
    Column("priority", Integer),
    Column("risk", Text, nullable=False, server_default="low"),
    Column("dangerous", Boolean, nullable=False, server_default=text("false")),
    Column("relation", Text, nullable=False, server_default=""),
    Column("object_schema", Text),
    Column("object_name", Text),
    Column("object_oid", BigInteger),
    json("spec", "{}"),
    json("statements", "[]"),
    json("undo", "[]"),
    Column("undo_kind", Text, nullable=False, server_default="exact"),
    Column("statements_hash", Text, nullable=False),
    json("prior_state", "{}"),
    json("touches", "[]"),
    json("predicted", "{}"),
    Column("change_set_id", Text, ForeignKey(verification.c.change_set_id)),
    Column("backend_pid", Integer),
    moment("backend_start"),
    Column("application_name", Text),
    moment("proposed_at", nullable=False),
    Column("proposed_by", Text, nullable=False),
    moment("decided_at"),
    Column("decided_by", Text),
    Column("approved_hash", Text),
    moment("expires_at"),
    Column("rule", Text),
    Column("remedy", Text),
    moment("applying_at"),
    moment("applied_at"),
    Column("duration_ms", Float),
    Column("lock_wait_ms", Float),
    Column("outcome", Text),
    Column("outcome_class", Text),
    Column("ratio", Float),
    Column("ratio_low", Float),
    Column("ratio_high", Float),
    Column("verdict_reason", Text),
    moment("closed_at"),
    Column("revert_reason", Text),
    moment("reverted_at"),
    Column("error", Text),
    Column("learned_in", Text),
    CheckConstraint(f"state in ({quoted(frozenset(State))})", name="state"),
    Index(
        "uq_action_open_identity",
        "target",
        "identity",
        unique=True,
        postgresql_where=text(f"state in ({quoted(WAITING | OPEN)})"),
    ),
    Index("ix_action_target_state", "target", "state"),
)

#: Every transition, written before the deed that it announces. No foreign key: what was done to a target is still told
#: when the target is forgotten. Written by ledger/chains.py alone.
journal = Table(
    "journal",
    metadata,
    Column("seq", BigInteger, Identity(), primary_key=True),
    Column("action_id", Text, nullable=False),
    Column("target", Text, nullable=False),
    moment("at", nullable=False, server_default=func.clock_timestamp()),
    Column("from_state", Text),
    Column("to_state", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    json("detail", "{}"),
    *chained(),
    UniqueConstraint("target", "position"),
    Index("ix_journal_action_id", "action_id", "seq"),
)

#: One row a look.
verdict = Table(
    "verdict",
    metadata,
    Column("verdict_id", BigInteger, Identity(), primary_key=True),
    Column("change_set_id", Text, ForeignKey(verification.c.change_set_id, ondelete="CASCADE"), nullable=False),
    Column("target", Text, nullable=False),
    Column("look", Integer, nullable=False),
    moment("looked_at", nullable=False),
    Column("outcome", Text, nullable=False),
    Column("ratio", Float),
    Column("ratio_low", Float),
    Column("ratio_high", Float),
    Column("reason", Text, nullable=False, server_default=""),
    json("n", "{}"),
    json("evidence", "{}"),
    Column("final", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("change_set_id", "look"),
)

#: The document's AutonomousImprovementHistory, with the columns that its own queries need.
improvement_history = Table(
    "improvement_history",
    metadata,
    Column("improvement_id", Text, primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    Column("analysis_id", Text),
    Column("action_id", Text, ForeignKey(action.c.action_id, ondelete="CASCADE"), nullable=False, unique=True),
    Column("hypothesis_type", Text, nullable=False),
    json("analysis_results", "{}"),
    Column("generated_code", Text, nullable=False),
    Column("target_file", Text, nullable=False),  # what was changed; here the relation
    Column("change_type", Text, nullable=False),
    Column("risk_level", Text, nullable=False),
    Column("estimated_impact", Text),
    Column("git_commit_hash", Text),  # of the change: no file is committed, so that of its statements and undo
    Column("success_score", Numeric(5, 4)),
    Column("tests_passed", Integer),
    Column("tests_failed", Integer),
    Column("latency_improvement", Numeric(18, 4)),  # per cent, positive is faster; null where none was shown
    Column("performance_delta", Numeric(18, 4)),  # ms per hour saved by the change set, as its verdict measured it
    Column("predicted_improvement", Float),  # per cent less work of what it touches, as priced
    Column("expected_improvement", Float),  # as corrected by what came of such predictions before
    Column("error_message", Text),
    Column("was_deployed", Boolean, nullable=False, server_default=text("false")),
    Column("was_rolled_back", Boolean, nullable=False, server_default=text("false")),
    Column("approved_by", Text),
    moment("started_at", nullable=False),
    moment("executed_at"),
    moment("completed_at"),
    moment("rolled_back_at"),
    Column("target_entity", Text),  # what was made or changed
    Column("target_id", Text),  # its oid
    Column("old_value", Text),  # what brings the state from before back
    Column("new_value", Text),  # what was made of it
    Column("notes", Text),
    Column("improvement_type", Text, Computed("change_type")),
    Column("success", Boolean, Computed("success_score > 0.7")),
    CheckConstraint("success_score between 0 and 1", name="success_score"),
    Index("ix_improvement_history_completed", "target", text("completed_at desc")),
)

#: What people and switches did: modes, settings, approvals, rollbacks by hand. Written by ledger/chains.py alone.
audit_event = Table(
    "audit_event",
    metadata,
    Column("event_id", BigInteger, Identity(), primary_key=True),
    moment("at", nullable=False, server_default=func.clock_timestamp()),
    Column("target", Text),
    Column("actor", Text, nullable=False),
    Column("event", Text, nullable=False),
    json("detail", "{}"),
    *chained(),
    UniqueConstraint("position"),
)

#: The last row of each chain (core/chain.py): a tail that was cut off shows. Locked while a row is added.
chain_head = Table(
    "chain_head",
    metadata,
    Column("chain", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
)

#: What a person should hear of, once for each key while it is not cleared; told when `delivered_at` is set.
alert = Table(
    "alert",
    metadata,
    Column("alert_id", BigInteger, Identity(), primary_key=True),
    moment("at", nullable=False),
    Column("target", Text),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("text", Text, nullable=False),
    json("detail", "{}"),
    json("sent_to", "[]"),  # channels that took it
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    moment("next_try_at", nullable=False),
    moment("delivered_at"),
    moment("cleared_at"),  # what it tells of is over
    Column("error", Text),  # of the newest attempt
    Index("uq_alert_key", "key", unique=True, postgresql_where=text("cleared_at is null")),
    Index("ix_alert_undelivered", "next_try_at", postgresql_where=text("delivered_at is null")),
)
