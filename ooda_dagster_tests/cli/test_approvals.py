"""`ooda approvals`, `ooda pause`, `ooda resume`: what a person allows, refuses and stops is journalled and audited."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from ooda_dagster.actions.create_index import propose_index
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.journal import State
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.ledger.tables import audit_event
from ooda_dagster_tests.cli.conftest import Run


@pytest.fixture
def waiting(configured: Callable[..., None], ledger: Ledger) -> Callable[..., Action]:
    """Enters an action in a state: `waiting(State.PENDING_APPROVAL, column="customer")`."""

    def make(state: State = State.PENDING_APPROVAL, column: str = "customer", mode: str = "approve") -> Action:
        configured(mode=mode)
        now = datetime.now(UTC)
        ledger.cycles.register("shop", kind="postgres", mode=mode, now=now)
        proposal = propose_index(IndexSpec.on("public", "orders", column), predicted={"bytes": 1 << 20})
        action = ledger.actions.propose("shop", proposal, by="policy", now=now)
        steps = {
            State.PROPOSED: [],
            State.DENIED: [State.DENIED],
            State.APPROVED: [State.APPROVED],
            State.APPLYING: [State.APPROVED, State.APPLYING],
        }.get(state, [State.PENDING_APPROVAL])
        for step in steps:
            action = ledger.actions.transition(action.action_id, step, actor="policy")
        return action

    return make


def audited(ledger: Ledger) -> list[tuple[str, dict[str, Any]]]:
    with ledger.engine.connect() as connection:
        rows = connection.execute(sa.select(audit_event).order_by(audit_event.c.event_id)).mappings()
        return [(row["event"], row["detail"]) for row in rows if row["event"] not in ("mode", "policy")]


def test_what_waits_is_shown_with_its_statements_and_undo(ooda: Run, waiting: Callable[..., Action]) -> None:
    action = waiting()
    ran = ooda("approvals", "list")

    assert ran.code == 0
    assert f"{action.action_id[:8]}  shop  pending_approval" in ran.out
    assert f"    does  {action.statements[0]};" in ran.out.splitlines()
    assert f"    undo  {action.undo[0]};" in ran.out.splitlines()
    assert f"    hash  {action.statements_hash[:16]}" in ran.out.splitlines()


def test_the_list_as_json(ooda: Run, waiting: Callable[..., Action]) -> None:
    action = waiting()

    assert [a["action_id"] for a in ooda("approvals", "list", "--json").json["approvals"]] == [action.action_id]
    assert ooda("approvals", "list", "--target", "other", "--json").json["approvals"] == []


def test_an_approval_is_bound_to_the_statements(ooda: Run, waiting: Callable[..., Action], ledger: Ledger) -> None:
    action = waiting()
    ran = ooda("approvals", "approve", action.action_id[:8], "--why", "needed", "--json")

    assert ran.code == 0, ran.err
    assert ran.json["action"]["state"] == "approved"
    after = ledger.actions.get(action.action_id)
    assert after.approved_hash == after.statements_hash
    assert after.expires_at is not None
    assert after.expires_at > datetime.now(UTC)
    assert audited(ledger) == [
        ("approved", {"action_id": action.action_id, "statements_hash": action.statements_hash, "why": "needed"})
    ]


@pytest.mark.parametrize(("digest", "code"), [("right", 0), ("0" * 16, 4), ("", 4)])
def test_an_approval_can_insist_on_what_was_read(
    digest: str, code: int, ooda: Run, waiting: Callable[..., Action]
) -> None:
    action = waiting()
    wanted = action.statements_hash[:16] if digest == "right" else digest

    assert ooda("approvals", "approve", action.action_id, "--hash", wanted).code == code


def test_a_proposal_can_be_approved_and_waits_for_the_mode(ooda: Run, waiting: Callable[..., Action]) -> None:
    action = waiting(State.PROPOSED, mode="propose")
    ran = ooda("approvals", "approve", action.action_id[:8])

    assert ran.code == 0
    assert "is in mode propose: it waits until the mode is approve or auto" in ran.out


@pytest.mark.parametrize("state", [State.DENIED, State.APPROVED, State.APPLYING])
def test_what_cannot_be_approved_is_refused(
    state: State, ooda: Run, waiting: Callable[..., Action], ledger: Ledger
) -> None:
    action = waiting(state)
    ran = ooda("approvals", "approve", action.action_id)

    assert ran.code == 4
    assert f"is {state}; only one that is" in ran.err
    assert ledger.actions.get(action.action_id).state == state
    assert audited(ledger) == []


@pytest.mark.parametrize("state", [State.PROPOSED, State.PENDING_APPROVAL, State.APPROVED])
def test_a_rejection_is_final_and_audited(
    state: State, ooda: Run, waiting: Callable[..., Action], ledger: Ledger
) -> None:
    action = waiting(state)
    ran = ooda("approvals", "reject", action.action_id[:8], "--why", "not now", "--json")

    assert ran.code == 0, ran.err
    after = ledger.actions.get(action.action_id)
    assert (after.state, after.rule, after.approved_hash) == (State.REJECTED, "rejected by a person", None)
    assert ledger.actions.history(action.action_id)[-1]["reason"] == "not now"
    assert audited(ledger) == [
        ("rejected", {"action_id": action.action_id, "statements_hash": action.statements_hash, "why": "not now"})
    ]
    assert ooda("approvals", "approve", action.action_id).code == 4


def test_what_is_being_applied_cannot_be_rejected(ooda: Run, waiting: Callable[..., Action]) -> None:
    action = waiting(State.APPLYING)

    assert ooda("approvals", "reject", action.action_id).code == 4


def test_an_action_that_is_not_there_is_a_usage_error(ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    ran = ooda("approvals", "approve", "ffff")

    assert ran.code == 2
    assert "no action begins with 'ffff'" in ran.err


def test_nothing_waits(ooda: Run, configured: Callable[..., None]) -> None:
    configured()

    assert ooda("approvals", "list").out.strip() == "Nothing waits."


def test_a_pause_is_kept_audited_and_lifted(ooda: Run, configured: Callable[..., None], ledger: Ledger) -> None:
    configured()
    first = ooda("pause", "--target", "shop", "--why", "release", "--json").json
    again = ooda("pause", "-t", "shop", "--json").json

    assert (first["changed"], again["changed"]) == (True, False)
    assert first["paused_at"] == again["paused_at"] is not None
    assert ooda("resume", "-t", "shop", "--json").json == {
        "schema_version": 1,
        "target": "shop",
        "paused_at": None,
        "changed": True,
    }
    assert (ledger.cycles.registered("shop") or {})["paused_at"] is None
    assert audited(ledger) == [("paused", {"why": "release"}), ("resumed", {"why": ""})]


def test_a_pause_says_how_to_lift_it(ooda: Run, configured: Callable[..., None]) -> None:
    configured()

    assert "`ooda resume -t shop` lifts it" in ooda("pause", "-t", "shop").out
    assert "acted on again" in ooda("resume", "-t", "shop").out
    assert "was not paused" in ooda("resume", "-t", "shop").out


def test_pausing_an_unknown_target_names_the_nearest(ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    ran = ooda("pause", "-t", "shopp")

    assert ran.code == 2
    assert "did you mean 'shop'?" in ran.err


def test_the_status_tells_of_a_pause(ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    ooda("pause", "-t", "shop")

    assert "paused" in ooda("status").out
    assert ooda("status", "--json").json["targets"][0]["paused_at"] is not None
