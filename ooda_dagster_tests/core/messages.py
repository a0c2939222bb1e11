"""Messages of a shop, filled in as a cycle does; every field can be given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ooda_dagster.core.journal import State
from ooda_dagster.core.learned import Learned, PredictionPoint
from ooda_dagster.core.messages import Executed, Hypothesis, LearningDelta, VerdictRow
from ooda_dagster.core.seen import (
    Anomaly,
    ConceptSeen,
    Detection,
    EmbeddingsSeen,
    GroupChange,
    QueryStoreRecommendation,
    StatementSeen,
)

AT = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)
COMMON: dict[str, Any] = {"analysis_id": "a" * 36, "target": "shop", "timestamp": AT}


def row(outcome: str = "better", effect: float | None = -40.0, **values: Any) -> VerdictRow:
    fields: dict[str, Any] = {
        "action_id": "b" * 36,
        "hypothesis_type": "CreateIndex",
        "description": "index on public.orders (customer): serves 2 statements",
        "state": State.KEPT,
        "outcome": outcome,
        "outcome_class": "Success",
        "effect_pct": effect,
        "ci_low_pct": None if effect is None else effect - 5,
        "ci_high_pct": None if effect is None else effect + 5,
        "n": 120,
        "closed_at": AT,
        "reason": "enough was seen",
    }
    return VerdictRow(**{**fields, **values})


def hypothesis(**values: Any) -> Hypothesis:
    fields: dict[str, Any] = {
        "hypothesis_id": "h",
        "hypothesis_type": "CreateIndex",
        "priority": 5,
        "description": "index on public.orders (customer): serves 2 statements, 80 % of all statement time",
        "identity": "i",
        "object_name": "ooda_orders_customer_abc123",
        "statements": ["CREATE INDEX CONCURRENTLY x ON public.orders (customer) WHERE status = 'marker'"],
        "undo": ["DROP INDEX CONCURRENTLY public.x"],
        "gain_pct": 93.2,
        "saved_ms_per_hour": 12_500.0,
        "write_ms_per_hour": 1.5,
        "bytes": 12_345_678,
    }
    return Hypothesis(**{**fields, **values})


def odd(**values: Any) -> Anomaly:
    fields: dict[str, Any] = {
        "inference_request_id": "42",
        "model_id": "7",
        "operation": "classify",
        "requested_at": AT,
        "duration_ms": 9000.0,
        "avg_duration_ms": 250.0,
        "slowdown_factor": 36.0,
        "usual_ms": 200.0,
        "isolation_score": 0.8123,
        "lof_score": 12.345,
        "detection_method": "both",
        "feature": "duration",
        "robust_z": 14.0,
        "text": "duration: 45.0 times the usual",
    }
    return Anomaly(**{**fields, **values})


def slower(**values: Any) -> QueryStoreRecommendation:
    fields: dict[str, Any] = {
        "recommendation_type": "plan regression",
        "impact_score": 41.5,
        "query_id": "f" * 16,
        "regressed_plan_id": "b" * 16,
        "recommended_plan_id": "a" * 16,
        "kind": "plan_regression",
        "new": True,
        "text": "select note from orders where customer = $1",
        "since": AT,
        "before_ms": 1.5,
        "after_ms": 30.0,
        "ratio": 20.0,
        "extra_s": 57.0,
        "calls_before": 900,
        "calls_after": 2000,
        "reason": "a call takes 20 times as long since it is executed by another plan",
        "plan_source": "executed",
        "plan_before": "Index Scan using orders_customer on orders",
        "plan_after": "Seq Scan on orders",
    }
    return QueryStoreRecommendation(**{**fields, **values})


def moved(**values: Any) -> GroupChange:
    fields: dict[str, Any] = {
        "model_id": "7",
        "operation": "classify",
        "since": AT,
        "found_at": AT,
        "ratio": 1.31,
        "ratio_low": 1.2,
        "ratio_high": 1.43,
        "evidence": 5.2,
        "state": "open",
        "requests": 700,
        "text": "classify by model 7 takes 1.31 times as long as usual (1.20 to 1.43) since 12:00 UTC",
    }
    return GroupChange(**{**fields, **values})


def detection(**values: Any) -> Detection:
    fields: dict[str, Any] = {
        "policy": "fixed",
        "method": "either",
        "if_threshold": 0.7,
        "lof_threshold": 1.5,
        "neighbours": 20,
        "seed": 1,
        "requests": 900,
        "since": AT,
        "by_isolation_forest": 1,
        "by_lof": 3,
    }
    return Detection(**{**fields, **values})


def concept(**values: Any) -> ConceptSeen:
    fields: dict[str, Any] = {
        "concept_id": "c0123456789",
        "cluster_size": 1200,
        "share": 0.24,
        "sample_size": 240,
        "coherence": 0.913,
        "density": 0.4,
        "strength": 0.95,
        "radius": 0.2,
        "spatial_buckets": 12,
        "state": "present",
        "first_seen_at": AT,
        "last_seen_at": AT,
    }
    return ConceptSeen(**{**fields, **values})


def embeddings(concepts: int = 3, points: int = 250, **values: Any) -> EmbeddingsSeen:
    fields: dict[str, Any] = {
        "table": "public.atom_embeddings",
        "dimensions": 384,
        "discovered_at": AT,
        "rediscovered": True,
        "rows_counted": 5000,
        "complete": True,
        "in_concepts": 4500,
        "noise": 480,
        "rejected": {"NULL": 20},
        "quality": {
            "sample_rows": 1000,
            "spatial_buckets": 321,
            "silhouette": 0.61,
            "agreement": 0.998,
            "own_buckets": 77,
            "incoherent": 1,
        },
        "events": ["c0123456789 is new"],
        "picture": {
            "points": [[-0.123 + n / 1000, 0.456 - n / 500, n % (concepts + 1) - 1] for n in range(points)],
            "centres": [[0.1 * n, -0.1 * n] for n in range(concepts)],
            "ids": [f"c{n:010}" for n in range(concepts)],
        },
    }
    return EmbeddingsSeen(**{**fields, **values})


def executed(**values: Any) -> Executed:
    fields: dict[str, Any] = {
        "hypothesis_type": "CreateIndex",
        "action_status": "Executed",
        "executed_actions": ["CREATE INDEX CONCURRENTLY x ON public.orders (customer)"],
        "execution_time_ms": 1500.0,
        "action_id": "b" * 36,
        "state": State.VERIFYING,
        "undo": ["DROP INDEX CONCURRENTLY public.x"],
        "lock_wait_ms": 12.0,
        "journal_seq": 7,
    }
    return Executed(**{**fields, **values})


def learned(**values: Any) -> Learned:
    fields: dict[str, Any] = {
        "target": "shop",
        "hypothesis_type": "IndexOptimization",
        "rung": "statistics clone",
        "verdicts": 12,
        "better": 7,
        "worse": 2,
        "inconclusive": 3,
        "failed": 1,
        "n": 11.5,
        "predicted_pct": 60.0,
        "realised_pct": 42.0,
        "realised_low_pct": 30.0,
        "realised_high_pct": 54.0,
        "ratio": 0.7,
        "ratio_low": 0.55,
        "ratio_high": 0.85,
        "factor": 0.74,
        "held": 0.5,
        "off_pct": 21.0,
        "off_corrected_pct": 9.0,
        "first_at": AT,
        "last_at": AT,
    }
    return Learned(**{**fields, **values})


def compared(days: int = 0, **values: Any) -> PredictionPoint:
    fields: dict[str, Any] = {
        "target": "shop",
        "hypothesis_type": "IndexOptimization",
        "rung": "statistics clone",
        "at": AT + timedelta(days=days),
        "outcome": "better",
        "predicted_pct": 60.0,
        "expected_pct": 45.0,
        "realised_pct": 42.0,
        "low_pct": 30.0,
        "high_pct": 54.0,
    }
    return PredictionPoint(**{**fields, **values})


def learning(*outcomes: VerdictRow, still: int = 0, **values: Any) -> LearningDelta:
    return LearningDelta(
        **COMMON,
        **values,
        outcomes=list(outcomes),
        open=[row("open", None)] * still,
        next_due_at=AT,
        next_due_reason="nothing changed",
        delay_minutes=30,
    )


def seen(text: str = "select 1") -> StatementSeen:
    return StatementSeen(
        fingerprint="f",
        kind="select",
        text=text,
        calls=10,
        total_ms=100,
        mean_ms=10,
        rows_per_call=1,
        blocks_per_call=1,
        share=0.4,
    )
