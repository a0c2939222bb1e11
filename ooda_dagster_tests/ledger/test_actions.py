"""Is a proposal entered once, is each transition one row of the journal, and is an approval bound to its statements?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ooda_dagster.core.chain import statements_hash
from ooda_dagster.core.journal import TRANSITIONS, IllegalTransitionError, State
from ooda_dagster.ledger import Action, Ledger, UnknownActionError
from ooda_dagster_tests.ledger.ground import MINUTE, NOW, ask, proposal, register


def propose(ledger: Ledger, *, by: str = "loop", target: str = "t", now: Any = NOW, **values: Any) -> Action:
    return ledger.actions.propose(target, proposal(**values), by=by, now=now)


def move(ledger: Ledger, action: Action, *states: State) -> Action:
    for state in states:
        action = ledger.actions.transition(action.action_id, state, actor="ann")
    return action


def journal(ledger: Ledger, action: Action) -> list[tuple[str | None, str]]:
    return [(row["from_state"], row["to_state"]) for row in ledger.actions.history(action.action_id)]


def test_a_proposal_is_entered_with_its_first_row(known: Ledger) -> None:
    action = propose(known)
    assert (action.state, action.proposed_by, action.proposed_at) == (State.PROPOSED, "loop", NOW)
    assert journal(known, action) == [(None, "proposed")]
    assert known.actions.history(action.action_id)[0]["detail"] == {"statements_hash": action.statements_hash}


def test_an_equal_proposal_that_waits_is_renewed_and_not_entered_twice(known: Ledger) -> None:
    first = propose(known, analysis_id="a1", priority=2, predicted={"bytes": 1})
    again = propose(known, analysis_id="a2", priority=4, predicted={"bytes": 2}, now=NOW + MINUTE)
    assert (again.action_id, again.analysis_id, again.priority, again.predicted) == (
        first.action_id,
        "a2",
        4,
        {"bytes": 2},
    )
    assert again.proposed_at == NOW
    assert journal(known, again) == [(None, "proposed")]


def test_a_renewal_takes_over_what_is_known_by_now(known: Ledger) -> None:
    propose(known, description="Analyse orders: 5000 rows changed", spec={"known": "2026-03-01T11:00:00+00:00"})
    newest = {"description": "Analyse orders: 9000 rows changed", "spec": {"known": "2026-03-01T12:00:00+00:00"}}
    again = propose(known, **newest)
    assert (again.description, again.spec) == (newest["description"], newest["spec"])


def test_a_renewal_changes_no_statement(known: Ledger) -> None:
    first = propose(known)
    again = propose(known, statements=["CREATE INDEX other ON orders (customer)"], priority=5)
    assert (again.action_id, again.statements, again.priority) == (first.action_id, first.statements, None)


def test_a_person_s_proposal_is_not_taken_over_by_the_loop(known: Ledger) -> None:
    mine = propose(known, by="ann", priority=None)
    found = propose(known, by="loop", priority=4, analysis_id="a1")
    assert (found.action_id, found.proposed_by, found.priority, found.analysis_id) == (
        mine.action_id,
        "ann",
        None,
        None,
    )


@pytest.mark.parametrize("path", [(State.APPROVED, State.APPLYING), (State.APPROVED, State.APPLYING, State.APPLIED)])
def test_an_action_that_is_being_done_or_judged_is_returned_as_it_is(known: Ledger, path: tuple[State, ...]) -> None:
    first = move(known, propose(known), *path)
    again = propose(known, priority=5)
    assert (again.action_id, again.state, again.priority) == (first.action_id, path[-1], None)


@pytest.mark.parametrize("path", [(State.DENIED,), (State.APPROVED, State.APPLYING, State.FAILED)])
def test_an_action_that_ended_does_not_stand_in_the_way(known: Ledger, path: tuple[State, ...]) -> None:
    first = move(known, propose(known), *path)
    assert propose(known).action_id != first.action_id


def test_equal_proposals_at_once_become_one_action(known: Ledger) -> None:
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(lambda n: propose(known, analysis_id=str(n)), range(10)))
    assert len({action.action_id for action in found}) == 1
    assert journal(known, found[0]) == [(None, "proposed")]


def test_targets_have_proposals_of_their_own(known: Ledger) -> None:
    register(known, "u")
    assert propose(known).action_id != propose(known, target="u").action_id


def test_a_transition_writes_the_state_its_columns_and_one_row(known: Ledger) -> None:
    action = propose(known)
    known.actions.transition(
        action.action_id,
        State.APPROVED,
        actor="ann",
        reason="looks good",
        detail={"k": 1},
        decided_by="ann",
        decided_at=NOW,
    )
    moved = known.actions.get(action.action_id)
    assert (moved.state, moved.decided_by, moved.decided_at) == (State.APPROVED, "ann", NOW)
    row = known.actions.history(action.action_id)[-1]
    assert (row["from_state"], row["to_state"], row["actor"], row["reason"], row["detail"], row["target"]) == (
        "proposed", "approved", "ann", "looks good", {"k": 1}, "t",
    )  # fmt: skip
    assert row["at"].tzinfo is not None


def test_a_transition_whose_row_cannot_be_written_does_not_happen(ledger: Ledger) -> None:
    register(ledger)
    action = propose(ledger)
    ask(ledger, "alter table ooda.journal add constraint never check (to_state <> 'approved')")
    with pytest.raises(Exception, match="never"):
        move(ledger, action, State.APPROVED)
    assert ledger.actions.get(action.action_id).state == State.PROPOSED


def test_an_illegal_transition_writes_nothing(known: Ledger) -> None:
    action = propose(known)
    for state in set(State) - TRANSITIONS[State.PROPOSED]:
        with pytest.raises(IllegalTransitionError, match="proposed cannot become"):
            known.actions.transition(action.action_id, state, actor="ann", error="no")
    assert journal(known, action) == [(None, "proposed")]
    assert known.actions.get(action.action_id).error is None


def test_of_two_that_would_apply_at_once_one_does(known: Ledger) -> None:
    action = move(known, propose(known), State.APPROVED)

    def attempt(_: int) -> bool:
        try:
            return bool(move(known, action, State.APPLYING))
        except IllegalTransitionError:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(attempt, range(4))) == 1
    assert journal(known, action)[-1] == ("approved", "applying")


def test_an_approval_is_bound_to_the_exact_statements_and_their_undo() -> None:
    base = statements_hash(["a", "b"], ["c"])
    assert base == statements_hash(("a", "b"), ("c",))
    others = [(["a"], ["b", "c"]), (["a", "b"], ["d"]), (["b", "a"], ["c"]), (["a b"], ["c"]), (["a", "b "], ["c"])]
    assert base not in {statements_hash(*other) for other in others}


def test_an_action_keeps_the_hash_of_what_was_proposed(known: Ledger) -> None:
    action = propose(known)
    assert action.statements_hash == statements_hash(action.statements, action.undo)


def test_an_action_is_found_by_a_unique_beginning_of_its_id(known: Ledger) -> None:
    one, two = propose(known), propose(known, identity="other")
    assert known.actions.get(one.action_id[:13]).action_id == one.action_id
    with pytest.raises(UnknownActionError, match="more than one"):
        known.actions.get("")
    for nothing in ("zzz", "%", "_" * len(two.action_id)):
        with pytest.raises(UnknownActionError, match="no action begins"):
            known.actions.get(nothing)


def test_a_note_is_no_transition(known: Ledger) -> None:
    action = propose(known)
    known.actions.note(action.action_id, backend_pid=7, prior_state={"rows": 3})
    noted = known.actions.get(action.action_id)
    assert (noted.backend_pid, noted.prior_state) == (7, {"rows": 3})
    assert journal(known, action) == [(None, "proposed")]


def test_actions_are_listed_oldest_first_and_a_limit_keeps_the_newest(known: Ledger) -> None:
    for n in range(5):
        propose(known, identity=f"i{n}", now=NOW + n * MINUTE)
    assert [a.identity for a in known.actions.list("t")] == ["i0", "i1", "i2", "i3", "i4"]
    assert [a.identity for a in known.actions.list("t", limit=2)] == ["i3", "i4"]
    assert known.actions.list("u") == []


def test_more_than_a_thousand_actions_are_all_told(known: Ledger) -> None:
    """Policy counts what was done today and remembers what was undone: it must see the newest."""
    propose(known, identity="first")
    ask(
        known,
        "insert into ooda.action (action_id, target, action_type, identity, state, description, statements_hash, "
        "proposed_at, proposed_by) select 'x' || g, 't', 'x', 'i' || g, 'denied', '', '', cast(:now as timestamptz) "
        "+ g * interval '1 second', 'x' from generate_series(1, 1200) g",
        now=NOW,
    )
    found = known.actions.list("t")
    assert len(found) == 1201
    assert found[-1].identity == "i1200"


def test_actions_are_listed_by_state_and_by_when_they_changed_the_target(known: Ledger) -> None:
    done = move(known, propose(known, identity="done"), State.APPROVED, State.APPLYING)
    known.actions.note(done.action_id, applying_at=NOW)
    propose(known, identity="waits")
    assert [a.identity for a in known.actions.list("t", states=(State.APPLYING,))] == ["done"]
    assert [a.identity for a in known.actions.list("t", since=NOW - MINUTE)] == ["done"]
    assert known.actions.list("t", since=NOW + MINUTE) == []


def test_what_ended_is_learned_once(known: Ledger) -> None:
    failed = move(known, propose(known), State.APPROVED, State.APPLYING, State.FAILED)
    propose(known, identity="waits")
    assert [a.action_id for a in known.actions.unlearned("t", "a1")] == [failed.action_id]
    known.actions.learned([failed.action_id], "a1")
    assert known.actions.unlearned("t", "a2") == []
    assert known.actions.get(failed.action_id).learned_in == "a1"
