"""What the phases tell each other: Observation, Hypotheses, Decisions, ActionResults, LearningDelta.

Bodies keep the field names of the system that the seed document describes (camelCase around, PascalCase inside
hypotheses and results), with our own fields beside them; Python sees snake_case. No field holds a literal of a user's
statement: texts are normalised, values are statistics of statements, never of rows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel, to_pascal

from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode


def iso(moment: datetime) -> str:
    """UTC, ISO 8601 with milliseconds and Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[AwareDatetime, PlainSerializer(iso, when_used="json")]
#: full: all there is; performance: statements and requests; models: requests by model; embeddings: concepts, which are
#: discovered anew.
Scope = Literal["full", "performance", "embeddings", "models"]
Priority = Annotated[int, Field(ge=1, le=5)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True, alias_generator=to_camel, extra="ignore")


class _Item(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True, alias_generator=to_pascal, extra="ignore")


class Message(_Body):
    """What every message carries. `replayed`: made from an old input by hand; whoever reads it must not act on it."""

    phase: ClassVar[str]

    analysis_id: str
    target: str
    timestamp: Moment
    replayed: bool = False

    def body(self) -> dict[str, Any]:
        """The message as JSON types, under its wire names."""
        return self.model_dump(mode="json", by_alias=True)


class BlindSpot(_Body):
    """Something that could not be seen, why, and the statement or setting that mends it."""

    what: str
    why: str
    remedy: str = ""


class StatementSeen(_Body):
    """A statement's share of the work in the window. `text` is normalised and cut."""

    fingerprint: str
    kind: str
    text: str
    calls: int
    total_ms: float
    mean_ms: float
    rows_per_call: float
    blocks_per_call: float
    share: float


class LatencyPoint(_Item):
    """Inference requests of a stretch of time that begins `at`: how many, their geometric mean, and the slowest."""

    at: Moment
    requests: int
    typical_ms: float
    max_ms: float


class Anomaly(_Item):
    """An inference request that is odd, and by what. Its group: its model and operation, else its operation."""

    inference_request_id: str  # a whole number, a UUID, or a hash
    model_id: str
    operation: str
    requested_at: Moment
    duration_ms: float
    avg_duration_ms: float  # of all requests that were read
    slowdown_factor: float
    usual_ms: float  # median of the group
    isolation_score: float
    lof_score: Annotated[float, Field(alias="LOFScore")]
    detection_method: Literal["both", "isolation_forest", "lof", "robust_z", "several"]
    p_value: float | None = None  # None in policy fixed
    feature: str
    robust_z: float  # of that feature, in robust standard deviations from the group's median
    text: str  # the same in words


class Detection(_Body):
    """How requests were scored: `requests` of them since `since`; and why some, or all, were not.

    What was set, and what came of it: settings of both policies, so that the scores can be had again.
    """

    policy: str
    method: Literal["either", "both"]
    if_threshold: float
    lof_threshold: float
    neighbours: int
    seed: int
    trees: int | None = None
    tree_rows: int | None = None
    false_discovery_share: float | None = None
    min_ratio: float | None = None
    trust_ratio: float | None = None
    requests: int = 0
    since: Moment | None = None
    by_isolation_forest: int = 0
    by_lof: int = 0
    by_robust_z: int = 0
    by_several: int = 0
    learned: int = 0  # rows that what is usual was learned from
    held_out: int = 0  # rows that ranks were taken among
    trimmed: float = 0.0  # share of them that was left out of the p-values
    excess: float = 0.0  # share of them that is odder than the shape of the tail
    gated: int = 0
    scored: int = 0  # rows with both dearer scores
    p_threshold: float | None = None  # the greatest p-value that was flagged
    digest: str = ""  # SHA-256 of what was learned
    not_judged: list[str] = Field(default_factory=list)


class QueryStoreRecommendation(_Item):
    """A statement that became slower since a moment, and both its plans where they are known. Times are per call.

    `query_id` is our fingerprint, plan ids are hashes of plans without costs; PostgreSQL has no statement that forces
    one, so `force_script` stays empty. impact_score: 0 to 100, the share of all statement time that it costs.
    """

    recommendation_type: str
    impact_score: float
    recommendation_state: str = "Active"
    query_id: str
    regressed_plan_id: str | None = None
    recommended_plan_id: str | None = None
    force_script: str | None = None
    kind: str
    new: bool  # found by this analysis
    text: str  # normalised and cut
    since: Moment
    before_ms: float
    after_ms: float
    ratio: float
    extra_s: float  # spent since, beyond what it cost before
    calls_before: int
    calls_after: int
    reason: str
    plan_source: Literal["executed", "estimate"] | None = None
    plan_before: str | None = None  # lines; no literals
    plan_after: str | None = None  # None where it is the same


class ConceptSeen(_Item):
    """A concept: embeddings that lie close together. `cluster_size`: rows counted since the last discovery."""

    concept_id: str
    cluster_size: int
    share: float  # of the rows that were counted
    sample_size: int
    coherence: float  # mean cosine of its members to their centroid
    density: float  # 1 - mean distance / radius
    strength: float  # mean membership probability
    radius: float  # cosine distance
    spatial_buckets: int
    state: str
    first_seen_at: Moment
    last_seen_at: Moment


class EmbeddingsSeen(_Body):
    """How embeddings were read and clustered. No number of an embedding: `picture` shows where rows lie in a plane."""

    table: str
    model: str | None = None
    dimensions: int = 0
    discovered_at: Moment
    rediscovered: bool = False  # in this analysis
    rows_counted: int = 0
    complete: bool = False  # no row was left to count
    in_concepts: int = 0
    noise: int = 0
    rejected: dict[str, int] = Field(default_factory=dict)
    quality: dict[str, Any] = Field(default_factory=dict)
    events: list[str] = Field(default_factory=list)
    picture: dict[str, Any] = Field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """As JSON types, under its wire names."""
        return self.model_dump(mode="json", by_alias=True)


class ModelSeen(_Body):
    """What was asked of a model for one operation in the lookback. `share` is of all requests."""

    model_id: str
    operation: str
    requests: int
    failed: int
    avg_duration_ms: float | None  # of durations above zero
    max_duration_ms: float
    tokens: float
    share: float


class GroupChange(_Body):
    """A model and operation that as a whole became slower or faster; `until`: since when it is back."""

    model_id: str
    operation: str
    since: Moment
    until: Moment | None = None
    found_at: Moment
    ratio: float  # 1.3: takes 30 % longer
    ratio_low: float
    ratio_high: float
    evidence: float  # log10 of the e-value
    state: Literal["open", "gone"]
    requests: int
    text: str


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


class Served(_Item):
    """One statement that a hypothesis would change: planner's cost before and after, and time saved."""

    fingerprint: str
    text: str
    cost_before: float
    cost_after: float
    saved_ms_per_hour: float


class Hypothesis(_Item):
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
    bytes: int = 0
    backend: str = ""
    evidence: dict[str, Any] = Field(default_factory=dict)
    blocked_by: str | None = None


class Unjudged(_Body):
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


class Decision(_Body):
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


class Executed(_Item):
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


class VerdictRow(_Body):
    """A verdict as learning reports it. `effect_pct` < 0 is faster."""

    action_id: str
    hypothesis_type: str
    description: str
    state: State
    outcome: str
    outcome_class: str
    effect_pct: float | None = None
    ci_low_pct: float | None = None
    ci_high_pct: float | None = None
    n: int = 0
    closed_at: Moment | None = None
    reason: str = ""


class LearningDelta(Message):
    """The verdicts that closed since the last cycle, what was undone, when to look again.

    `performance_metrics` is the naive before/after comparison of the whole server: reported beside the verdicts as
    global health, deciding nothing.
    """

    phase: ClassVar[str] = "learn"

    learning_cycle_complete: bool = True
    performance_metrics: dict[str, float | None] = Field(default_factory=dict)
    action_outcomes: dict[str, int] = Field(default_factory=dict)
    outcomes: list[VerdictRow] = Field(default_factory=list)
    open: list[VerdictRow] = Field(default_factory=list)
    next_due_at: Moment
    next_due_reason: str
    delay_minutes: int


class Verdicts(Message):
    """What a look at the open verdicts showed, between two cycles."""

    phase: ClassVar[str] = "verify"

    looked_at: list[str] = Field(default_factory=list)
    closed: list[VerdictRow] = Field(default_factory=list)
    open: list[VerdictRow] = Field(default_factory=list)


class Analyze(Message):
    """The request for a cycle: the restart message of the document, and the loop's only timer."""

    phase: ClassVar[str] = "analyze"

    trigger_reason: str
    previous_analysis_id: str | None = None
    latency_improvement: float | None = None
    delay_minutes: int = 0
    lookback_hours: float | None = None  # where somebody asked for a certain one
    requested_by: str | None = None


#: Message of each phase, in the order of the loop.
PHASES: dict[str, type[Message]] = {
    m.phase: m for m in (Observation, Hypotheses, Decisions, ActionResults, LearningDelta)
}
