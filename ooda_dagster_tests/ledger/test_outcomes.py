"""Does the ledger pair each prediction with the verdict that closed on it, and with nothing else?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.core.predictions import Prediction
from ooda_dagster.core.verdict import Outcome, Verdict
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.ledger.closed import closed, predicting
from ooda_dagster_tests.ledger.ground import NOW, register

DAY = timedelta(days=1)


def predictions(ledger: Ledger) -> list[Prediction]:
    return list(ledger.outcomes.predictions(since=NOW - 30 * DAY, until=NOW))


def test_a_prediction_stands_beside_what_was_measured_with_the_error_of_its_verdict(known: Ledger) -> None:
    closed(known, "t", NOW - DAY, predicting(0.6, trust=0.5), realised=0.3, error=0.1)
    (found,) = predictions(known)
    assert (found.key, found.at) == (("t", "IndexOptimization", "hypothetical index"), NOW - DAY)
    assert (found.predicted, found.expected, found.realised) == (0.6, 0.3, pytest.approx(0.3))
    assert found.error == pytest.approx(0.7 * 0.1)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.3 < found.high
    assert (found.outcome, found.weight, found.what) == ("better", 1.0, "Build an index 0")


def test_actions_that_were_judged_together_share_the_verdict_by_what_each_was_to_save(known: Ledger) -> None:
    """Two indexes for two statements: together 600 of 2,000 ms, not 0.4 and 0.2 of 1,000 each."""
    second = predicting(0.2, backend="statistics clone") | {"work_ms_per_hour": {"s2": 1000.0}}
    closed(known, "t", NOW - DAY, predicting(0.4), second, realised=0.25)
    first, other = sorted(predictions(known), key=lambda p: -p.weight)
    assert first.predicted == other.predicted == pytest.approx(0.3)
    assert (first.weight, other.weight) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (first.rung, other.rung) == ("hypothetical index", "statistics clone")
    assert first.realised == other.realised == pytest.approx(0.25)


def test_what_is_left_of_a_change_set_is_told_by_its_own_verdict(known: Ledger) -> None:
    worst, kept = closed(known, "t", NOW - DAY, predicting(0.4), predicting(0.2), realised=0.2)
    known.verifications.record(
        str(worst.change_set_id),
        "t",
        2,
        NOW - DAY / 2,
        Verdict(Outcome.WORSE, 1.5, (1.2, 1.9), "", evidence={"standard_error": 0.2}),
        final=True,
    )
    known.actions.note(worst.action_id, outcome=Outcome.WORSE, ratio=1.5, ratio_low=1.2, ratio_high=1.9)
    first, second = predictions(known)
    assert (first.realised, first.predicted, first.weight) == (pytest.approx(0.2), 0.2, 1.0)
    assert (second.realised, second.predicted, second.weight) == (-0.5, 0.4, 1.0)
    assert (first.error, second.error) == (pytest.approx(0.8 * 0.05), pytest.approx(1.5 * 0.2))
    assert kept.change_set_id == worst.change_set_id


def test_a_failure_is_told_without_a_measurement(known: Ledger) -> None:
    closed(known, "t", NOW - DAY, predicting(0.6), outcome=None, state=State.FAILED)
    (found,) = predictions(known)
    assert (found.failed, found.realised, found.predicted) == (True, None, 0.6)


@pytest.mark.parametrize("outcome", [Outcome.UNATTRIBUTED, Outcome.INCONCLUSIVE])
def test_a_measurement_with_nothing_beside_it_is_none_and_one_without_proof_is_one(
    known: Ledger, outcome: Outcome
) -> None:
    """Leaving out what was not proven would leave the lucky ones."""
    closed(known, "t", NOW - DAY, predicting(0.6), realised=0.1, outcome=outcome, state=State.INCONCLUSIVE)
    (found,) = predictions(known)
    assert (found.realised is None) == (outcome == Outcome.UNATTRIBUTED)


def test_a_person_s_own_action_and_one_undone_before_its_verdict_tell_nothing(known: Ledger) -> None:
    closed(known, "t", NOW - DAY, predicting(0.6), realised=0.3, by_hand=True)
    closed(known, "t", NOW - DAY, predicting(0.6), outcome=None, state=State.REVERTED)
    assert predictions(known) == []


def test_a_rollback_long_after_the_verdict_makes_it_no_younger(known: Ledger) -> None:
    (action,) = closed(known, "t", NOW - 40 * DAY, predicting(0.6), realised=0.3)
    known.actions.note(action.action_id, closed_at=NOW - DAY, reverted_at=NOW - DAY)
    assert predictions(known) == []


def test_the_time_and_the_target_can_be_chosen(known: Ledger) -> None:
    register(known, "u")
    for name, days in (("t", 2), ("u", 1), ("t", 0.5)):
        closed(known, name, NOW - days * DAY, predicting(0.6), realised=0.3)
    read = known.outcomes.predictions
    assert [p.target for p in read(since=NOW - 3 * DAY)] == ["t", "u", "t"]
    assert [p.target for p in read(since=NOW - 3 * DAY, until=NOW - DAY)] == ["t", "u"]
    assert [p.target for p in read(since=NOW - 1.5 * DAY, target="t")] == ["t"]


def test_an_action_from_before_predictions_were_kept_as_shares_is_not_compared(known: Ledger) -> None:
    closed(known, "t", NOW - DAY, {"gain_pct": 90.0, "backend": "hypopg"}, realised=0.3)
    (found,) = predictions(known)
    assert (found.predicted, found.realised, found.outcome) == (None, pytest.approx(0.3), "better")
