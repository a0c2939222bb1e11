"""Does each denial name its rule and what would change its mind, and does policy take back what no longer holds?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Decision, Hypotheses
from ooda_dagster.core.settings import Mode
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.act import act
from ooda_dagster.loop.by_hand import reject_action, rollback
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.decide import decide
from ooda_dagster.loop.hypothesize import hypothesize
from ooda_dagster.loop.observe import observe
from ooda_dagster_tests.loop.ground import begun, make_loop, nothing_decided, with_settings
from ooda_dagster_tests.support import Database, work


@pytest.fixture(scope="module")
def found(busy: Database, books: Ledger, home: Path) -> Hypotheses:
    """What a real turn proposes: one index."""
    work(busy)
    loop = make_loop(busy, books, home, Mode.PROPOSE)
    hypotheses = hypothesize(loop, observe(loop, begun(loop)))
    assert hypotheses.hypotheses_generated == 1
    return hypotheses


def ruled(loop: Loop, hypotheses: Hypotheses) -> Decision:
    """The decision, which the journal holds too."""
    (decision,) = decide(loop, hypotheses).decisions
    action = loop.ledger.actions.get(decision.action_id)
    assert (action.state, action.rule, action.remedy) == (decision.state, decision.rule, decision.remedy)
    return decision


@pytest.mark.parametrize(
    ("mode", "settings", "state", "rule", "remedy"),
    [
        (Mode.PROPOSE, {}, State.PROPOSED, "mode propose: nothing is changed", "set mode = 'approve' or 'auto'"),
        (Mode.APPROVE, {}, State.PENDING_APPROVAL, "a person must approve it", "ooda approvals approve"),
        (Mode.AUTO, {"protected": ["ord*"]}, State.DENIED, "is protected by 'ord*'", "acting.protected"),
        (Mode.AUTO, {"warm_up_h": 24}, State.PROPOSED, "warming up: 0.0 of 24 h", "acting.warm_up_h"),
        (
            Mode.AUTO,
            {"max_indexes_per_table": 1},
            State.DENIED,
            "has 1 indexes already",
            "acting.max_indexes_per_table",
        ),
    ],
)
def test_a_denial_names_its_rule_and_its_remedy(
    shop: Callable[..., Loop],
    found: Hypotheses,
    mode: Mode,
    settings: dict[str, Any],
    state: State,
    rule: str,
    remedy: str,
) -> None:
    decision = ruled(shop(mode, acting=settings), found)
    assert decision.state == state
    assert rule in decision.rule
    assert remedy in decision.remedy


def test_no_room_in_the_index_budget_is_named(shop: Callable[..., Loop], found: Hypotheses) -> None:
    decision = ruled(shop(Mode.AUTO, advice={"index_budget": "100KB"}), found)
    assert (decision.state, decision.rule[:13]) == (State.PROPOSED, "index budget:")
    assert "advice.index_budget" in decision.remedy


def test_a_paused_target_only_proposes(shop: Callable[..., Loop], found: Hypotheses) -> None:
    loop = shop(Mode.AUTO)
    pause(loop)
    assert ruled(loop, found).rule == "paused: no new action"


def pause(loop: Loop) -> None:
    with loop.ledger.engine.begin() as connection:
        query = sa.text("update ooda.target set paused_at = now() where name = :name")
        connection.execute(query, {"name": loop.name})


def test_what_was_undone_is_not_tried_again_for_a_while(shop: Callable[..., Loop], found: Hypotheses) -> None:
    loop = shop(Mode.AUTO)
    act(loop, decide(loop, found))
    (action,) = loop.ledger.actions.list(loop.name)
    rollback(loop, action, by="ann")
    decision = ruled(loop, found)
    assert decision.state == State.DENIED
    assert decision.rule.startswith("the same failed, was undone or rejected at")
    assert "acting.failure_memory_h" in decision.remedy


def test_what_a_person_rejected_stays_rejected_for_a_while(shop: Callable[..., Loop], found: Hypotheses) -> None:
    loop = shop(Mode.APPROVE)
    decide(loop, found)
    (action,) = loop.ledger.actions.list(loop.name)
    reject_action(loop.ledger, action, by="ann", now=loop.clock())
    assert ruled(loop, found).rule.startswith("the same failed, was undone or rejected at")


def test_the_same_denial_is_written_down_once(shop: Callable[..., Loop], found: Hypotheses) -> None:
    loop = shop(Mode.AUTO, acting={"protected": ["orders"]})
    assert ruled(loop, found).action_id == ruled(loop, found).action_id
    assert len(loop.ledger.actions.list(loop.name)) == 1


def test_a_stuck_undo_blocks_its_table_by_name(shop: Callable[..., Loop], found: Hypotheses) -> None:
    loop = shop(Mode.AUTO)
    act(loop, decide(loop, found))
    (action,) = loop.ledger.actions.list(loop.name)
    for state in (State.REVERTING, State.REVERT_FAILED):
        loop.ledger.actions.transition(action.action_id, state, actor="test")
    other = found.hypotheses[0].model_copy(update={"identity": "another"})
    decision = decide(loop, found.model_copy(update={"hypotheses": [other]})).decisions[0]
    assert decision.rule == "an undo on public.orders failed"
    assert "ooda recover" in decision.remedy


def test_policys_approval_ends_with_the_mode_that_gave_it(
    shop: Callable[..., Loop], busy: Database, found: Hypotheses
) -> None:
    loop = shop(Mode.AUTO)
    approved = decide(loop, found).decisions[0]
    lowered = with_settings(loop, mode=Mode.APPROVE)
    withdrawn = decide(lowered, found)
    assert withdrawn.decisions[0].state == State.EXPIRED
    act(lowered, withdrawn)
    assert loop.ledger.actions.get(approved.action_id).state == State.EXPIRED
    assert list(busy.indexes()) == ["orders_pkey"]
    assert decide(lowered, found).decisions[0].state == State.PENDING_APPROVAL


def test_policys_approval_ends_where_a_table_becomes_protected(
    shop: Callable[..., Loop], busy: Database, found: Hypotheses
) -> None:
    loop = shop(Mode.AUTO)
    decide(loop, found)
    guarded = with_settings(loop, acting={"protected": ["orders"]})
    act(guarded, decide(guarded, found))
    assert list(busy.indexes()) == ["orders_pkey"]


def test_policys_approval_is_not_used_where_the_cycle_does_not_repeat_it(
    shop: Callable[..., Loop], busy: Database, found: Hypotheses
) -> None:
    loop = shop(Mode.AUTO)
    decide(loop, found)
    (result,) = act(loop, nothing_decided(loop)).results
    assert (result.state, list(busy.indexes())) == (State.APPROVED, ["orders_pkey"])
    assert "this one did not find it again" in result.note
    (result,) = act(loop, decide(loop, found)).results
    assert result.state == State.VERIFYING


def test_an_approval_that_nobody_uses_expires(shop: Callable[..., Loop], found: Hypotheses) -> None:
    loop = shop(Mode.APPROVE)
    pending = ruled(loop, found)
    later = replace(loop, clock=lambda: loop.clock() + timedelta(hours=169))
    act(later, nothing_decided(later))
    expired = loop.ledger.actions.get(pending.action_id)
    assert expired.state == State.EXPIRED
    assert loop.ledger.actions.history(expired.action_id)[-1]["reason"] == "nobody used it in time"
