"""What an observation holds: statements, requests and what is odd about them, concepts, and what could not be seen."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ooda_dagster.core.wire import Body, Item, Moment


class BlindSpot(Body):
    """Something that could not be seen, why, and the statement or setting that mends it."""

    what: str
    why: str
    remedy: str = ""


class StatementSeen(Body):
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


class LatencyPoint(Item):
    """Inference requests of a stretch of time that begins `at`: how many, their geometric mean, and the slowest."""

    at: Moment
    requests: int
    typical_ms: float
    max_ms: float


class Anomaly(Item):
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


class Detection(Body):
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
    reference: int = 0  # requests of the days before that these were compared with; 0: with each other
    reference_since: Moment | None = None
    learned: int = 0  # rows that what is usual was learned from
    held_out: int = 0  # rows that ranks were taken among
    trimmed: float = 0.0  # share of them that was left out of the p-values
    excess: float = 0.0  # share of them that is odder than the densities lead to expect
    gated: int = 0
    scored: int = 0  # rows with both dearer scores
    p_threshold: float | None = None  # the greatest p-value that was flagged
    digest: str = ""  # SHA-256 of what was learned
    not_judged: list[str] = Field(default_factory=list)


class QueryStoreRecommendation(Item):
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


class ConceptSeen(Item):
    """A concept: embeddings that lie close together. `cluster_size`: rows counted since the last discovery.

    version: rises when it goes on as something else. binding: in words, what became of writing its rows into the
    target, by which action; bound_rows: that are written.
    """

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
    discoveries: int = 1  # in which it was found
    version: int = 1
    binding: str = ""
    bound_rows: int = 0
    action_id: str = ""


class EmbeddingsSeen(Body):
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


class ModelSeen(Body):
    """What was asked of a model for one operation in the lookback. `share` is of all requests."""

    model_id: str
    operation: str
    requests: int
    failed: int
    avg_duration_ms: float | None  # of durations above zero
    max_duration_ms: float
    tokens: float
    share: float


class GroupChange(Body):
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
