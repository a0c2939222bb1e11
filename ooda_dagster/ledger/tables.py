"""The ledger's tables. Times are aware and UTC, ids are opaque text, sizes are bytes, durations carry their unit."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
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
from sqlalchemy.dialects.postgresql import ARRAY, INT8MULTIRANGE, JSONB

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

#: A turn of the loop, and the conversation of its phases: it outlives a run that dies, until `expires_at`.
cycle = Table(
    "cycle",
    metadata,
    Column("analysis_id", Text, primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    _moment("due_at", nullable=False),
    Column("run_id", Text, nullable=False, unique=True),  # the run that took it on last
    Column("trigger", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("dry_run", Boolean, nullable=False, server_default=text("false")),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Float, nullable=False),
    _moment("lease_until", nullable=False),
    _moment("started_at", nullable=False),
    _moment("expires_at", nullable=False),
    _moment("finished_at"),
    Column("state", Text, nullable=False, server_default="running"),
    Column("error", Text),
    _moment("next_due_at"),
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
    _moment("due_at", nullable=False),
    _moment("began_at", nullable=False),
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
    _moment("created_at", nullable=False, server_default=func.now()),
    Column("queue", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _moment("received_at"),
    _moment("acknowledged_at"),
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
    _moment("died_at", nullable=False),
    _moment("cleared_at"),
    Column("cleared_by", Text),
    Index("ix_dead_letter_open", "target", postgresql_where=text("cleared_at is null")),
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

#: A past day of a target, rolled up. No foreign key: a day may come from files, of a target that was never reached.
workload_day = Table(
    "workload_day",
    metadata,
    Column("target", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("source", Text, nullable=False),
    Column("grain", Text),
    Column("hours", Float, nullable=False),
    Column("statements", Integer),
    Column("calls", BigInteger),
    Column("total_ms", Float),
    Column("p50_ms", Float),
    Column("p95_ms", Float),
    Column("requests", BigInteger),
    Column("failed", BigInteger),
    Column("avg_ms", Float),
    _json("top_statements", "[]"),
    _json("slower", "[]"),
    _json("proposals", "[]"),
    _json("decided", "{}"),
    _json("notes", "[]"),
    _moment("computed_at", nullable=False),
    Index("ix_workload_day_day", "day"),
)

#: When a target's table of requests may be read next, whoever reads it.
request_read = Table(
    "request_read",
    metadata,
    Column("target", Text, primary_key=True),
    _moment("next_at", nullable=False),
)

#: How far a target's table of inference requests was read. `version` counts the reads that moved it.
request_progress = Table(
    "request_progress",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    _json("identity", "{}"),
    Column("keyed_by", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("mark", BigInteger),  # ids up to it are not looked at any more
    Column("highest", BigInteger),
    _json("marks", "[]"),  # [moment, id]: they become the mark with age
    _moment("floor_at"),  # the same where ids are not numbers: what was requested before is not looked at
    _moment("covers_since", nullable=False),
    Column("behind", Boolean, nullable=False, server_default=text("false")),
    _moment("read_at", nullable=False),
    CheckConstraint("keyed_by in ('id', 'time')", name="keyed_by"),
)

#: Ids that were consumed and may still be met again.
request_seen = Table(
    "request_seen",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    Column("source", Text, primary_key=True),
    _moment("bucket_start", primary_key=True, nullable=False),
    Column("keys", INT8MULTIRANGE, nullable=False),
    CheckConstraint("source in ('inference', 'analysis')", name="source"),
)

#: Inference requests per minute of their request. Logs are over durations above zero.
request_rollup = Table(
    "request_rollup",
    metadata,
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), primary_key=True),
    _moment("minute", primary_key=True, nullable=False),
    Column("model", Text, primary_key=True),
    Column("operation", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("n_zero", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("sum_ms", Float, nullable=False),
    Column("sum_ms_sq", Float, nullable=False),
    Column("sum_log_ms", Float, nullable=False),
    Column("sum_log_ms_sq", Float, nullable=False),
    Column("max_ms", Float, nullable=False),
    Column("tokens", Float, nullable=False),
)

#: One row a read that consumed something. `analysis_id`: the cycle that read it, and so knows its alarm.
request_batch = Table(
    "request_batch",
    metadata,
    Column("batch_id", BigInteger, Identity(), primary_key=True),
    Column("target", Text, ForeignKey(target.c.name, ondelete="CASCADE"), nullable=False),
    _moment("consumed_at", nullable=False),
    Column("rows", BigInteger, nullable=False),
    _json("rejected", "{}"),
    _json("notes", "[]"),
    Column("first_id", BigInteger),
    Column("last_id", BigInteger),
    _moment("window_start"),
    _moment("window_end"),
    _json("alarm", "[]"),
    Column("analysis_id", Text),
    Column("report_id", BigInteger),  # the last batch of the report that this one is in, set before it is made
    _moment("reported_at"),
    Index("ix_request_batch_unreported", "target", "batch_id", postgresql_where=text("reported_at is null")),
    Index("ix_request_batch_consumed", "target", text("consumed_at desc")),
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
