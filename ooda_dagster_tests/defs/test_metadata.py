"""Can a person read a message in 20 seconds - with names that stay, and when nothing was found?"""

from __future__ import annotations

import base64
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.definitions.metadata import normalize_metadata

from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import ActionResults, Decision, Decisions, Hypotheses, Message, Observation, Verdicts
from ooda_dagster.core.seen import BlindSpot, LatencyPoint
from ooda_dagster.core.settings import Mode
from ooda_dagster.defs.charts import BLUE, GREY, RED
from ooda_dagster.defs.metadata import describe
from ooda_dagster.defs.metadata.learn import headline
from ooda_dagster_tests.core.messages import (
    AT,
    COMMON,
    compared,
    detection,
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

EMPTY: dict[str, tuple[Message, str]] = {
    "observations": (
        Observation(**COMMON, mode=Mode.PROPOSE, lookback_hours=24),
        "No statement was seen: none was sampled yet",
    ),
    "hypotheses": (
        Hypotheses(**COMMON, reason="mode observe: nothing is proposed"),
        "Nothing would help: mode observe",
    ),
    "decisions": (Decisions(**COMMON, mode=Mode.PROPOSE), "Nothing was to be decided: there is no hypothesis."),
    "action_results": (ActionResults(**COMMON, mode=Mode.PROPOSE), "Nothing was done: nothing was decided."),
    "learning_deltas": (learning(), "No verdict closed since the last cycle, none is open; next cycle in 30 min"),
    "verdicts": (Verdicts(**COMMON), "Nothing was due for a look; no verdict closed; 0 open."),
}
FULL: dict[str, Message] = {
    "observations": Observation(
        **COMMON,
        mode=Mode.PROPOSE,
        lookback_hours=24,
        total_inferences=900,
        anomaly_count=3,
        anomalies=[odd()] * 3,
        detection=detection(not_judged=["2 requests"]),
        query_store_recommendations=[slower(), slower(new=False)],
        group_changes=[moved(), moved(state="gone", until=AT)],
        statements_seen=42,
        total_statement_ms=90_000,
        latency_p50_ms=1.23456,
        latency_p95_ms=20.0,
        statements=[seen()],
        blind_spots=[BlindSpot(what="w", why="y", remedy="GRANT pg_monitor TO o;")],
    ),
    "hypotheses": Hypotheses(**COMMON, hypotheses=[hypothesis(), hypothesis(blocked_by="action 1")]),
    "decisions": Decisions(
        **COMMON, mode=Mode.AUTO, decisions=[Decision(hypothesis_id="h", action_id="b", state=State.APPROVED, rule="r")]
    ),
    "action_results": ActionResults(**COMMON, mode=Mode.AUTO, executed_actions=1, results=[executed()]),
    "learning_deltas": learning(row(), row("worse", 60.0), row("inconclusive", None), still=1),
    "verdicts": Verdicts(**COMMON, looked_at=["c"], closed=[row()]),
}
NAMES = {
    "observations": "latency_p50_ms latency_p95_ms requests anomalies statements_seen blind_spots regressions",
    "hypotheses": "hypotheses proposed best_gain_pct",
    "decisions": "decided approved waiting denied decisions",
    "action_results": "actions executed queued failed lock_wait_ms duration_s",
    "learning_deltas": "effect_pct ci_low_pct ci_high_pct n outcome next_due_at next_due_reason evidence",
    "verdicts": "effect_pct ci_low_pct ci_high_pct n outcome looked_at evidence",
}


@pytest.mark.parametrize("asset", EMPTY)
def test_a_sentence_comes_first_and_says_why_nothing_was_found(asset: str) -> None:
    message, words = EMPTY[asset]
    for metadata in (describe(message), describe(FULL[asset])):
        assert next(iter(metadata)) == "summary"
        assert metadata["summary"] != ""
    assert describe(message)["summary"].startswith(words)


@pytest.mark.parametrize("asset", EMPTY)
def test_names_are_there_in_every_cycle(asset: str) -> None:
    charts = {"where_the_time_goes", "saving", "effects", "gaps"}
    empty, full = describe(EMPTY[asset][0]), describe(FULL[asset])
    assert set(NAMES[asset].split()) <= set(empty)
    assert set(full) - charts == set(empty)


@pytest.mark.parametrize("asset", EMPTY)
def test_what_is_a_number_stays_one_so_that_it_is_plotted(asset: str) -> None:
    """Where there is none, a word says why; Dagster leaves a gap in the plot."""
    full = normalize_metadata(describe(FULL[asset]))
    numbers = {n for n, v in full.items() if isinstance(v, dg.FloatMetadataValue | dg.IntMetadataValue)}
    words = {"outcome", "next_due_at", "next_due_reason", "evidence", "proposed", "decisions", "actions"}
    assert set(NAMES[asset].split()) - words <= numbers


def test_numbers_of_an_observation() -> None:
    metadata = describe(FULL["observations"])
    assert [metadata[n] for n in NAMES["observations"].split()] == [1.235, 20.0, 900, 3, 42, 1, 2]
    assert "data:image/svg+xml" in str(metadata["where_the_time_goes"].value)
    assert records(metadata["not_seen"]) == [{"what": "w", "why": "y", "remedy": "GRANT pg_monitor TO o;"}]
    assert metadata["summary"].startswith("42 statements took 90.0 s in the last 24 h, the heaviest 40 % of it; 3 req")


def _svg(value: dg.MetadataValue) -> str:
    return base64.b64decode(str(value.value).split("base64,")[1].rstrip(")")).decode()


def test_latency_is_drawn_with_odd_requests_marked_and_no_line_where_nothing_ran() -> None:
    at = [AT + timedelta(minutes=15 * n) for n in (0, 1, 2, 20, 21)]
    latency = [LatencyPoint(at=t, requests=9, typical_ms=40, max_ms=300) for t in at]
    message = Observation(
        **COMMON, mode=Mode.PROPOSE, lookback_hours=24, latency=latency, anomalies=[odd(requested_at=at[1])]
    )
    svg = _svg(describe(message)["latency_of_requests"])
    paths = {p.split('stroke="')[1][:7]: p for p in svg.split("<path ")[1:]}
    assert svg.count(f'"{BLUE}"') == 2  # two lines
    assert paths[GREY].count("M") == len(latency)
    assert paths[RED].count("M") == 1
    assert "latency_of_requests" not in describe(FULL["observations"])


def test_odd_requests_are_a_table_with_both_scores_and_how_they_were_judged() -> None:
    metadata = describe(FULL["observations"])
    assert records(metadata["odd_requests"])[0] == {
        "request": "42",
        "requested_at": "2026-03-01T12:00:00.123Z",
        "what": "classify by model 7",
        "ms": 9000,
        "usual ms": 200.0,
        "p": "",
        "isolation": "0.81",
        "LOF": "12.35",
        "method": "both",
        "stands out": "duration: 45.0 times the usual",
    }
    assert metadata["detection"] == (
        "policy fixed: 900 requests scored since 2026-03-01T12:00:00.123Z; 1 above 0.7 by isolation forest, 3 above "
        "1.5 by local outlier factor, either counts; not judged: 2 requests"
    )
    calibrated = Observation(
        **COMMON,
        mode=Mode.PROPOSE,
        lookback_hours=24,
        detection=detection(
            policy="calibrated", false_discovery_share=0.1, p_threshold=0.00031, by_lof=0, by_isolation_forest=0,
            by_robust_z=4, by_several=2, held_out=900, trimmed=0.002, digest="0123456789abcdef",
        ),
    )  # fmt: skip
    assert describe(calibrated)["detection"] == (
        "policy calibrated: 900 requests scored since 2026-03-01T12:00:00.123Z; p up to 0.00031, of which 10% may be "
        "ordinary; 4 by robust z, 2 by several; ranked among 900, 0.20% of them left out, model 0123456789ab"
    )
    few = Observation(
        **COMMON, mode=Mode.PROPOSE, lookback_hours=24, detection=detection(requests=0, not_judged=["7 requests"])
    )
    assert describe(few)["detection"] == "not judged: 7 requests"
    assert describe(few)["anomalies"] == "requests were not scored"


def test_new_regressions_are_a_table_with_both_plans() -> None:
    metadata = describe(FULL["observations"])
    (row_,) = records(metadata["new_regressions"])
    assert row_ == {
        "kind": "plan regression",
        "since": "2026-03-01T12:00:00.123Z",
        "ms before": "1.5",
        "ms now": "30",
        "s lost": 57.0,
        "statement": "select note from orders where customer = $1",
        "plan before": "Index Scan using orders_customer on orders",
        "plan now": "Seq Scan on orders",
    }
    assert "1 statement became slower" in metadata["summary"]
    same = FULL["observations"].model_copy(update={"query_store_recommendations": [slower(plan_after=None)]})
    assert records(describe(same)["new_regressions"])[0]["plan now"] == "the same"
    none = describe(EMPTY["observations"][0])
    assert (none["regressions"], none["new_regressions"].value) == (0, "no statement became slower")


def test_groups_that_moved_are_a_table_and_the_open_ones_in_the_summary() -> None:
    metadata = describe(FULL["observations"])
    first, second = records(metadata["group_changes"])
    assert first == {
        "what": "classify by model 7",
        "since": "2026-03-01T12:00:00.123Z",
        "until": "",
        "times as long": "1.31 (1.20 to 1.43)",
        "requests": 700,
        "evidence": "10^5.2",
        "state": "open",
    }
    assert (second["state"], second["until"]) == ("gone", "2026-03-01T12:00:00.123Z")
    assert "classify by model 7 takes 1.31 times as long as usual" in metadata["summary"]
    assert "and 1 more" not in metadata["summary"]


def test_columns_of_hypotheses() -> None:
    first, second = records(describe(FULL["hypotheses"])["proposed"])
    assert list(first) == [
        "priority",
        "what",
        "why",
        "gain %",
        "expected %",
        "bytes",
        "writes ms/h",
        "risk",
        "state",
        "blocked_by",
    ]
    assert (first["gain %"], first["bytes"], first["state"], first["risk"]) == (93.2, "11.8 MB", "proposed", "low")
    assert (second["state"], second["blocked_by"]) == ("blocked", "action 1")
    assert "marker" not in str(first)


def test_concepts_that_could_be_bound_are_told_apart_from_what_would_save_time() -> None:
    index, bound = hypothesis(), hypothesis(hypothesis_type="ConceptDiscovery", saved_ms_per_hour=0.0, priority=5)
    both = describe(FULL["hypotheses"].model_copy(update={"hypotheses": [bound, index]}))["summary"]
    assert both.startswith("1 change would save 12.5 s of statement time an hour; first ooda_orders")
    assert both.endswith("1 concept could be bound to rows, if a person says so.")
    metadata = describe(FULL["hypotheses"].model_copy(update={"hypotheses": [bound], "reason": "no statement"}))
    wanted = "1 concept could be bound to rows, if a person says so; no statement would get faster: no statement"
    assert (metadata["summary"], "saving" in metadata) == (wanted, False)


def test_columns_of_action_results() -> None:
    (done,) = records(describe(FULL["action_results"])["actions"])
    assert (done["sql"], done["undo"]) == (executed().executed_actions[0], executed().undo[0])
    assert (done["lock_wait_ms"], done["duration_s"], done["journal_id"]) == (12.0, 1.5, 7)


def test_the_verdict_that_counts_most_is_in_the_numbers() -> None:
    metadata = describe(FULL["learning_deltas"])
    assert [metadata[n] for n in ("effect_pct", "ci_low_pct", "ci_high_pct", "n", "outcome")] == [
        60.0,
        55.0,
        65.0,
        120,
        "worse",
    ]
    assert metadata["next_due_at"] == "2026-03-01T12:00:00.123Z"
    assert "worse, +60 % work per call" in metadata["summary"]
    assert len(records(metadata["closed"])) == 3


def test_predictions_are_a_table_two_numbers_over_time_and_two_pictures() -> None:
    points = [compared(n, predicted_pct=60.0, expected_pct=60.0 - n, realised_pct=40.0) for n in range(12)]
    losses = [compared(12, outcome="worse", realised_pct=-900.0, low_pct=-2000.0, high_pct=-200.0)]
    metadata = describe(learning(row(expected_pct=45.0), learned=[learned()], predictions=points + losses))
    (shown,) = records(metadata["learned"])
    assert (shown["predicted %"], shown["realised %"], shown["realised x"], shown["next x"]) == (60, 42, "0.70", "0.74")
    assert (shown["better"], shown["worse"], shown["no difference"], shown["failed"]) == (7, 2, 3, 1)
    # Of the last ten: nine that were 20 off as priced and 17 to 9 as corrected, and one loss, which counts as -100.
    assert metadata["prediction_off_pct"] == pytest.approx((9 * 20 + 160) / 10)
    assert metadata["corrected_prediction_off_pct"] == pytest.approx((sum(range(9, 18)) + 145) / 10)
    svg = _svg(metadata["predicted_against_realised"])
    assert svg.count("<circle") == len(points) + len(losses) + 3  # and the legend
    assert svg.count(f'"{RED}"') == 3  # the loss, its interval, the legend
    assert _svg(metadata["learning_curve"]).count("<path") == 2
    (closed,) = records(metadata["closed"])
    assert (closed["predicted_pct"], closed["effect_pct"]) == (-45, -40)  # both as changes


def test_without_a_verdict_there_is_nothing_to_draw() -> None:
    metadata = describe(learning())
    assert metadata["learned"].value == "no verdict of an action of ours closed yet"
    assert metadata["prediction_off_pct"] == "no verdict to compare with"
    assert "learning_curve" not in metadata
    assert "learning_curve" not in describe(learning(predictions=[compared()]))


def test_the_evidence_of_a_verdict_is_named_by_its_path() -> None:
    told = Verdicts(
        **COMMON, looked_at=["c"], closed=[row(evidence="/a/b.json"), row("worse", 60.0, evidence="/c.json")]
    )
    metadata = describe(told)
    assert metadata["evidence"] == dg.MetadataValue.path("/c.json")
    assert [r["evidence"] for r in records(metadata["closed"])] == ["/a/b.json", "/c.json"]
    assert describe(FULL["verdicts"])["evidence"] == "no file of it was written"


def test_the_headline_is_a_loss_else_the_largest_gain_else_the_newest() -> None:
    loss, gain, more = row("worse", 10.0), row("better", -20.0), row("better", -70.0)
    assert headline([gain, loss, more]) is loss
    assert headline([gain, more]) is more
    older, newer = (row("rejected", None, closed_at=AT.replace(hour=h)) for h in (1, 2))
    assert headline([older, newer]) is newer
    assert headline([row("inconclusive", -90.0), gain]) is gain
    assert headline([]) is None


def test_a_mode_that_does_not_act_says_so() -> None:
    message = ActionResults(**COMMON, mode=Mode.PROPOSE, results=[executed(action_status="Pending")])
    assert describe(message)["summary"] == "Nothing was done: mode propose does not act."
