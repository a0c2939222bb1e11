"""The ledger's tables, by what they tell of."""

from ooda_dagster.ledger.tables.actions import (
    action,
    alert,
    audit_event,
    chain_head,
    hypothesis,
    improvement_history,
    journal,
    verdict,
    verification,
)
from ooda_dagster.ledger.tables.base import SCHEMA, metadata
from ooda_dagster.ledger.tables.concepts import concept, concept_event, concept_progress
from ooda_dagster.ledger.tables.cycles import analyze_queue, cycle, cycle_run, dead_letter, message, target
from ooda_dagster.ledger.tables.days import workload_day
from ooda_dagster.ledger.tables.evidence import evidence_file, judged
from ooda_dagster.ledger.tables.plans import plan_check, plan_log_position, plan_use, regression, statement_plan
from ooda_dagster.ledger.tables.requests import (
    request_batch,
    request_file,
    request_progress,
    request_read,
    request_rollup,
    request_seen,
)
from ooda_dagster.ledger.tables.samples import table_sample
from ooda_dagster.ledger.tables.statements import (
    counter_snapshot,
    rollup_chunk,
    sample_gap,
    sampled_text,
    statement,
    statement_query,
)

__all__ = [
    "SCHEMA",
    "action",
    "alert",
    "analyze_queue",
    "audit_event",
    "chain_head",
    "concept",
    "concept_event",
    "concept_progress",
    "counter_snapshot",
    "cycle",
    "cycle_run",
    "dead_letter",
    "evidence_file",
    "hypothesis",
    "improvement_history",
    "journal",
    "judged",
    "message",
    "metadata",
    "plan_check",
    "plan_log_position",
    "plan_use",
    "regression",
    "request_batch",
    "request_file",
    "request_progress",
    "request_read",
    "request_rollup",
    "request_seen",
    "rollup_chunk",
    "sample_gap",
    "sampled_text",
    "statement",
    "statement_plan",
    "statement_query",
    "table_sample",
    "target",
    "verdict",
    "verification",
    "workload_day",
]
