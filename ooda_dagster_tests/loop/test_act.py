"""Does act apply only what may be applied now, and a person's rollback work in every mode?"""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.act import act
from ooda_dagster.loop.by_hand import approve_action, rollback
from ooda_dagster.targets.base import RefusedError
from ooda_dagster_tests.actions.stage import ON_CUSTOMER, ON_STATUS, Stage, read_elsewhere
from ooda_dagster_tests.loop.ground import nothing_decided, with_settings


def events(ledger: Ledger, target: str) -> list[tuple[str, str, dict[str, object]]]:
    """The audit of a target."""
    query = sa.text("select event, actor, detail from ooda.audit_event where target = :name order by 1, 2")
    with ledger.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query, {"name": target})]  # type: ignore[misc]


def test_approve_mode_applies_what_a_person_approved_and_nothing_else(stage: Stage) -> None:
    loop = with_settings(stage.loop, mode=Mode.APPROVE)
    approved = stage.approved()
    from ooda_dagster.actions.create_index import propose_index

    waiting = stage.ledger.actions.propose(loop.name, propose_index(ON_STATUS), by="policy", now=loop.clock())
    results = act(loop, nothing_decided(loop))
    assert [(r.action_id, r.action_status) for r in results.results] == [(approved.action_id, "Executed")]
    assert stage.now(waiting).state == State.PROPOSED
    assert ON_STATUS.name not in stage.database.indexes()


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.PROPOSE])
def test_a_mode_that_does_not_act_applies_no_approved_action(stage: Stage, mode: Mode) -> None:
    action, loop = stage.approved(), with_settings(stage.loop, mode=mode)
    assert act(loop, nothing_decided(loop)).results == []
    assert stage.now(action).state == State.APPROVED


def test_a_paused_target_applies_nothing_and_says_how_to_go_on(stage: Stage) -> None:
    stage.approved()
    with stage.ledger.engine.begin() as connection:
        connection.execute(
            sa.text("update ooda.target set paused_at = now() where name = :name"), {"name": stage.loop.name}
        )
    (result,) = act(stage.loop, nothing_decided(stage.loop)).results
    assert (result.state, result.note) == (State.APPROVED, "paused: no new action (ooda resume)")


def test_what_is_being_judged_is_left_alone(stage: Stage) -> None:
    first = stage.built()
    stage.approved(ON_STATUS)
    (result,) = act(stage.loop, nothing_decided(stage.loop)).results
    assert result.state == State.APPROVED
    assert result.note == f"waits: what it touches is being judged for action {first.action_id[:8]}"


def test_actions_on_one_table_are_judged_together(stage: Stage) -> None:
    stage.approved()
    stage.approved(ON_STATUS)
    assert act(stage.loop, nothing_decided(stage.loop)).executed_actions == 2
    (verification,) = stage.ledger.verifications.open(stage.loop.name)
    assert {a.change_set_id for a in stage.ledger.actions.list(stage.loop.name)} == {verification.change_set_id}
    assert verification.next_look_at is not None


def test_a_change_set_that_came_to_nothing_is_closed(stage: Stage) -> None:
    stage.approved()
    stage.database.execute("drop table orders")
    (result,) = act(stage.loop, nothing_decided(stage.loop)).results
    assert (result.action_status, result.state) == ("Skipped", State.SUPERSEDED)
    assert stage.ledger.verifications.open(stage.loop.name) == []


def test_a_failed_action_is_told_as_failed(stage: Stage) -> None:
    loop = with_settings(stage.loop, acting={"lock_timeout_s": 0.5, "lock_tries": 1})
    stage.approved()
    with read_elsewhere(stage.database):
        results = act(loop, nothing_decided(loop))
    assert (results.failed_actions, results.results[0].action_status) == (1, "Failed")
    assert "lock timeout" in str(results.results[0].error_message)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_rollback_by_hand_works_in_every_mode(stage: Stage, mode: Mode) -> None:
    action = stage.built()
    outcome = rollback(with_settings(stage.loop, mode=mode), action, by="ann", why="second thoughts")
    assert outcome.action.state == State.REVERTED
    assert outcome.action.revert_reason == "second thoughts"
    assert ON_CUSTOMER.name not in stage.database.indexes()


def test_a_rollback_is_audited_and_in_the_history_of_improvements(stage: Stage) -> None:
    action = stage.built()
    rollback(stage.loop, action, by="ann")
    assert ("rollback", "ann") in [(event, actor) for event, actor, _ in events(stage.ledger, stage.loop.name)]
    (row,) = stage.ledger.actions.improvements(stage.loop.name)
    assert (row["was_deployed"], row["was_rolled_back"]) == (True, True)


def test_what_was_never_applied_cannot_be_rolled_back(stage: Stage) -> None:
    with pytest.raises(RefusedError, match="is approved: there is nothing of it to undo"):
        rollback(stage.loop, stage.approved(), by="ann")


def test_an_approval_is_bound_to_its_statements_and_expires(stage: Stage) -> None:
    approved = stage.approved()
    assert approved.approved_hash == approved.statements_hash
    assert approved.expires_at is not None
    with pytest.raises(ValueError, match="cannot become"):
        approve_action(stage.loop, approved, by="ann")


def test_a_changed_mode_is_audited_and_an_equal_one_is_not(stage: Stage) -> None:
    stage.loop.register()
    with_settings(stage.loop, mode=Mode.PROPOSE).register()
    stage.loop.register()
    modes = [d for event, _, d in events(stage.ledger, stage.loop.name) if event == "mode"]
    assert sorted(modes, key=str) == [
        {"after": "auto", "before": "propose"},
        {"after": "auto", "before": None},
        {"after": "propose", "before": "auto"},
    ]
