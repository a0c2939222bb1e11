"""Do the checks speak when something is wrong, and only then? Does the one that blocks keep the loop from acting?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import dagster as dg
import pytest

from ooda_dagster.actions.create_index import propose_index
from ooda_dagster.core.indexes import IndexColumn, IndexSpec
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.defs.checks import no_failed_action, no_proven_regression
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.loop import by_hand
from ooda_dagster.loop.context import utc_now
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.defs.ground import NAME, Ground, unreachable


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {e.check_name: e for e in result.get_asset_check_evaluations()}


def test_what_recovery_cannot_mend_blocks_before_anything_acts(shop: Callable[[Mode], Ground]) -> None:
    """Another process holds the target's lock, and the journal tells of a build that nobody finished."""
    made = shop(Mode.AUTO)
    action = by_hand.propose(made.loop, "create index on orders (placed)", by="analyst", approve=True)
    made.ledger.actions.transition(action.action_id, State.APPLYING, actor="policy", applying_at=utc_now())
    with made.loop.target.acting("other") as other:
        assert other.try_lock()
        result = made.run()
    assert not result.success
    check = evaluations(result)["journal_matches_catalogue"]
    assert (check.passed, check.severity, check.partition) == (False, dg.AssetCheckSeverity.ERROR, NAME)
    assert "a worker announced it and did not come back" in (check.description or "")
    assert str(action.object_name) in str(check.metadata["mismatches"].value)
    done = {e.asset_key.path[-1] for e in result.get_asset_materialization_events() if e.asset_key}
    assert done == {"observations"}
    assert made.database.indexes() == {"orders_pkey": True}


def test_a_mismatch_blocks_a_dry_run_too_which_mends_nothing(shop: Callable[[Mode], Ground]) -> None:
    made = shop(Mode.AUTO)
    made.cycle()
    (action,) = made.ledger.actions.list(NAME)
    made.database.execute(f"drop index {action.object_name}")
    result = made.run(dry_run=True)
    assert not result.success
    assert "the catalogue says absent" in (evaluations(result)["journal_matches_catalogue"].description or "")
    assert made.ledger.actions.get(action.action_id).state == State.VERIFYING


@pytest.fixture
def ooda(ledger: Ledger) -> Iterator[Ooda]:
    """A target with one cycle that began a minute ago and ended."""
    made = Ooda(unreachable(ledger))
    loop = made.loop(NAME)
    then = loop.clock() - timedelta(minutes=1)
    begun = ledger.cycles.begin(NAME, due_at=then, run_id="r", trigger="hand", mode="propose", now=then)
    ledger.cycles.finish(begun.analysis_id, now=then, next_due_at=None, reason="done")
    yield made
    made.ledger.close()


def ended(ooda: Ooda, *states: State, age: timedelta = timedelta(), **columns: object) -> Action:
    """An action that went through `states`, and began `age` ago."""
    spec = IndexSpec("public", "orders", (IndexColumn("customer"),))
    actions = ooda.ledger.actions
    action = actions.propose(NAME, propose_index(spec), by="policy", now=utc_now())
    actions.transition(action.action_id, State.APPROVED, actor="policy")
    actions.transition(action.action_id, State.APPLYING, actor="policy", applying_at=utc_now() - age)
    for state in states:
        action = actions.transition(action.action_id, state, actor="policy")
    actions.note(action.action_id, closed_at=utc_now() - age, **columns)
    return actions.get(action.action_id)


def failed_check(ooda: Ooda) -> dg.AssetCheckResult:
    return _result(no_failed_action, ooda)


def regression_check(ooda: Ooda) -> dg.AssetCheckResult:
    return _result(no_proven_regression, ooda)


def _result(check: Callable[..., dg.AssetCheckResult], ooda: Ooda) -> dg.AssetCheckResult:
    result = check(dg.build_op_context(partition_key=NAME), ooda=ooda)
    assert isinstance(result, dg.AssetCheckResult)
    return result


def test_no_action_at_all_is_fine(ooda: Ooda) -> None:
    assert failed_check(ooda).passed
    assert regression_check(ooda).passed


def test_a_failed_action_is_an_error(ooda: Ooda) -> None:
    action = ended(ooda, State.FAILED, error="disk full")
    check = failed_check(ooda)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    table = str(check.metadata["failed"].value)
    assert action.action_id in table
    assert "disk full" in table


def test_a_failure_of_an_earlier_cycle_is_not_told_for_ever(ooda: Ooda) -> None:
    ended(ooda, State.FAILED, age=timedelta(hours=1))
    assert failed_check(ooda).passed


def test_a_stuck_undo_is_told_until_it_is_mended(ooda: Ooda) -> None:
    ended(ooda, State.APPLIED, State.REVERTING, State.REVERT_FAILED, age=timedelta(days=2))
    assert not failed_check(ooda).passed


@pytest.mark.parametrize("outcome", [Outcome.BETTER, Outcome.INCONCLUSIVE, Outcome.UNATTRIBUTED])
def test_an_action_that_did_not_hurt_is_no_regression(ooda: Ooda, outcome: Outcome) -> None:
    ended(ooda, State.APPLIED, State.VERIFYING, State.KEPT, outcome=outcome, ratio=0.5)
    assert regression_check(ooda).passed


def test_a_proven_regression_is_a_warning_with_its_size(ooda: Ooda) -> None:
    action = ended(ooda, State.APPLIED, State.REVERTING, State.REVERTED, outcome=Outcome.WORSE, ratio=1.5)
    check = regression_check(ooda)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "made things worse: 1, of which still in place: 0"
    table = str(check.metadata["regressions"].value)
    assert action.action_id in table
    assert "| 50.0 |" in table


def test_a_regression_that_could_not_be_undone_is_told_as_such(ooda: Ooda) -> None:
    ended(ooda, State.APPLIED, State.REVERTING, State.REVERT_FAILED, outcome=Outcome.WORSE, ratio=1.5)
    assert regression_check(ooda).description == "made things worse: 1, of which still in place: 1"


def test_a_regression_before_the_last_cycle_is_not_told_again(ooda: Ooda) -> None:
    ended(
        ooda, State.APPLIED, State.REVERTING, State.REVERTED, outcome=Outcome.WORSE, ratio=1.5, age=timedelta(hours=1)
    )
    assert regression_check(ooda).passed
