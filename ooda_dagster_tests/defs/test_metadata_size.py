"""Does the largest message take little space in Dagster's event log, and say what it leaves out?"""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest
from dagster._serdes import serialize_value

from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import (
    ActionResults,
    Decision,
    Decisions,
    Hypotheses,
    Message,
    Observation,
    Unjudged,
    Verdicts,
)
from ooda_dagster.core.requests import FOLDED, PENDING, REASONS
from ooda_dagster.core.seen import BlindSpot, LatencyPoint, ModelSeen
from ooda_dagster.core.settings import Mode
from ooda_dagster.defs.metadata import describe, table
from ooda_dagster.defs.metadata.tables import MOST_ROWS
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
    learning,
    moved,
    odd,
    row,
    seen,
    slower,
)
from ooda_dagster_tests.defs.ground import records

#: A text of 300 characters that grows when it is escaped.
LONG = ('"<&>|`é' * 50)[:300]
LARGEST: dict[str, Message] = {
    "observations": Observation(
        **COMMON,
        mode=Mode.PROPOSE,
        lookback_hours=24,
        statements_seen=5000,
        anomaly_count=5000,
        anomalies=[odd(inference_request_id=LONG, model_id=LONG, operation=LONG, text=LONG)] * 200,
        latency=[
            LatencyPoint(at=AT + timedelta(minutes=n), requests=n, typical_ms=n + 1 / 3, max_ms=n * 1e3)
            for n in range(96)
        ],
        detection=detection(not_judged=[LONG] * 20),
        query_store_recommendations=[slower(text=LONG, reason=LONG, plan_before=LONG * 5, plan_after=LONG * 5)] * 50,
        models=[
            ModelSeen(
                model_id=LONG,
                operation=LONG,
                requests=5,
                failed=1,
                avg_duration_ms=1.5,
                max_duration_ms=2,
                tokens=3,
                share=0.1,
            )
        ]
        * 50,
        irregular=dict.fromkeys((*REASONS, PENDING, FOLDED), 10**9),
        group_changes=[moved(model_id=LONG, operation=LONG, text=LONG)] * 200,
        statements=[seen(LONG)] * 200,
        gaps=[LONG] * 200,
        blind_spots=[BlindSpot(what=LONG, why=LONG, remedy=LONG)] * 200,
        server={"extensions": [LONG] * 200},
        load={"details": [LONG] * 200},
        patterns=[concept()] * 50,
        embeddings=embeddings(100, table=LONG, events=[LONG] * 20),
    ),
    "hypotheses": Hypotheses(
        **COMMON,
        hypotheses=[hypothesis(description=LONG, statements=[LONG, LONG], object_name=LONG, blocked_by=LONG)] * 50,
        unjudged=[Unjudged(fingerprint="f", text=LONG, reason=LONG)] * 200,
        reason=LONG,
    ),
    "decisions": Decisions(
        **COMMON,
        mode=Mode.AUTO,
        decisions=[Decision(hypothesis_id="h", action_id="b", state=State.DENIED, rule=LONG * 9, remedy=LONG * 9)] * 50,
    ),
    "action_results": ActionResults(
        **COMMON,
        mode=Mode.AUTO,
        results=[executed(executed_actions=[LONG] * 9, undo=[LONG] * 9, error_message=LONG * 9, description=LONG * 9)]
        * 50,
    ),
    "learning_deltas": learning(
        *[row(description=LONG, reason=LONG * 9, effect_pct=1e9, evidence=LONG)] * 200,
        still=200,
        learned=[learned(rung=LONG, hypothesis_type=LONG)] * 50,
        predictions=[compared()] * 30,
    ),
    "verdicts": Verdicts(
        **COMMON, looked_at=["c"] * 200, closed=[row(description=LONG, reason=LONG * 9, evidence=LONG)] * 200
    ),
}


@pytest.mark.parametrize("asset", LARGEST)
def test_the_largest_message_stays_small(asset: str) -> None:
    event = dg.AssetMaterialization(asset, metadata=describe(LARGEST[asset]))
    size = len(serialize_value(event))
    print(f"{asset}: {size:,} bytes")
    assert size < {"observations": 110_000, "learning_deltas": 65_000}.get(asset, 60_000)  # these have pictures
    for name, value in event.metadata.items():
        if isinstance(value, dg.MarkdownMetadataValue):
            assert len(value.value or "") < 30_000, name


def test_a_long_table_says_how_much_it_leaves_out() -> None:
    shown = records(table([{"n": n, "text": "x"} for n in range(MOST_ROWS + 5)]))
    assert (len(shown), shown[-1]["n"]) == (MOST_ROWS + 1, "and 5 more")


def test_an_empty_table_is_a_word() -> None:
    value = table([])
    assert isinstance(value, dg.TextMetadataValue)
    assert value.value == "none"
