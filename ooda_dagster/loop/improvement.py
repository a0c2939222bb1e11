"""An ended action as a row of the improvement history: what the document's table asks for."""

from __future__ import annotations

from typing import Any

from ooda_dagster.core.journal import State
from ooda_dagster.core.scrub import scrubbed
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.verifications import look_of
from ooda_dagster.loop.context import Loop

#: Score of an outcome class in the improvement history, where more than 0.7 means: learn from it.
_SCORES = {"HighSuccess": 1.0, "Success": 0.85, "Neutral": 0.5, "Regressed": 0.0, "Failed": 0.0}


def record_improvement(loop: Loop, action: Action) -> None:
    """Write an ended action into the improvement history."""
    undone = action.state in (State.REVERTED, State.REVERTING, State.REVERT_FAILED)
    gained_pct = None if action.ratio is None else 100 * (1 - action.ratio)
    saved = action.predicted.get("saved_ms_per_hour")
    looks = loop.ledger.verifications.looks(action.change_set_id) if action.change_set_id else []
    look = look_of(action, looks) or {"n": {}, "evidence": {}}
    shown = action.outcome in (Outcome.BETTER, Outcome.WORSE, Outcome.UNATTRIBUTED)
    loop.ledger.actions.record_improvement(
        {
            "action_id": action.action_id,
            "target": action.target,
            "analysis_id": action.analysis_id,
            "hypothesis_type": action.action_type,
            "analysis_results": {"predicted": action.predicted, "verdict": action.verdict_reason, "n": look["n"]},
            "generated_code": "; ".join(scrubbed(s) for s in action.statements),
            "target_file": action.relation,
            "change_type": action.action_type,
            "risk_level": action.risk.capitalize(),
            "estimated_impact": None if saved is None else f"{saved:.0f} ms per hour",
            "success_score": _SCORES.get(action.outcome_class or "Failed", 0.0),
            "latency_improvement": gained_pct if shown else None,
            "performance_delta": look["evidence"].get("saved_ms_per_hour") if shown else None,
            "error_message": action.error,
            "was_deployed": action.applied_at is not None,
            "was_rolled_back": undone,
            "approved_by": action.decided_by,
            "started_at": action.applying_at or action.proposed_at,
            "completed_at": action.closed_at or loop.clock(),
            "rolled_back_at": action.reverted_at,
            **_of_document(action),
        }
    )


def _of_document(action: Action) -> dict[str, Any]:
    """Columns for which the loop has a counterpart of its own.

    The tests of a change are its verdict: one passed where it was proven better, one failed where it was proven worse
    or could not be done, none where nothing was shown.
    """
    failed = action.state == State.FAILED or action.outcome == Outcome.WORSE
    names = [name for name in (action.object_schema, action.object_name) if name]
    return {
        "git_commit_hash": action.statements_hash,
        "tests_passed": int(action.outcome == Outcome.BETTER),
        "tests_failed": int(failed),
        "predicted_improvement": action.predicted.get("predicted_pct"),
        "expected_improvement": action.predicted.get("expected_pct"),
        "executed_at": action.applied_at,
        "target_entity": ".".join(names) or action.relation,
        "target_id": None if action.object_oid is None else str(action.object_oid),
        "old_value": "; ".join(map(scrubbed, action.undo)),
        "new_value": "; ".join(map(scrubbed, action.statements)) if action.applied_at else None,
        "notes": action.revert_reason or action.verdict_reason,
    }
