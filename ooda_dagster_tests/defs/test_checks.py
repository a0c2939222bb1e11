"""Do the checks speak when something is wrong, and only then? Does the one that blocks keep the loop from acting?"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest

from ooda_dagster.actions.create_index import propose_index
from ooda_dagster.config.servers import OBSERVE_ROLE
from ooda_dagster.core.indexes import IndexColumn, IndexSpec
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Observation
from ooda_dagster.core.seen import BlindSpot
from ooda_dagster.core.settings import Mode
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.defs.build import build_definitions
from ooda_dagster.defs.checks import (
    alive_key,
    loop_is_alive,
    no_failed_action,
    no_proven_regression,
    target_fully_visible,
)
from ooda_dagster.defs.names import Names
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.loop import by_hand
from ooda_dagster.loop.context import utc_now
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.defs.ground import NAME, QUIET, Ground, records, unreachable


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
    short = action.action_id[:8]
    assert check.description == f"1 failed, 0 cannot be undone. Remedy: ooda actions show {short}"
    (row,) = records(check.metadata["failed"])
    assert (row["action"], row["state"], row["error"]) == (short, "failed", "disk full")


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
    remedy = "Remedy: none needed, all was undone"
    assert check.description == f"made things worse: 1, of which still in place: 0. {remedy}"
    (row,) = records(check.metadata["regressions"])
    assert (row["action"], row["effect_pct"]) == (action.action_id[:8], 50.0)


@pytest.mark.parametrize(
    ("low", "severity"),
    [(1.49, dg.AssetCheckSeverity.WARN), (1.5, dg.AssetCheckSeverity.ERROR), (0.98, dg.AssetCheckSeverity.WARN)],
)
def test_the_proven_size_of_a_regression_makes_its_severity(
    ooda: Ooda, low: float, severity: dg.AssetCheckSeverity
) -> None:
    """Not its likely size: three times the work by two blocks proves little."""
    sizes = {"outcome": Outcome.WORSE, "ratio": 3.0, "ratio_low": low, "ratio_high": 9.0}
    ended(ooda, State.APPLIED, State.REVERTING, State.REVERTED, **sizes)  # type: ignore[arg-type]
    check = regression_check(ooda)
    assert (check.passed, check.severity) == (False, severity)
    assert ("by 50 % or more: 1" in str(check.description)) == (severity == dg.AssetCheckSeverity.ERROR)
    (row,) = records(check.metadata["regressions"])
    assert row["proven_pct"] == pytest.approx(max(100 * (low - 1), 0), abs=0.1)


def test_a_target_s_setting_says_what_is_severe(ooda: Ooda) -> None:
    sizes = {"outcome": Outcome.WORSE, "ratio": 1.3, "ratio_low": 1.2, "ratio_high": 1.4}
    ended(ooda, State.APPLIED, State.VERIFYING, **sizes)  # type: ignore[arg-type]
    assert regression_check(ooda).severity == dg.AssetCheckSeverity.WARN
    target = ooda.config.target(NAME)
    learning = target.settings.learning.model_copy(update={"severe_regression_pct": 20})
    strict = replace(target, settings=target.settings.model_copy(update={"learning": learning}))
    stricter = Ooda(replace(ooda.config, targets={NAME: strict}))
    assert regression_check(stricter).severity == dg.AssetCheckSeverity.ERROR
    stricter.ledger.close()


def test_a_regression_that_could_not_be_undone_is_told_as_such(ooda: Ooda) -> None:
    action = ended(ooda, State.APPLIED, State.REVERTING, State.REVERT_FAILED, outcome=Outcome.WORSE, ratio=1.5)
    remedy = f"Remedy: ooda actions rollback {action.action_id[:8]}"
    assert regression_check(ooda).description == f"made things worse: 1, of which still in place: 1. {remedy}"


def test_a_regression_that_is_left_in_place_is_told_until_it_is_gone(ooda: Ooda) -> None:
    """In a mode that does not act, nobody undoes it."""
    columns = {"outcome": Outcome.WORSE, "ratio": 1.5, "age": timedelta(days=3)}
    ended(ooda, State.APPLIED, State.VERIFYING, **columns)  # type: ignore[arg-type]
    assert not regression_check(ooda).passed


def test_a_regression_before_the_last_cycle_is_not_told_again(ooda: Ooda) -> None:
    ended(
        ooda, State.APPLIED, State.REVERTING, State.REVERTED, outcome=Outcome.WORSE, ratio=1.5, age=timedelta(hours=1)
    )
    assert regression_check(ooda).passed


def observed(ooda: Ooda, *blind: BlindSpot) -> None:
    common = {"target": NAME, "timestamp": utc_now(), "mode": Mode.PROPOSE, "lookback_hours": 24}
    message = Observation(analysis_id=str(uuid.uuid4()), blind_spots=list(blind), **common)  # type: ignore[arg-type]
    ooda.ledger.messages.store(message, "r")


def test_what_was_never_observed_is_not_called_visible(ooda: Ooda) -> None:
    check = _result(target_fully_visible, ooda)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "nothing was observed yet. Remedy: run the job ooda_cycle"


def test_what_the_newest_observation_could_not_see_is_named_with_its_remedies(ooda: Ooda) -> None:
    observed(ooda)
    assert _result(target_fully_visible, ooda).passed
    grant = "GRANT pg_monitor TO o;"
    observed(ooda, *(BlindSpot(what=w, why="no right", remedy=grant) for w in ("sessions", "sizes")))
    check = _result(target_fully_visible, ooda)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == f"not seen: sessions; sizes. Remedy: {grant}"
    assert records(check.metadata["blind_spots"])[0] == {"what": "sessions", "why": "no right", "remedy": grant}


def test_a_right_that_was_revoked_shows_in_the_next_cycle_and_a_grant_mends_it(shop: Callable[[Mode], Ground]) -> None:
    made = shop(Mode.PROPOSE)
    revoke = f"revoke pg_monitor, pg_read_all_data from {OBSERVE_ROLE}"
    made.database.execute(revoke)
    try:
        check = evaluations(made.run(["observations"]))["target_fully_visible"]
        assert not check.passed
        assert f"GRANT pg_monitor TO {OBSERVE_ROLE};" in (check.description or "")
        assert check.partition == NAME
    finally:
        made.database.execute(f"grant pg_monitor, pg_read_all_data to {OBSERVE_ROLE}")
    check = evaluations(made.run(["observations"]))["target_fully_visible"]
    assert check.passed, check.description


def test_a_loop_that_stands_still_is_a_warning_with_its_evidence(ooda: Ooda) -> None:
    ooda.ledger.cycles.request(NAME, utc_now() - timedelta(hours=1), "verification open")
    check = _result(loop_is_alive, ooda)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "Remedy: is the Dagster daemon running" in (check.description or "")
    (line,) = [r for r in records(check.metadata["evidence"]) if not r["ok"]]
    assert line["what"] == "next cycle due"
    ooda.ledger.cycles.request(NAME, utc_now(), "verification open")
    assert _result(loop_is_alive, ooda).passed


def test_a_person_can_run_the_check_of_life_alone(shop: Callable[[Mode], Ground]) -> None:
    """Without its asset, as the UI does; no cycle is begun by it."""
    made = shop(Mode.PROPOSE)
    made.loop.register()
    definitions = build_definitions(made.config)
    job = dg.define_asset_job("alone", dg.AssetSelection.checks(alive_key(Names())))
    alone = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])).resolve_job_def("alone")
    tags = {"dagster/partition": NAME}
    result = alone.execute_in_process(instance=made.instance, tags=tags, run_config=QUIET)
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.partition) == ("loop_is_alive", True, NAME)
    assert made.cycles == []
