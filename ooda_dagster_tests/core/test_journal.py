"""Does the life of an action have exactly the transitions of the design, and no others?"""

from __future__ import annotations

from itertools import product

import pytest

from ooda_dagster.core.journal import (
    IN_FLIGHT,
    LIVE,
    NEVER_APPLIED,
    OPEN,
    TRANSITIONS,
    WAITING,
    IllegalTransitionError,
    State,
    check_transition,
)

#: The picture of docs and design, line by line.
PICTURE = """
proposed > denied
proposed > pending_approval
pending_approval > rejected
pending_approval > expired
proposed > approved
pending_approval > approved
approved > superseded
approved > applying
applying > failed
applying > applied
applied > verifying
verifying > kept
verifying > inconclusive
verifying > reverting
kept > reverting
reverting > reverted
reverting > revert_failed
"""
#: What the picture leaves out, and why it must be.
BESIDE_THE_PICTURE = """
proposed > rejected
proposed > superseded
proposed > expired
pending_approval > superseded
approved > expired
approved > rejected
applied > reverting
inconclusive > reverting
revert_failed > reverting
"""


def _pairs(text: str) -> set[tuple[State, State]]:
    return {(State(before), State(after)) for before, after in (line.split(" > ") for line in text.split("\n") if line)}


LEGAL = _pairs(PICTURE) | _pairs(BESIDE_THE_PICTURE)
FINAL = {State.DENIED, State.REJECTED, State.EXPIRED, State.SUPERSEDED, State.FAILED, State.REVERTED}


def _is_legal(before: State, after: State) -> bool:
    try:
        check_transition(before, after)
    except IllegalTransitionError:
        return False
    return True


def test_a_transition_is_legal_exactly_where_the_picture_has_it() -> None:
    assert {pair for pair in product(State, State) if _is_legal(*pair)} == LEGAL


def test_an_illegal_transition_is_told_by_its_states() -> None:
    with pytest.raises(IllegalTransitionError, match=r"an action that is denied cannot become applying$"):
        check_transition(State.DENIED, State.APPLYING)


def test_final_states_are_those_from_which_nothing_follows() -> None:
    assert {state for state in State if not TRANSITIONS[state]} == FINAL


def test_every_state_can_be_reached_from_proposed() -> None:
    reached = {State.PROPOSED}
    while new := {after for state in reached for after in TRANSITIONS[state]} - reached:
        reached |= new
    assert reached == set(State)


def test_nothing_comes_to_the_target_without_being_approved_and_announced() -> None:
    entrances = {(b, a) for b, a in LEGAL if b in NEVER_APPLIED and a not in NEVER_APPLIED}
    assert entrances == {(State.APPROVED, State.APPLYING)}


def test_nothing_leaves_the_target_without_an_announced_undo() -> None:
    gone = {State.REVERTED, State.REVERT_FAILED}
    assert {b for b, a in LEGAL if a in gone} == {State.REVERTING}
    assert all(State.REVERTING in TRANSITIONS[state] for state in LIVE)


def test_every_state_is_told_apart_by_what_is_in_the_target() -> None:
    settled = {State.FAILED, State.REVERTED, State.REVERT_FAILED}
    groups = (NEVER_APPLIED, LIVE, IN_FLIGHT, settled)
    assert sorted(s for group in groups for s in group) == sorted(State)


def test_waiting_states_were_never_applied_and_open_ones_can_still_be_undone_or_fail() -> None:
    assert WAITING <= NEVER_APPLIED - FINAL
    assert {State.APPLIED, State.VERIFYING} == LIVE & OPEN
    assert IN_FLIGHT <= OPEN
