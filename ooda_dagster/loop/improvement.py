"""An ended action as a row of the improvement history: what the document's table asks for beside the verdict."""

from __future__ import annotations

from typing import Any

from ooda_dagster.core.journal import State
from ooda_dagster.core.scrub import scrubbed
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.ledger import Action


def of_document(action: Action) -> dict[str, Any]:
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
