"""Actions of the past whose verdicts closed, entered as the loop enters them."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ooda_dagster.actions.create_index import propose_index
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.journal import State
from ooda_dagster.core.verdict import Outcome, Verdict
from ooda_dagster.ledger import Action, Ledger

_PATHS = {
    State.KEPT: (State.APPLYING, State.APPLIED, State.VERIFYING, State.KEPT),
    State.INCONCLUSIVE: (State.APPLYING, State.APPLIED, State.VERIFYING, State.INCONCLUSIVE),
    State.REVERTED: (State.APPLYING, State.APPLIED, State.VERIFYING, State.REVERTING, State.REVERTED),
    State.FAILED: (State.APPLYING, State.FAILED),
}


def predicting(share: float, *, backend: str = "hypopg", trust: float = 1.0, **more: Any) -> dict[str, Any]:
    """What decide.py notes of a hypothesis that would save a share of 1,000 ms an hour of one statement."""
    found = {
        "net_ms_per_hour": 1000 * share,
        "saved_ms_per_hour": 1000 * share,
        "work_ms_per_hour": {"s1": 1000.0},
        "predicted_pct": 100 * share,
        "expected_pct": 100 * share * trust,
        "trust": trust,
        "backend": backend,
    }
    return found | more


def closed(
    ledger: Ledger,
    name: str,
    at: datetime,
    *predictions: Mapping[str, Any],
    realised: float | None = None,
    outcome: Outcome | None = Outcome.BETTER,
    state: State = State.KEPT,
    error: float = 0.05,
    action_type: str = "IndexOptimization",
    by_hand: bool = False,
) -> list[Action]:
    """One change set of an action for each prediction, judged at a time. realised: less work, as a share.

    error: of the logarithm of what is left.
    """
    actions = []
    for predicted in predictions:
        made = ledger.actions.propose(
            name,
            propose_index(
                IndexSpec.on("public", "orders", f"gone_{uuid.uuid4().hex[:8]}"),
                action_type=action_type,
                predicted=dict(predicted),
                hypothesis_id=None if by_hand else str(uuid.uuid4()),
                description=f"Build an index {len(actions)}: serves 1 statement",
            ),
            by="ann" if by_hand else "policy",
            now=at - timedelta(hours=1),
        )
        ledger.actions.transition(made.action_id, State.APPROVED, actor="policy")
        actions.append(made.action_id)
    began = at - timedelta(hours=1)
    change_set = ledger.verifications.begin(name, actions, treated=["s1"], bystanders=[], now=began)
    ratio = None if realised is None else 1 - realised
    bounds = None if ratio is None else (ratio * math.exp(-3 * error), ratio * math.exp(3 * error))
    for action_id in actions:
        for step in _PATHS[state]:
            columns: dict[str, Any] = {"applying_at": began} if step == State.APPLYING else {}
            if step == State.APPLIED:
                columns = {"applied_at": began, "duration_ms": 1500.0}
            if step == _PATHS[state][-1]:
                columns = {"closed_at": at, "outcome": outcome, "ratio": ratio}
                columns |= {"ratio_low": bounds[0], "ratio_high": bounds[1]} if bounds else {}
                columns |= {"reverted_at": at} if step == State.REVERTED else {}
            ledger.actions.transition(action_id, step, actor="policy", **columns)
    if outcome is not None:
        verdict = Verdict(outcome, ratio, bounds, "told", evidence={"standard_error": error})
        ledger.verifications.record(change_set, name, 1, at, verdict, final=True)
    ledger.verifications.update(change_set, acted_until=began, open=False, closed_at=at, next_look_at=None)
    return [ledger.actions.get(action_id) for action_id in actions]
