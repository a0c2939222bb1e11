"""What a person sees of a message in the Dagster UI: numbers, tables, a chart. Never a literal of a statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from ooda_dagster.core.messages import (
    ActionResults,
    Decisions,
    Hypotheses,
    LearningDelta,
    Message,
    Observation,
    VerdictRow,
    Verdicts,
    iso,
)
from ooda_dagster.core.scrub import scrubbed
from ooda_dagster.defs.charts import bars, intervals

_MOST_ROWS = 20
_CHART_ROWS = 8


def table(rows: Sequence[Mapping[str, Any]]) -> dg.MetadataValue[Any]:
    """A Markdown table of the first rows, or a word where there is none."""
    if not rows:
        return dg.MetadataValue.text("none")
    columns = list(rows[0])
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    for row in rows[:_MOST_ROWS]:
        lines.append(" | ".join(_cell(row.get(column)) for column in columns))
    more = f"\n\nand {len(rows) - _MOST_ROWS} more" if len(rows) > _MOST_ROWS else ""
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in lines) + more)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    """A statement as code. Texts of the target were scrubbed when they were sampled."""
    return f"`{text.replace('`', chr(39))}`" if text else ""


def describe(message: Message) -> dict[str, Any]:
    """Metadata of any message."""
    common: dict[str, Any] = {"analysis_id": message.analysis_id}
    if message.replayed:
        common["replayed"] = "made by hand from an older message; nothing was acted on"
    for kind, writer in _WRITERS.items():
        if isinstance(message, kind):
            return {**writer(message), **common}
    return common


def _observation(message: Observation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if message.statements:
        found["top_statements"] = table(
            [
                {"ms per call": s.mean_ms, "calls": s.calls, "share %": 100 * s.share, "statement": _code(s.text[:120])}
                for s in message.statements[:10]
            ]
        )
        chart = [(s.text, s.share, f"{100 * s.share:.0f} %") for s in message.statements[:_CHART_ROWS]]
        found["where_the_time_goes"] = dg.MetadataValue.md(bars(chart, "Share of all statement time"))
    found |= {
        "blind_spots": table([{"what": b.what, "why": b.why, "remedy": b.remedy} for b in message.blind_spots]),
        "statements_seen": message.statements_seen,
        "statement_time_s": round(message.total_statement_ms / 1000, 1),
    }
    if message.anomaly_count is not None:
        found["anomalies"] = message.anomaly_count
    if message.total_inferences is not None:
        found["requests"] = message.total_inferences
    for name in ("latency_p50_ms", "latency_p95_ms"):
        if (value := getattr(message, name)) is not None:
            found[name] = round(value, 3)
    if message.gaps:
        found["gaps"] = dg.MetadataValue.md("\n".join(f"- {gap}" for gap in message.gaps))
    return found | {
        "source": f"{message.source}, {message.lookback_hours:g} h looked back on",
        "mode": str(message.mode),
        "load": dg.MetadataValue.json(message.load),
        "server": dg.MetadataValue.json(message.server),
    }


def _hypotheses(message: Hypotheses) -> dict[str, Any]:
    found: dict[str, Any] = {
        "hypotheses": len(message.hypotheses),
        "statements_considered": message.statements_considered,
        "what_if": message.backend or "not needed",
        "proposed": table(
            [
                {
                    "priority": h.priority,
                    "what": _code("; ".join(map(scrubbed, h.statements))),
                    "why": h.description,
                    "gain %": h.gain_pct,
                    "MB": h.bytes / (1 << 20),
                    "writes ms/h": h.write_ms_per_hour,
                    "risk": h.risk,
                    "blocked by": h.blocked_by,
                }
                for h in message.hypotheses
            ]
        ),
        "not_judged": table(
            [{"s": u.total_ms / 1000, "statement": _code(u.text[:120]), "reason": u.reason} for u in message.unjudged]
        ),
    }
    if message.reason:
        found["why_none"] = message.reason
    if message.hypotheses:
        chart = [
            (h.object_name, h.saved_ms_per_hour, f"{h.saved_ms_per_hour / 1000:,.0f} s/h")
            for h in message.hypotheses[:_CHART_ROWS]
        ]
        found["saving"] = dg.MetadataValue.md(bars(chart, "Statement time saved per hour, by the planner's costs"))
    return found


def _decisions(message: Decisions) -> dict[str, Any]:
    rows = [
        {"action": d.action_id[:8], "state": str(d.state), "rule": d.rule, "what would change it": d.remedy}
        for d in message.decisions
    ]
    return {"decisions": table(rows), "mode": str(message.mode), "decided": len(rows)}


def _results(message: ActionResults) -> dict[str, Any]:
    rows = [
        {
            "action": r.action_id[:8],
            "state": str(r.state),
            "sql": _code("; ".join(r.executed_actions)) or r.description,
            "undo": _code("; ".join(r.undo)),
            "s": r.execution_time_ms / 1000,
            "lock_wait_ms": r.lock_wait_ms,
            "journal": r.journal_seq,
            "note": r.error_message or r.note,
        }
        for r in message.results
    ]
    return {
        "executed": message.executed_actions,
        "queued": message.queued_actions,
        "failed": message.failed_actions,
        "mode": str(message.mode),
        "actions": table(rows),
    }


def _outcomes(rows: Sequence[VerdictRow]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "closed": table(
            [
                {
                    "action": r.action_id[:8],
                    "what": r.description[:90],
                    "state": str(r.state),
                    "outcome": r.outcome,
                    "effect_pct": r.effect_pct,
                    "ci_low_pct": r.ci_low_pct,
                    "ci_high_pct": r.ci_high_pct,
                    "calls": r.n,
                    "why": r.reason,
                }
                for r in rows
            ]
        )
    }
    shown = [
        (r.description.split(":")[0], r.ci_low_pct, r.effect_pct, r.ci_high_pct)
        for r in rows
        if r.effect_pct is not None and r.ci_low_pct is not None and r.ci_high_pct is not None
    ]
    if shown:
        chart = intervals(shown[:_CHART_ROWS], "Work per call after the action, against untouched statements")
        found["effects"] = dg.MetadataValue.md(chart)
    return found


def _learning(message: LearningDelta) -> dict[str, Any]:
    found: dict[str, Any] = {
        **_outcomes(message.outcomes),
        "open_verdicts": len(message.open),
        "next_due_at": iso(message.next_due_at),
        "next_due_reason": message.next_due_reason,
        "next_delay_min": message.delay_minutes,
    }
    effects = [r.effect_pct for r in message.outcomes if r.effect_pct is not None]
    if effects:
        found["best_effect_pct"] = round(min(effects), 1)
    naive = message.performance_metrics.get("latencyImprovement")
    if naive is not None:
        found["naive_latency_improvement_pct"] = round(naive, 1)
    return found


def _verdicts(message: Verdicts) -> dict[str, Any]:
    return {**_outcomes(message.closed), "looked_at": len(message.looked_at), "open_verdicts": len(message.open)}


_WRITERS: dict[type[Message], Any] = {
    Observation: _observation,
    Hypotheses: _hypotheses,
    Decisions: _decisions,
    ActionResults: _results,
    LearningDelta: _learning,
    Verdicts: _verdicts,
}
