"""Does one action that cannot go on now keep others from theirs?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from ooda_dagster.actions import recovery
from ooda_dagster.actions.base import Applied
from ooda_dagster.actions.create_index import CreateIndex
from ooda_dagster.actions.recovery import recover
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action
from ooda_dagster.loop.by_hand import reject_action
from ooda_dagster.targets.base import Acting, RefusedError, TargetError
from ooda_dagster_tests.actions.dying import dying_after
from ooda_dagster_tests.actions.stage import ON_CUSTOMER, ON_STATUS, Stage
from ooda_dagster_tests.support import open_transaction


class Unsigned(CreateIndex):
    """Whose objects cannot be signed."""

    def adopt(self, action: Action, session: Acting, settings: Settings) -> Applied:
        raise TargetError("acting: permission denied for table orders (42501)")


def test_what_recovery_cannot_settle_is_named_and_the_rest_is_settled(stage: Stage) -> None:
    undone, dying = stage.built(ON_STATUS), stage.approved(ON_CUSTOMER)
    dying_after(1, stage, dying)
    stage.ledger.actions.transition(undone.action_id, State.REVERTING, actor="ann")
    said: list[str] = []
    with pytest.raises(RefusedError, match=f"{ON_CUSTOMER.name}.*permission denied"):
        recover(
            stage.loop.target, stage.ledger, stage.loop.settings, say=said.append, types={CreateIndex.name: Unsigned()}
        )
    assert said == [f"{ON_STATUS.name}: its undo was finished"]
    assert stage.now(undone).state == State.REVERTED
    assert stage.now(dying).state == State.APPLYING
    assert len(stage.recover()) == 1
    assert stage.now(dying).state == State.VERIFYING


def test_what_a_person_rejects_while_another_is_built_is_not_applied(stage: Stage) -> None:
    first, second = stage.approved(ON_CUSTOMER), stage.approved(ON_STATUS)

    def reject(line: str) -> None:
        if line.endswith(" ...") and stage.now(second).state == State.APPROVED:
            reject_action(stage.ledger, stage.now(second), by="bob", now=stage.loop.clock())

    built, rejected = stage.executor(say=reject).apply([first, second])
    assert built.done
    assert (rejected.action.state, rejected.note) == (State.REJECTED, "it is rejected by now")
    assert ON_STATUS.name not in stage.definitions()


def test_an_undo_that_lost_its_lock_is_tried_again_by_recovery(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = stage.with_acting(lock_timeout_s=0.3, lock_tries=1)
    action = hasty.built()
    with open_transaction(stage.database.app, "select count(*) from orders"):
        assert hasty.rollback(action).action.state == State.REVERT_FAILED
    assert stage.recover() == []
    monkeypatch.setattr(recovery, "RETRY_UNDO_AFTER", timedelta(0))
    (line,) = stage.recover()
    assert "its undo was finished" in line
    assert stage.now(action).state == State.REVERTED
    assert ON_CUSTOMER.name not in stage.definitions()
