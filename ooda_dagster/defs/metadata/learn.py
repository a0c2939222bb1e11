"""What does a person see of verdicts, and of when the loop looks again?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from ooda_dagster.core.learned import Learned, PredictionPoint
from ooda_dagster.core.learning_report import ROLLING, curve
from ooda_dagster.core.messages import LearningDelta, VerdictRow, Verdicts
from ooda_dagster.core.text import cut, many
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.core.wire import iso
from ooda_dagster.defs.charts import intervals
from ooda_dagster.defs.learning_charts import against, learning_curve
from ooda_dagster.defs.metadata.tables import number, table
from ooda_dagster.loop.verdict_bar import in_words

_CHART_ROWS = 8
_NONE = "no verdict closed"
_NOT_COMPARED = "no verdict to compare with"
#: The worst news first: what a person must know of.
_WEIGHT = {Outcome.WORSE: 0, Outcome.BETTER: 1, Outcome.UNATTRIBUTED: 2}


def describe_learning(message: LearningDelta) -> dict[str, Any]:
    """The verdict that counts most as numbers, all as a table, and when to look again."""
    head = headline(message.outcomes)
    naive = message.performance_metrics.get("latencyImprovement")
    return {
        "summary": _summary(message, head),
        **_numbers(head),
        "next_due_at": iso(message.next_due_at),
        "next_due_reason": message.next_due_reason,
        "next_delay_min": message.delay_minutes,
        "closed_verdicts": len(message.outcomes),
        "open_verdicts": len(message.open),
        **_outcomes(message.outcomes),
        "open": table([_row(r) for r in message.open]),
        **_learned(message.learned, message.predictions),
        "naive_latency_improvement_pct": number(naive, "too few samples"),
        "verdict_audit": in_words(message.verdict_audit),
    }


def describe_verdicts(message: Verdicts) -> dict[str, Any]:
    """The same of a look between two cycles."""
    head = headline(message.closed)
    looked = f"Looked at {many(len(message.looked_at), 'change set')}"
    if not message.looked_at:
        looked = "Nothing was due for a look"
    closed = f"{many(len(message.closed), 'verdict')} closed" if message.closed else "no verdict closed"
    return {
        "summary": f"{looked}; {closed}; {len(message.open)} open.",
        **_numbers(head),
        "looked_at": len(message.looked_at),
        "closed_verdicts": len(message.closed),
        "open_verdicts": len(message.open),
        **_outcomes(message.closed),
        "open": table([_row(r) for r in message.open]),
    }


def headline(rows: Sequence[VerdictRow]) -> VerdictRow | None:
    """The closed verdict that counts most: one that got worse, else the largest gain, else the newest."""

    def weight(row: VerdictRow) -> tuple[int, float, float]:
        known = _WEIGHT.get(row.outcome, 3)  # type: ignore[call-overload]
        newest = -row.closed_at.timestamp() if row.closed_at else 0.0
        return known, -abs(row.effect_pct or 0.0), newest

    return min(rows, key=weight, default=None)


def _numbers(head: VerdictRow | None) -> dict[str, Any]:
    shown = {name: getattr(head, name) if head else None for name in ("effect_pct", "ci_low_pct", "ci_high_pct")}
    otherwise = "it was not measured" if head else _NONE
    return {
        **{name: number(value, otherwise) for name, value in shown.items()},
        "n": head.n if head else 0,
        "outcome": str(head.outcome) if head else _NONE,
    }


def _row(row: VerdictRow) -> dict[str, Any]:
    return {
        "action": row.action_id[:8],
        "what": cut(row.description, 90),
        "state": str(row.state),
        "outcome": row.outcome,
        "predicted_pct": None if row.expected_pct is None else -row.expected_pct,
        "effect_pct": row.effect_pct,
        "ci_low_pct": row.ci_low_pct,
        "ci_high_pct": row.ci_high_pct,
        "n": row.n,
        "why": cut(row.reason, 140),
        "evidence": row.evidence and cut(row.evidence, 140),
    }


def _learned(rows: Sequence[Learned], points: Sequence[PredictionPoint]) -> dict[str, Any]:
    """Predictions against what came of them: as a table, as numbers over time, as pictures."""
    shown = [
        {
            "type": cut(r.hypothesis_type, 60),
            "rung": cut(r.rung, 60),
            "verdicts": r.verdicts,
            "predicted %": r.predicted_pct,
            "realised %": r.realised_pct,
            "from %": r.realised_low_pct,
            "to %": r.realised_high_pct,
            "realised x": None if r.ratio is None else f"{r.ratio:.2f}",
            "next x": f"{r.factor:.2f}",
            "better": r.better,
            "worse": r.worse,
            "no difference": r.inconclusive,
            "failed": r.failed,
            "held %": None if r.held is None else 100 * r.held,
        }
        for r in rows
    ]
    learning = curve(points)
    priced, corrected = learning[-1][1:] if learning else (None, None)
    found: dict[str, Any] = {
        "learned": table(shown, "no verdict of an action of ours closed yet"),
        "prediction_off_pct": number(priced, _NOT_COMPARED),
        "corrected_prediction_off_pct": number(corrected, _NOT_COMPARED),
    }
    if points:
        compared = [(p.predicted_pct, p.low_pct, p.realised_pct, p.high_pct, p.outcome) for p in points]
        chart = against(compared, "Less work of what an action touches, predicted and measured")
        found["predicted_against_realised"] = dg.MetadataValue.md(chart)
    if len(learning) > 1:
        title = f"How far off predictions were, in per cent of work, mean of {ROLLING} verdicts"
        found["learning_curve"] = dg.MetadataValue.md(learning_curve(learning, title))
    return found


def _outcomes(rows: Sequence[VerdictRow]) -> dict[str, Any]:
    head = headline(rows)
    written = dg.MetadataValue.path(head.evidence) if head and head.evidence else None
    found: dict[str, Any] = {
        "closed": table([_row(r) for r in rows]),
        "evidence": written or ("no file of it was written" if head else _NONE),
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


def _summary(message: LearningDelta, head: VerdictRow | None) -> str:
    again = f"next cycle in {message.delay_minutes} min: {message.next_due_reason}"
    if head is None:
        still = f"{many(len(message.open), 'is', 'are')} still open" if message.open else "none is open"
        return f"No verdict closed since the last cycle, {still}; {again}."
    effect = "" if head.effect_pct is None else f", {head.effect_pct:+.0f} % work per call"
    what = cut(head.description.split(":")[0], 100)
    return f"{many(len(message.outcomes), 'verdict')} closed; {what}: {head.outcome}{effect}; {again}."
