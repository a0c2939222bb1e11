"""Do the messages keep the wire names of the document, and can they be read again, also by an older reader?"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import (
    PHASES,
    RESTART,
    ActionResults,
    Analyze,
    Decision,
    Decisions,
    Hypotheses,
    Hypothesis,
    LearningDelta,
    Message,
    Observation,
    Served,
    Verdicts,
)
from ooda_dagster.core.settings import Mode
from ooda_dagster.core.wire import iso
from ooda_dagster_tests.core.messages import (
    AT,
    COMMON,
    compared,
    concept,
    detection,
    embeddings,
    executed,
    hypothesis,
    learned,
    odd,
    row,
    seen,
    slower,
)

HYPOTHESIS = hypothesis(
    expected_impact={"latencyReductionPct": 40.0},
    serves=[Served(fingerprint="f1", text="select $1", cost_before=10, cost_after=1, saved_ms_per_hour=100)],
)
MESSAGES: list[Message] = [
    Observation(
        **COMMON,
        mode=Mode.PROPOSE,
        lookback_hours=24,
        window_start=AT,
        statements=[seen()],
        anomaly_count=1,
        anomalies=[odd()],
        detection=detection(),
        query_store_recommendations=[slower(), slower(plan_before=None, plan_source=None)],
        patterns=[concept()],
        embeddings=embeddings(),
    ),
    Hypotheses(**COMMON, hypotheses_generated=1, hypotheses=[HYPOTHESIS]),
    Decisions(
        **COMMON,
        mode=Mode.AUTO,
        decisions=[Decision(hypothesis_id="h1", action_id="x1", state=State.APPROVED, rule="r")],
    ),
    ActionResults(**COMMON, mode=Mode.AUTO, executed_actions=1, results=[executed()]),
    LearningDelta(
        **COMMON,
        outcomes=[row(impact_score=40.0, predicted_pct=60.0, expected_pct=45.0, rung="statistics clone")],
        learned=[learned()],
        predictions=[compared()],
        next_due_at=AT,
        next_due_reason="verification open",
        delay_minutes=30,
    ),
    Verdicts(**COMMON, looked_at=["x1"], closed=[row()]),
    Analyze(**COMMON, trigger_reason=RESTART, previous_analysis_id="a0", delay_minutes=5),
]
BY_TYPE = {type(m): m for m in MESSAGES}

#: The document's bodies, as far as the loop has them.
WIRE_NAMES: dict[type[Message], set[str]] = {
    Analyze: {"triggerReason", "previousAnalysisId", "latencyImprovement", "delayMinutes", "timestamp"},
    Observation: {
        "analysisId",
        "scope",
        "lookbackHours",
        "totalInferences",
        "avgDurationMs",
        "anomalyCount",
        "anomalies",
        "queryStoreRecommendations",
        "patterns",
        "timestamp",
    },
    Hypotheses: {"analysisId", "hypothesesGenerated", "hypotheses", "timestamp"},
    ActionResults: {"analysisId", "executedActions", "queuedActions", "failedActions", "results", "timestamp"},
    LearningDelta: {
        "analysisId",
        "learningCycleComplete",
        "performanceMetrics",
        "actionOutcomes",
        "outcomes",
        "timestamp",
    },
}
#: Of one outcome, and ours beside it.
OUTCOME_NAMES = {"hypothesisId", "hypothesisType", "actionStatus", "outcome", "impactScore", "executionTimeMs"}
OUR_OUTCOME_NAMES = {
    "actionId",
    "outcomeClass",
    "effectPct",
    "ciLowPct",
    "ciHighPct",
    "n",
    "predictedPct",
    "expectedPct",
}
HYPOTHESIS_NAMES = {"HypothesisId", "HypothesisType", "Priority", "Description", "ExpectedImpact", "RequiredActions"}
ANOMALY_NAMES = {
    "InferenceRequestId",
    "ModelId",
    "DurationMs",
    "AvgDurationMs",
    "SlowdownFactor",
    "IsolationScore",
    "LOFScore",
    "DetectionMethod",
}
RESULT_NAMES = {"HypothesisId", "HypothesisType", "ActionStatus", "ExecutedActions", "ExecutionTimeMs", "ErrorMessage"}


def _keys(value: Any) -> set[str]:
    """All field names of a body, not those of free-form dictionaries."""
    free = {
        "quality",
        "picture",
        "rejected",
        "ExpectedImpact",
        "Evidence",
        "performanceMetrics",
        "actionOutcomes",
        "server",
        "load",
    }
    if isinstance(value, list):
        return {k for item in value for k in _keys(item)}
    if not isinstance(value, dict):
        return set()
    return set(value) | {k for key, item in value.items() if key not in free for k in _keys(item)}


@pytest.mark.parametrize("kind", WIRE_NAMES, ids=lambda kind: kind.__name__)
def test_a_message_keeps_the_names_of_the_document(kind: type[Message]) -> None:
    assert set(BY_TYPE[kind].body()) >= WIRE_NAMES[kind]


def test_hypotheses_results_and_anomalies_keep_the_pascal_case_of_the_document() -> None:
    anomaly = BY_TYPE[Observation].body()["anomalies"][0]
    hypothesis = BY_TYPE[Hypotheses].body()["hypotheses"][0]
    result = BY_TYPE[ActionResults].body()["results"][0]
    assert hypothesis.keys() >= HYPOTHESIS_NAMES
    assert result.keys() >= RESULT_NAMES
    assert anomaly.keys() >= ANOMALY_NAMES
    assert all(key[0].isupper() for key in (*hypothesis, *hypothesis["Serves"][0], *result, *anomaly))


def test_an_outcome_has_what_the_document_says_of_one_and_its_interval_and_prediction() -> None:
    (outcome,) = BY_TYPE[LearningDelta].body()["outcomes"]
    assert outcome.keys() >= OUTCOME_NAMES | OUR_OUTCOME_NAMES
    assert row().impact_score is None  # of nothing shown


def test_learning_tells_the_next_cycle_what_the_document_s_restart_tells() -> None:
    delta = BY_TYPE[LearningDelta].model_copy(
        update={"performance_metrics": {"latencyImprovement": -99.6}, "proven_improvement": 40.0}
    )
    assert isinstance(delta, LearningDelta)
    told = delta.restart()
    assert told == {
        "triggerReason": "LearningCycleComplete",
        "reason": "verification open",
        "latencyImprovement": -99.6,
        "provenImprovement": 40.0,
        "delayMinutes": 30,
    }
    read = Analyze.model_validate({**BY_TYPE[Analyze].body(), **told})
    assert (read.trigger_reason, read.reason, read.delay_minutes) == (RESTART, "verification open", 30)
    assert (read.latency_improvement, read.proven_improvement) == (-99.6, 40.0)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_no_python_name_is_on_the_wire(message: Message) -> None:
    body = message.body()
    assert all(key[0].islower() for key in body)
    assert not [key for key in _keys(body) if "_" in key]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_body_is_json_and_reads_back_as_the_same_message(message: Message) -> None:
    assert type(message).model_validate(json.loads(json.dumps(message.body()))) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_every_time_on_the_wire_is_utc_with_milliseconds_and_z(message: Message) -> None:
    text = json.dumps(message.body())
    times = re.findall(r'"(\d{4}-\d\d-\d\d[^"]*)"', text)
    assert times
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", t) for t in times)


def test_a_time_of_another_zone_is_told_in_utc() -> None:
    assert iso(datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))) == "2026-02-28T23:30:00.000Z"


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_fields_of_a_later_version_are_ignored(message: Message) -> None:
    body: dict[str, Any] = message.body() | {"fieldOfTomorrow": {"deep": [1]}}
    for key in ("hypotheses", "results", "outcomes", "statements", "decisions"):
        body[key] = [item | {"FieldOfTomorrow": 1} for item in body[key]] if key in body else []
    assert type(message).model_validate(body) == message


def test_a_body_without_our_own_fields_can_be_read() -> None:
    body = {
        "analysisId": "a",
        "target": "t",
        "timestamp": "2026-03-01T12:00:00.123Z",
        "mode": "observe",
        "lookbackHours": 24,
    }
    read = Observation.model_validate(body)
    assert (read.timestamp, read.anomalies, read.total_inferences) == (AT, [], None)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        Analyze(analysis_id="a", target="t", timestamp=datetime(2026, 3, 1), trigger_reason="r")  # noqa: DTZ001


@pytest.mark.parametrize("priority", [0, 6, -1])
def test_a_priority_outside_1_to_5_is_refused(priority: int) -> None:
    with pytest.raises(ValidationError, match="Priority"):
        Hypothesis.model_validate(HYPOTHESIS.model_dump() | {"priority": priority, "Priority": priority})


def test_a_message_cannot_be_changed_once_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        BY_TYPE[Analyze].target = "other"


def test_the_phases_stand_in_the_order_of_the_loop() -> None:
    assert list(PHASES) == ["observe", "hypothesize", "decide", "act", "learn"]
