"""What does a person see of what would help, and of what policy says to it?"""

from __future__ import annotations

from collections import Counter
from typing import Any

import dagster as dg

from ooda_dagster.core.change_types import changes_statements
from ooda_dagster.core.messages import Decisions, Hypotheses, Hypothesis
from ooda_dagster.core.text import cut, many, size
from ooda_dagster.defs.charts import bars
from ooda_dagster.defs.metadata.tables import number, sql, table

_CHART_ROWS = 8


def describe_hypotheses(message: Hypotheses) -> dict[str, Any]:
    """What would help, why, by how much and at what price."""
    found: dict[str, Any] = {
        "summary": _summary(message),
        "hypotheses": len(message.hypotheses),
        "best_gain_pct": number(max((h.gain_pct for h in message.hypotheses), default=None), "nothing would help"),
        "saved_s_per_hour": round(sum(h.saved_ms_per_hour for h in message.hypotheses) / 1000, 1),
        "statements_considered": message.statements_considered,
        "what_if": message.backend or "not needed",
        "proposed": table(
            [
                {
                    "priority": h.priority,
                    "what": sql(h.statements),
                    "why": h.description,
                    "gain %": h.gain_pct,
                    "expected %": h.expected_pct,
                    "bytes": size(h.bytes),
                    "writes ms/h": h.write_ms_per_hour,
                    "risk": h.risk,
                    "state": "blocked" if h.blocked_by else "proposed",
                    "blocked_by": h.blocked_by or "",
                }
                for h in message.hypotheses
            ],
            "nothing",
        ),
        "not_judged": table(
            [
                {"time_s": u.total_ms / 1000, "statement": cut(u.text, 160), "reason": cut(u.reason, 200)}
                for u in message.unjudged
            ]
        ),
    }
    if timed := _timed(message):
        chart = [
            (h.object_name, h.saved_ms_per_hour, f"{h.saved_ms_per_hour / 1000:,.0f} s/h") for h in timed[:_CHART_ROWS]
        ]
        found["saving"] = dg.MetadataValue.md(bars(chart, "Statement time saved per hour, by the planner's costs"))
    return found


def _summary(message: Hypotheses) -> str:
    timed, concepts = _timed(message), len(message.hypotheses) - len(_timed(message))
    bound = f"{many(concepts, 'concept')} could be bound to rows, if a person says so" if concepts else ""
    if not timed:
        why = message.reason or f"{many(message.statements_considered, 'statement')} considered, none worth an index"
        return cut(f"{bound}; no statement would get faster: {why}" if bound else f"Nothing would help: {why}", 500)
    best = timed[0]
    saved = sum(h.saved_ms_per_hour for h in message.hypotheses) / 1000
    return cut(
        f"{many(len(timed), 'change')} would save {saved:,.1f} s of statement time an hour; first "
        f"{best.object_name or best.hypothesis_type}, its statements {best.gain_pct:.0f} % cheaper."
        + (f" {bound}." if bound else ""),
        500,
    )


def _timed(message: Hypotheses) -> list[Hypothesis]:
    """Those that are to make statements faster."""
    return [h for h in message.hypotheses if changes_statements(h.hypothesis_type)]


def describe_decisions(message: Decisions) -> dict[str, Any]:
    """What is allowed, waits or is denied, by which rule."""
    rows = [
        {
            "action": d.action_id[:8],
            "state": str(d.state),
            "rule": cut(d.rule, 300),
            "what would change it": cut(d.remedy, 300),
        }
        for d in message.decisions
    ]
    states = Counter(str(d.state) for d in message.decisions)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    nothing = "Nothing was to be decided: there is no hypothesis."
    return {
        "summary": f"{counted} in mode {message.mode}." if rows else nothing,
        "decided": len(rows),
        "approved": states["approved"],
        "waiting": states["proposed"] + states["pending_approval"],
        "denied": states["denied"],
        "decisions": table(rows, "nothing"),
        "mode": str(message.mode),
    }
