"""What learning says of predictions: one row a type and rung, one point a verdict. In per cent of the touched work."""

from __future__ import annotations

from ooda_dagster.core.wire import Body, Moment


class PredictionPoint(Body):
    """A prediction, as it was priced and as it was corrected, and what a verdict measured, with its interval."""

    target: str
    hypothesis_type: str
    rung: str
    at: Moment
    outcome: str
    predicted_pct: float
    expected_pct: float
    realised_pct: float
    low_pct: float
    high_pct: float


class Learned(Body):
    """Predictions of a type on a rung of a target against what came of them.

    verdicts: all that closed, of them better, worse and the rest, which showed no difference; failed: actions that
    failed. n: verdicts that can be compared, parts of a change set as parts. ratio: realised ÷ predicted, a
    random-effects mean with 95 %; factor: what the next prediction is multiplied with. held: share of verdicts whose
    interval holds the prediction; off_pct: mean distance of predictions from what was realised, as priced and as
    corrected.
    """

    target: str
    hypothesis_type: str
    rung: str
    verdicts: int
    better: int = 0
    worse: int = 0
    inconclusive: int = 0
    failed: int = 0
    n: float = 0.0
    predicted_pct: float | None = None
    realised_pct: float | None = None
    realised_low_pct: float | None = None
    realised_high_pct: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    factor: float = 1.0
    held: float | None = None
    off_pct: float | None = None
    off_corrected_pct: float | None = None
    first_at: Moment
    last_at: Moment
