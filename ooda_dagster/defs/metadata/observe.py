"""What does a person see of an observation?"""

from __future__ import annotations

from typing import Any

import dagster as dg

from ooda_dagster.core.messages import Observation
from ooda_dagster.core.seen import Anomaly, Detection, GroupChange, ModelSeen, QueryStoreRecommendation
from ooda_dagster.core.text import cut, many
from ooda_dagster.core.wire import iso
from ooda_dagster.defs.charts import bars
from ooda_dagster.defs.metadata.concepts import describe_concepts
from ooda_dagster.defs.metadata.tables import number, some_json, table
from ooda_dagster.defs.timeline import timeline

_TOP = 10
_TOP_SLOWER, _TOP_MODELS = 4, 5
_CHART_ROWS, _MARKS = 8, 50
_TOP_REQUESTS, _TOP_GROUPS = 10, 5


def describe_observation(message: Observation) -> dict[str, Any]:
    """Latencies, requests, anomalies, what was seen and what was not."""
    top = message.statements[:_TOP]
    found: dict[str, Any] = {
        "summary": _summary(message),
        "latency_p50_ms": number(message.latency_p50_ms, "no statement was seen"),
        "latency_p95_ms": number(message.latency_p95_ms, "no statement was seen"),
        "requests": number(
            message.total_inferences, "the target has no table of inference requests that can be counted"
        ),
        "anomalies": number(message.anomaly_count, "requests were not scored"),
        "odd_requests": table([_odd(a) for a in message.anomalies[:_TOP_REQUESTS]], "none"),
        "detection": _detection(message.detection),
        "regressions": len(message.query_store_recommendations),
        "new_regressions": table(
            [_slower(r) for r in message.query_store_recommendations if r.new][:_TOP_SLOWER],
            "no statement became slower",
        ),
        "group_changes": table([_group(c) for c in message.group_changes[:_TOP_GROUPS]], "none"),
        "statements_seen": message.statements_seen,
        "blind_spots": len(message.blind_spots),
        "statement_time_s": round(message.total_statement_ms / 1000, 1),
        "top_statements": table(
            [
                {"ms per call": s.mean_ms, "calls": s.calls, "share %": 100 * s.share, "statement": cut(s.text, 160)}
                for s in top
            ],
            "no statement was seen",
        ),
        "not_seen": table(
            [
                {"what": cut(b.what, 150), "why": cut(b.why, 200), "remedy": cut(b.remedy, 300)}
                for b in message.blind_spots
            ],
            "nothing is hidden",
        ),
    }
    if message.statements:
        chart = [(s.text, s.share, f"{100 * s.share:.0f} %") for s in top[:_CHART_ROWS]]
        found["where_the_time_goes"] = dg.MetadataValue.md(bars(chart, "Share of all statement time"))
    if message.latency:
        points = [(p.at, p.typical_ms, p.max_ms) for p in message.latency]
        marks = [(a.requested_at, a.duration_ms) for a in message.anomalies[:_MARKS]]
        title = "Latency of requests (ms, UTC): typical as a line, slowest as dots, odd ones in red"
        found["latency_of_requests"] = dg.MetadataValue.md(timeline(points, marks, title))
    if message.models:
        found["requests_by_model"] = table([_model(m) for m in message.models[:_TOP_MODELS]])
    if message.irregular:
        found["irregular_requests"] = some_json(message.irregular)
    if message.gaps:
        found["gaps"] = dg.MetadataValue.md("\n".join(f"- {cut(gap, 150)}" for gap in message.gaps[-10:]))
    return (
        found
        | describe_concepts(message)
        | {
            "source": f"{message.source}, {message.lookback_hours:g} h looked back on" + _part(message),
            "mode": str(message.mode),
            "load": some_json(message.load),
            "server": some_json(message.server),
        }
    )


def _slower(found: QueryStoreRecommendation) -> dict[str, Any]:
    return {
        "kind": found.recommendation_type,
        "since": iso(found.since),
        "ms before": f"{found.before_ms:,.3g}",
        "ms now": f"{found.after_ms:,.3g}",
        "s lost": found.extra_s,
        "statement": cut(found.text, 120),
        "plan before": cut(found.plan_before or "not known", 150),
        "plan now": cut(found.plan_after or ("the same" if found.plan_before else "not known"), 150),
    }


def _part(message: Observation) -> str:
    scope = "" if message.scope == "full" else f", scope {message.scope}"
    return scope if message.tenant is None else f"{scope}, requests of one tenant"


def _model(seen: ModelSeen) -> dict[str, Any]:
    return {
        "what": f"{cut(seen.operation, 30)} by model {cut(seen.model_id, 30)}",
        "requests": seen.requests,
        "failed": seen.failed,
        "mean ms": seen.avg_duration_ms,
        "share %": 100 * seen.share,
    }


def _odd(anomaly: Anomaly) -> dict[str, Any]:
    return {
        "request": cut(anomaly.inference_request_id, 36),
        "requested_at": iso(anomaly.requested_at),
        "what": f"{cut(anomaly.operation, 30)} by model {cut(anomaly.model_id, 30)}",
        "ms": anomaly.duration_ms,
        "usual ms": anomaly.usual_ms,
        "p": "" if anomaly.p_value is None else f"{anomaly.p_value:.1g}",
        "isolation": f"{anomaly.isolation_score:.2f}",
        "LOF": f"{anomaly.lof_score:.2f}",
        "method": anomaly.detection_method,
        "stands out": cut(anomaly.text, 50),
    }


def _detection(how: Detection | None) -> str:
    if how is None:
        return "requests were not scored"
    left = "; ".join(how.not_judged)
    if not how.requests:
        return cut(f"not judged: {left}", 300)
    passed = _calibrated(how) if how.policy == "calibrated" else _fixed(how)
    since = f" since {iso(how.since)}" if how.since else ""
    words = [f"policy {how.policy}: {many(how.requests, 'request')} scored{since}", passed]
    return cut("; ".join([*words, *([f"not judged: {left}"] if left else [])]), 350)


def _fixed(how: Detection) -> str:
    passed = f"{how.by_isolation_forest} above {how.if_threshold:g} by isolation forest"
    return f"{passed}, {how.by_lof} above {how.lof_threshold:g} by local outlier factor, {how.method} counts"


def _calibrated(how: Detection) -> str:
    share = (
        f", of which {how.false_discovery_share:.0%} may be ordinary" if how.false_discovery_share is not None else ""
    )
    limit = f"p up to {how.p_threshold:.2g}" if how.p_threshold is not None else "none passed"
    by = (
        ("robust z", how.by_robust_z),
        ("isolation forest", how.by_isolation_forest),
        ("local outlier factor", how.by_lof),
    )
    methods = ", ".join(f"{n} by {name}" for name, n in (*by, ("several", how.by_several)) if n)
    ranks = f"ranked among {how.held_out:,}, {how.trimmed:.2%} of them left out, model {how.digest[:12]}"
    return "; ".join([f"{limit}{share}", *([methods] if methods else []), ranks])


def _group(change: GroupChange) -> dict[str, Any]:
    return {
        "what": f"{cut(change.operation, 30)} by model {cut(change.model_id, 30)}",
        "since": iso(change.since),
        "until": iso(change.until) if change.until else "",
        "times as long": f"{change.ratio:.2f} ({change.ratio_low:.2f} to {change.ratio_high:.2f})",
        "requests": change.requests,
        "evidence": f"10^{change.evidence:.1f}",
        "state": change.state,
    }


def _summary(message: Observation) -> str:
    if not message.statements:
        spot = next((b for b in message.blind_spots if b.what == "statement statistics"), None)
        why = f"{spot.why}; {spot.remedy}" if spot else "none was sampled yet"
        return cut(f"No statement was seen: {why}", 500)
    words = [
        f"{many(message.statements_seen, 'statement')} took {message.total_statement_ms / 1000:,.1f} s in the last "
        f"{message.lookback_hours:g} h, the heaviest {100 * message.statements[0].share:.0f} % of it"
    ]
    if message.anomaly_count:
        words.append(many(message.anomaly_count, "request is odd", "requests are odd"))
    if new := sum(r.new for r in message.query_store_recommendations):
        words.append(many(new, "statement became slower", "statements became slower"))
    if message.embeddings and message.embeddings.events:
        words.append(f"{many(len(message.embeddings.events), 'thing')} became of its concepts")
    moved = [c for c in message.group_changes if c.state == "open"]
    if moved:
        more = f", and {len(moved) - 1} more" if len(moved) > 1 else ""
        words.append(f"{cut(moved[0].text, 160)}{more}")
    if message.blind_spots:
        words.append(f"{many(len(message.blind_spots), 'thing')} could not be seen")
    return "; ".join(words) + "."
