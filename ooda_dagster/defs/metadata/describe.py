"""Which module describes which message?"""

from __future__ import annotations

from typing import Any

from ooda_dagster.core.messages import (
    ActionResults,
    Decisions,
    Hypotheses,
    LearningDelta,
    Message,
    Observation,
    Verdicts,
)
from ooda_dagster.defs.metadata.act import describe_results
from ooda_dagster.defs.metadata.decide import describe_decisions, describe_hypotheses
from ooda_dagster.defs.metadata.learn import describe_learning, describe_verdicts
from ooda_dagster.defs.metadata.observe import describe_observation

_WRITERS: dict[type[Message], Any] = {
    Observation: describe_observation,
    Hypotheses: describe_hypotheses,
    Decisions: describe_decisions,
    ActionResults: describe_results,
    LearningDelta: describe_learning,
    Verdicts: describe_verdicts,
}


def describe(message: Message) -> dict[str, Any]:
    """Metadata of any message; `summary` first."""
    found: dict[str, Any] = {}
    for kind, writer in _WRITERS.items():
        if isinstance(message, kind):
            found = writer(message)
    found["analysis_id"] = message.analysis_id
    if message.replayed:
        found["replayed"] = "made by hand from an older message; nothing was acted on"
    return found
