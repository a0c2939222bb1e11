"""Does the improvement history hold what the seed document's table holds, and any gain or loss?"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy.exc

from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.tables import improvement_history
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, proposal

#: The document's AutonomousImprovementHistory.
DOCUMENT = (
    "improvement_id", "analysis_results", "generated_code", "target_file", "change_type", "risk_level",
    "estimated_impact", "git_commit_hash", "success_score", "tests_passed", "tests_failed", "performance_delta",
    "error_message", "was_deployed", "was_rolled_back", "started_at", "completed_at", "rolled_back_at",
)  # fmt: skip
#: What its own queries ask for and its table lacks.
ASKED_FOR = ("hypothesis_type", "latency_improvement", "analysis_id", "approved_by")
#: What its later table has besides.
LATER = (
    "improvement_type", "target_entity", "target_id", "old_value", "new_value", "executed_at", "success", "notes",
)  # fmt: skip
NOT_NULL = ("analysis_results", "generated_code", "target_file", "change_type", "risk_level", "started_at")


def record(ledger: Ledger, identity: str = "i", **values: Any) -> str:
    action = ledger.actions.propose("t", proposal(identity), by="loop", now=NOW)
    row: dict[str, Any] = {
        "action_id": action.action_id,
        "target": "t",
        "hypothesis_type": "IndexOptimization",
        "analysis_results": {},
        "generated_code": "CREATE INDEX",
        "target_file": "public.orders",
        "change_type": "IndexOptimization",
        "risk_level": "Low",
        "started_at": NOW,
    }
    ledger.actions.record_improvement(row | values)
    return action.action_id


def test_every_column_of_the_document_and_of_its_queries_is_there() -> None:
    columns = improvement_history.c
    assert set(DOCUMENT) | set(ASKED_FOR) | set(LATER) <= {c.name for c in columns}
    assert [name for name in NOT_NULL if columns[name].nullable] == []


def test_an_improvement_is_completed_in_its_own_row(known: Ledger) -> None:
    record(known)
    record(known, success_score=0.85, completed_at=NOW + MINUTE, was_deployed=True, started_at=NOW + MINUTE)
    (row,) = known.actions.improvements("t")
    assert (row["success_score"], row["was_deployed"], row["completed_at"]) == (Decimal("0.8500"), True, NOW + MINUTE)
    assert row["started_at"] == NOW


def test_the_newest_come_first_and_those_of_a_target_only(known: Ledger) -> None:
    for n in range(3):
        record(known, f"i{n}", completed_at=NOW + n * MINUTE, hypothesis_type=f"h{n}")
    assert [row["hypothesis_type"] for row in known.actions.improvements("t", top=2)] == ["h2", "h1"]
    assert known.actions.improvements("u") == []


@pytest.mark.parametrize("gain", [-99.9999, 99.9999, -1_000_000.0, -98_765_432.1, None])
def test_a_gain_or_loss_of_any_size_can_be_kept(known: Ledger, gain: float | None) -> None:
    """A statement of 0.1 ms that takes a second now is a million per cent slower."""
    record(known, latency_improvement=gain, performance_delta=gain and gain * 1000)
    (row,) = known.actions.improvements("t")
    assert row["latency_improvement"] == (None if gain is None else Decimal(str(gain)))


@pytest.mark.parametrize(("score", "success"), [(0.85, True), (0.7, False), (None, None)])
def test_success_is_what_the_document_learns_from(known: Ledger, score: float | None, success: bool | None) -> None:
    record(known, success_score=score)
    (row,) = known.actions.improvements("t")
    assert (row["success"], row["improvement_type"]) == (success, "IndexOptimization")


@pytest.mark.parametrize("score", [-0.1, 1.1])
def test_a_score_is_between_0_and_1(known: Ledger, score: float) -> None:
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="success_score"):
        record(known, success_score=score)
