"""What the phases tell each other: Observation, Hypotheses, Decisions, ActionResults, LearningDelta.

Bodies keep the field names of the system that the seed document describes (camelCase around, PascalCase inside
hypotheses and results), with our own fields beside them; Python sees snake_case. No field holds a literal of a user's
statement: texts are normalised, values are statistics of statements, never of rows.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from ooda_dagster.core.cadence import Pace
from ooda_dagster.core.journal import State
from ooda_dagster.core.learned import Learned, PredictionPoint
from ooda_dagster.core.seen import (
    Anomaly,
    BlindSpot,
    ConceptSeen,
    Detection,
    EmbeddingsSeen,
    GroupChange,
    LatencyPoint,
    ModelSeen,
    QueryStoreRecommendation,
    StatementSeen,
)
from ooda_dagster.core.settings import Mode
from ooda_dagster.core.wire import Body, Item, Moment, Priority

#: full: all there is; performance: statements and requests; models: requests by model; embeddings: concepts, which are
#: discovered anew.
Scope = Literal["full", "performance", "embeddings", "models"]


class Message(Body):
    """What every message carries. `replayed`: made from an old input by hand; whoever reads it must not act on it."""

    phase: ClassVar[str]

    analysis_id: str
    target: str
    timestamp: Moment
    replayed: bool = False

    def body(self) -> dict[str, Any]:
        """The message as JSON types, under its wire names."""
        return self.model_dump(mode="json", by_alias=True)


class Observation(Message):
    """What is slow, odd, new or regressed. The `HypothesizeMessage` of the document."""

    phase: ClassVar[str] = "observe"

    mode: Mode
    scope: Scope = "full"
    tenant: str | None = None  # requests are this tenant's; statements are everybody's
    lookback_hours: float
    total_inferences: int | None = None  # None: no table of them, or it could not be counted
    avg_duration_ms: float | None = None
    irregular: dict[str, int] = Field(default_factory=dict)  # requests that do not count as they should, by reason
    models: list[ModelSeen] = Field(default_factory=list)  # the most asked
    anomaly_count: int | None = None  # None: requests were not scored
    anomalies: list[Anomaly] = Field(default_factory=list)  # the oddest of them
    detection: Detection | None = None
    latency: list[LatencyPoint] = Field(default_factory=list)  # of all requests, over the lookback
    query_store_recommendations: list[QueryStoreRecommendation] = Field(default_factory=list)
    patterns: list[ConceptSeen] = Field(default_factory=list)  # the largest concepts
    embeddings: EmbeddingsSeen | None = None  # None: there is no table of them, or the scope leaves them out
    group_changes: list[GroupChange] = Field(default_factory=list)
    window_start: Moment | None = None
    window_end: Moment | None = None
    source: Literal["rollups", "counters", "none"] = "none"
    statements_seen: int = 0
    total_statement_ms: float = 0.0
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    statements: list[StatementSeen] = Field(default_factory=list)
    gaps: list[str] = Field(default_factory=list)
    blind_spots: list[BlindSpot] = Field(default_factory=list)
    server: dict[str, Any] = Field(default_factory=dict)
    load: dict[str, Any] = Field(default_factory=dict)


class Served(Item):
    """One statement that a hypothesis would change: planner's cost before and after, and time saved."""

    fingerprint: str
    text: str
    cost_before: float
    cost_after: float
    saved_ms_per_hour: float


class Hypothesis(Item):
    """What would help, by how much, at what risk, by which statement, with which undo."""

    hypothesis_id: str
    hypothesis_type: str
    priority: Priority
    description: str
    expected_impact: dict[str, Any] = Field(default_factory=dict)
    required_actions: list[str] = Field(default_factory=list)
    identity: str
    risk: Literal["low", "medium", "high"] = "low"
    dangerous: bool = False
    relation: str = ""
    object_name: str = ""
    statements: list[str] = Field(default_factory=list)
    undo: list[str] = Field(default_factory=list)
    undo_kind: Literal["exact", "compensating", "none"] = "exact"
    serves: list[Served] = Field(default_factory=list)
    touches: list[str] = Field(default_factory=list)
    gain_pct: float = 0.0
    saved_ms_per_hour: float = 0.0
    write_ms_per_hour: float = 0.0
    net_ms_per_hour: float = 0.0  # what all the advice would lose without it
    work_ms_per_hour: dict[str, float] = Field(default_factory=dict)  # of what it touches, by fingerprint
    predicted_pct: float | None = None  # of that work, net; what a verdict measures
    trust: float = 1.0  # what came of such predictions before: a prediction is multiplied with it
    expected_pct: float | None = None  # predicted_pct, so corrected
    learned: str = ""  # why
    bytes: int = 0
    backend: str = ""
    evidence: dict[str, Any] = Field(default_factory=dict)
    blocked_by: str | None = None

    @property
    def expected_ms_per_hour(self) -> float:
        """What it is expected to save, after what came of such predictions before."""
        return self.saved_ms_per_hour * self.trust


class Unjudged(Body):
    """A statement that no plan could be had for, and why."""

    fingerprint: str
    text: str
    reason: str
    total_ms: float = 0.0


class Hypotheses(Message):
    """What would help. The `ActMessage` of the document, before policy ruled."""

    phase: ClassVar[str] = "hypothesize"

    hypotheses_generated: int = 0
    hypotheses: list[Hypothesis] = Field(default_factory=list)
    unjudged: list[Unjudged] = Field(default_factory=list)
    statements_considered: int = 0
    backend: str = ""
    reason: str = ""


class Decision(Body):
    """What policy, or a person, says of one action: the rule that spoke, and what would change its mind."""

    hypothesis_id: str | None = None  # None: a person's own proposal
    action_id: str
    state: State
    rule: str
    remedy: str = ""
    held: bool = False  # approved in an earlier cycle, and the rules say not now


class Decisions(Message):
    """Allowed, queued for a person, or denied."""

    phase: ClassVar[str] = "decide"

    mode: Mode
    decisions: list[Decision] = Field(default_factory=list)


class Executed(Item):
    """What was done for one hypothesis. `action_status` is the document's; `state` is the journal's."""

    hypothesis_id: str | None = None
    hypothesis_type: str
    action_status: Literal["Pending", "Executed", "QueuedForApproval", "Failed", "Skipped"]
    executed_actions: list[str] = Field(default_factory=list)
    execution_time_ms: float = 0.0
    error_message: str | None = None
    action_id: str
    state: State
    description: str = ""
    undo: list[str] = Field(default_factory=list)
    lock_wait_ms: float | None = None
    journal_seq: int | None = None  # of its newest transition
    note: str = ""


class ActionResults(Message):
    """What was done, how long it took, what it touched. The `LearnMessage` of the document."""

    phase: ClassVar[str] = "act"

    mode: Mode
    original_hypothesis_payload: dict[str, Any] = Field(default_factory=dict)  # what was decided on, in short
    executed_actions: int = 0
    queued_actions: int = 0
    failed_actions: int = 0
    results: list[Executed] = Field(default_factory=list)
    recovered: list[str] = Field(default_factory=list)


class VerdictRow(Body):
    """A verdict as learning reports it. `effect_pct` < 0 is faster.

    impact_score is the document's, positive where it is faster: here of the action's own verdict, and null where that
    showed nothing. predicted_pct, expected_pct: less work, as priced and as corrected.
    """

    action_id: str
    hypothesis_id: str | None = None  # None: a person's own proposal
    hypothesis_type: str
    action_status: Literal["Executed", "Failed", "Skipped"] = "Executed"
    description: str
    state: State
    outcome: str
    outcome_class: str
    impact_score: float | None = None
    execution_time_ms: float | None = None
    predicted_pct: float | None = None
    expected_pct: float | None = None
    rung: str = ""
    effect_pct: float | None = None
    ci_low_pct: float | None = None
    ci_high_pct: float | None = None
    n: int = 0
    closed_at: Moment | None = None
    reason: str = ""
    evidence: str | None = None  # the file of it, where one was written


class VerdictAudit(Body):
    """How often a verdict was wrong on placebos in the target's own history, in per cent with its 95 % interval.

    effective: independent placebos that they are worth. decide_e, revert_e: the bars that hold now; raised: above the
    settings'. error: why it could not be measured, where it could not.
    """

    at: Moment
    placebos: int = 0
    effective: float = 0.0
    false_pct: float | None = None
    low_pct: float | None = None
    high_pct: float | None = None
    undone_pct: float | None = None
    decide_e: float
    revert_e: float
    raised: bool = False
    error: str = ""


class LearningDelta(Message):
    """The verdicts that closed since the last cycle, what was undone, when to look again.

    `performance_metrics` is the naive before/after comparison of the whole server: reported beside the verdicts as
    global health, deciding nothing. `proven_improvement` is by verdicts: the largest gain that closed, or the largest
    loss where there was one, in per cent.
    """

    phase: ClassVar[str] = "learn"

    learning_cycle_complete: bool = True
    performance_metrics: dict[str, float | None] = Field(default_factory=dict)
    performance_source: Literal["statements", "inference requests"] = "statements"
    proven_improvement: float | None = None
    action_outcomes: dict[str, int] = Field(default_factory=dict)
    outcomes: list[VerdictRow] = Field(default_factory=list)
    open: list[VerdictRow] = Field(default_factory=list)
    learned: list[Learned] = Field(default_factory=list)  # of this target, within the window of learning
    predictions: list[PredictionPoint] = Field(default_factory=list)  # the newest of them
    next_due_at: Moment
    next_due_reason: str
    delay_minutes: int  # without its jitter
    pace: Pace = Field(default_factory=Pace)
    verdict_audit: VerdictAudit | None = None  # the newest; None: none was made yet

    def restart(self) -> dict[str, Any]:
        """What the next cycle is told, as fields of its Analyze message."""
        return {
            "triggerReason": RESTART,
            "reason": self.next_due_reason,
            "latencyImprovement": self.performance_metrics.get("latencyImprovement"),
            "provenImprovement": self.proven_improvement,
            "delayMinutes": self.delay_minutes,
        }


class Verdicts(Message):
    """What a look at the open verdicts showed, between two cycles."""

    phase: ClassVar[str] = "verify"

    looked_at: list[str] = Field(default_factory=list)
    closed: list[VerdictRow] = Field(default_factory=list)
    open: list[VerdictRow] = Field(default_factory=list)


#: Why a cycle comes that learning asked for, in the document's word.
RESTART = "LearningCycleComplete"


class Analyze(Message):
    """The request for a cycle: the restart message of the document, and the loop's only timer.

    latency_improvement is the naive one of global health, proven_improvement that of verdicts; both in per cent.
    """

    phase: ClassVar[str] = "analyze"

    trigger_reason: str  # RESTART, or whatever else woke the loop
    reason: str = ""  # why at this time
    previous_analysis_id: str | None = None
    latency_improvement: float | None = None
    proven_improvement: float | None = None
    delay_minutes: int = 0
    lookback_hours: float | None = None  # where somebody asked for a certain one
    requested_by: str | None = None


#: Message of each phase, in the order of the loop.
PHASES: dict[str, type[Message]] = {
    m.phase: m for m in (Observation, Hypotheses, Decisions, ActionResults, LearningDelta)
}
