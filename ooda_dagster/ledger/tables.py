"""The ledger's tables. Times are aware and UTC, ids are opaque text, sizes are bytes, durations carry their unit."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from ooda_dagster.core.journal import OPEN, WAITING, State

SCHEMA = "ooda"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    },
)


def _moment(name: str, *, nullable: bool = True, **kwargs: object) -> Column:
    return Column(name, DateTime(timezone=True), nullable=nullable, **kwargs)  # type: ignore[arg-type]


def _json(name: str, default: str) -> Column:
    return Column(name, JSONB, nullable=False, server_default=text(f"'{default}'::jsonb"))


def _quoted(states: frozenset[State]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


target = Table(
    "target",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("mode", Text, nullable=False),
    _json("identity", "{}"),  # system identifier, database oid and version: another server behind the name shows
    _moment("first_seen", nullable=False, server_default=func.now()),
    _moment("last_sampled_at"),
    _moment("paused_at"),
)

#: The one timer: a target has one open request for a cycle.
analyze_queue = Table(
    "analyze_queue",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    _moment("deliver_at", nullable=False),
    Column("reason", Text, nullable=False),
    Column("previous_analysis_id", Text),
    _json("body", "{}"),
    _moment("enqueued_at", nullable=False, server_default=func.now()),
)

cycle = Table(
    "cycle",
    metadata,
    Column("analysis_id", Text, primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    _moment("due_at", nullable=False),
    Column("run_id", Text, nullable=False, unique=True),
    Column("trigger", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("dry_run", Boolean, nullable=False, server_default=text("false")),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Float, nullable=False),
    _moment("lease_until", nullable=False),
    _moment("started_at", nullable=False),
    _moment("finished_at"),
    Column("state", Text, nullable=False, server_default="running"),
    Column("error", Text),
    _moment("next_due_at"),
    Column("next_due_reason", Text),
    UniqueConstraint("target", "due_at"),
    CheckConstraint("state in ('running', 'finished', 'failed')", name="state"),
    Index("uq_cycle_running", "target", unique=True, postgresql_where=text("state = 'running'")),
)

#: The output of each phase, once.
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
    _moment("created_at", nullable=False, server_default=func.now()),
    UniqueConstraint("analysis_id", "phase"),
    Index("ix_message_latest", "target", "phase", text("created_at desc")),
)

statement = Table(
    "statement",
    metadata,
    Column("statement_id", Integer, Identity(), primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    _moment("first_seen", nullable=False, server_default=func.now()),
    UniqueConstraint("target", "fingerprint"),
)

#: pg_stat_statements' queryid → our statement; null for the loop's own statements.
statement_query = Table(
    "statement_query",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    Column("query_id", BigInteger, primary_key=True),
    Column("statement_id", Integer, ForeignKey(statement.c.statement_id, ondelete="CASCADE")),
)

#: Texts with their literals, sampled from sessions, for EXPLAIN: the only table that holds any. Kept for days.
sampled_text = Table(
    "sampled_text",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("text", Text, nullable=False),
    _moment("sampled_at", nullable=False),
)

#: One row a bucket: parallel arrays over the statements that were called in it. `log_*` where calls are seen singly.
rollup = Table(
    "rollup",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    Column("grain", Text, primary_key=True),
    _moment("bucket_start", primary_key=True, nullable=False),
    Column("span_s", Float, nullable=False),
    Column("statement_ids", ARRAY(Integer), nullable=False),
    Column("calls", ARRAY(BigInteger), nullable=False),
    Column("total_ms", ARRAY(Float), nullable=False),
    Column("total_ms_sq", ARRAY(Float), nullable=False),
    Column("rows", ARRAY(BigInteger), nullable=False),
    Column("blocks_hit", ARRAY(BigInteger), nullable=False),
    Column("blocks_read", ARRAY(BigInteger), nullable=False),
    Column("temp_blocks", ARRAY(BigInteger), nullable=False),
    Column("wal_bytes", ARRAY(BigInteger), nullable=False),
    Column("log_ms", ARRAY(Float)),
    Column("log_ms_sq", ARRAY(Float)),
    CheckConstraint("grain in ('minute', 'block', 'hour')", name="grain"),
)

#: The counters at the last sample: the next sample is a difference to them.
counter_snapshot = Table(
    "counter_snapshot",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    _moment("taken_at", nullable=False),
    _json("epoch", "{}"),
    Column("counters", LargeBinary, nullable=False),
)

#: Times that no rollup tells the truth about.
sample_gap = Table(
    "sample_gap",
    metadata,
    Column("gap_id", BigInteger, Identity(), primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    _moment("since", nullable=False),
    _moment("until", nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
    Index("ix_sample_gap_target_until", "target", "until"),
)

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
    _moment("created_at", nullable=False, server_default=func.now()),
    CheckConstraint("priority between 1 and 5", name="priority"),
    Index("ix_hypothesis_target_created", "target", text("created_at desc")),
)

#: Actions that are judged together; a closed verification keeps its last verdict.
verification = Table(
    "verification",
    metadata,
    Column("change_set_id", Text, primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    _moment("acted_from", nullable=False),
    _moment("acted_until"),
    _json("treated", "[]"),
    _json("bystanders", "[]"),
    _moment("next_look_at"),
    _moment("deadline_at"),
    Column("looks", Integer, nullable=False, server_default=text("0")),
    Column("open", Boolean, nullable=False, server_default=text("true")),
    _moment("closed_at"),
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
    _json("spec", "{}"),
    _json("statements", "[]"),
    _json("undo", "[]"),
    Column("undo_kind", Text, nullable=False, server_default="exact"),
    Column("statements_hash", Text, nullable=False),
    _json("prior_state", "{}"),
    _json("touches", "[]"),
    _json("predicted", "{}"),
    Column("change_set_id", Text, ForeignKey(verification.c.change_set_id)),
    Column("backend_pid", Integer),
    _moment("backend_start"),
    Column("application_name", Text),
    _moment("proposed_at", nullable=False),
    Column("proposed_by", Text, nullable=False),
    _moment("decided_at"),
    Column("decided_by", Text),
    Column("approved_hash", Text),
    _moment("expires_at"),
    Column("rule", Text),
    Column("remedy", Text),
    _moment("applying_at"),
    _moment("applied_at"),
    Column("duration_ms", Float),
    Column("lock_wait_ms", Float),
    Column("outcome", Text),
    Column("outcome_class", Text),
    Column("ratio", Float),
    Column("ratio_low", Float),
    Column("ratio_high", Float),
    Column("verdict_reason", Text),
    _moment("closed_at"),
    Column("revert_reason", Text),
    _moment("reverted_at"),
    Column("error", Text),
    Column("learned_in", Text),
    CheckConstraint(f"state in ({_quoted(frozenset(State))})", name="state"),
    Index(
        "uq_action_open_identity",
        "target",
        "identity",
        unique=True,
        postgresql_where=text(f"state in ({_quoted(WAITING | OPEN)})"),
    ),
    Index("ix_action_target_state", "target", "state"),
)

#: Every transition, written before the deed that it announces.
journal = Table(
    "journal",
    metadata,
    Column("seq", BigInteger, Identity(), primary_key=True),
    Column("action_id", Text, ForeignKey(action.c.action_id, ondelete="CASCADE"), nullable=False),
    Column("target", Text, nullable=False),
    _moment("at", nullable=False, server_default=func.clock_timestamp()),
    Column("from_state", Text),
    Column("to_state", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    _json("detail", "{}"),
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
    _moment("looked_at", nullable=False),
    Column("outcome", Text, nullable=False),
    Column("ratio", Float),
    Column("ratio_low", Float),
    Column("ratio_high", Float),
    Column("reason", Text, nullable=False, server_default=""),
    _json("n", "{}"),
    _json("evidence", "{}"),
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
    _json("analysis_results", "{}"),
    Column("generated_code", Text, nullable=False),
    Column("target_file", Text, nullable=False),  # what was changed; here the relation
    Column("change_type", Text, nullable=False),
    Column("risk_level", Text, nullable=False),
    Column("estimated_impact", Text),
    Column("git_commit_hash", Text),
    Column("success_score", Numeric(5, 4)),
    Column("tests_passed", Integer),
    Column("tests_failed", Integer),
    Column("latency_improvement", Numeric(18, 4)),  # per cent, positive is faster; null where none was shown
    Column("performance_delta", Numeric(18, 4)),  # ms per hour saved by the change set, as its verdict measured it
    Column("error_message", Text),
    Column("was_deployed", Boolean, nullable=False, server_default=text("false")),
    Column("was_rolled_back", Boolean, nullable=False, server_default=text("false")),
    Column("approved_by", Text),
    _moment("started_at", nullable=False),
    _moment("completed_at"),
    _moment("rolled_back_at"),
    CheckConstraint("success_score between 0 and 1", name="success_score"),
    Index("ix_improvement_history_completed", "target", text("completed_at desc")),
)

#: What people and switches did: modes raised, approvals, rollbacks by hand.
audit_event = Table(
    "audit_event",
    metadata,
    Column("event_id", BigInteger, Identity(), primary_key=True),
    _moment("at", nullable=False, server_default=func.clock_timestamp()),
    Column("target", Text),
    Column("actor", Text, nullable=False),
    Column("event", Text, nullable=False),
    _json("detail", "{}"),
)

#: What a person should hear of, once for each key while it is not cleared; told when `delivered_at` is set.
alert = Table(
    "alert",
    metadata,
    Column("alert_id", BigInteger, Identity(), primary_key=True),
    _moment("at", nullable=False),
    Column("target", Text),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("text", Text, nullable=False),
    _json("detail", "{}"),
    _json("sent_to", "[]"),  # channels that took it
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _moment("next_try_at", nullable=False),
    _moment("delivered_at"),
    _moment("cleared_at"),  # what it tells of is over
    Column("error", Text),  # of the newest attempt
    Index("uq_alert_key", "key", unique=True, postgresql_where=text("cleared_at is null")),
    Index("ix_alert_undelivered", "next_try_at", postgresql_where=text("delivered_at is null")),
)
