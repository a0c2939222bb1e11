"""The life of an action: which states there are, and which may follow which.

The journal writes each transition in one transaction, before the deed that it announces (`applying` before the DDL,
`reverting` before the undo). The verdict is a column of the action, not a state.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """State of an action."""

    PROPOSED = "proposed"
    DENIED = "denied"
    PENDING_APPROVAL = "pending_approval"
    REJECTED = "rejected"
    EXPIRED = "expired"
    APPROVED = "approved"
    SUPERSEDED = "superseded"
    APPLYING = "applying"
    FAILED = "failed"
    APPLIED = "applied"
    VERIFYING = "verifying"
    KEPT = "kept"
    INCONCLUSIVE = "inconclusive"
    REVERTING = "reverting"
    REVERTED = "reverted"
    REVERT_FAILED = "revert_failed"


_S = State

#: From each state, what may follow. A state without successors is final.
TRANSITIONS: dict[State, frozenset[State]] = {
    _S.PROPOSED: frozenset({_S.DENIED, _S.PENDING_APPROVAL, _S.APPROVED, _S.REJECTED, _S.SUPERSEDED, _S.EXPIRED}),
    _S.DENIED: frozenset(),
    _S.PENDING_APPROVAL: frozenset({_S.APPROVED, _S.REJECTED, _S.EXPIRED, _S.SUPERSEDED}),
    _S.REJECTED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.APPROVED: frozenset({_S.APPLYING, _S.SUPERSEDED, _S.EXPIRED, _S.REJECTED}),
    _S.SUPERSEDED: frozenset(),
    _S.APPLYING: frozenset({_S.APPLIED, _S.FAILED}),
    _S.FAILED: frozenset(),
    _S.APPLIED: frozenset({_S.VERIFYING, _S.REVERTING}),
    _S.VERIFYING: frozenset({_S.KEPT, _S.INCONCLUSIVE, _S.REVERTING}),
    _S.KEPT: frozenset({_S.REVERTING}),
    _S.INCONCLUSIVE: frozenset({_S.REVERTING}),
    _S.REVERTING: frozenset({_S.REVERTED, _S.REVERT_FAILED}),
    _S.REVERTED: frozenset(),
    _S.REVERT_FAILED: frozenset({_S.REVERTING}),
}

#: Nothing of these is in the target.
NEVER_APPLIED = frozenset(
    {_S.PROPOSED, _S.DENIED, _S.PENDING_APPROVAL, _S.REJECTED, _S.EXPIRED, _S.APPROVED, _S.SUPERSEDED}
)
#: What the action made should be in the target now.
LIVE = frozenset({_S.APPLIED, _S.VERIFYING, _S.KEPT, _S.INCONCLUSIVE})
#: A process announced a deed; only it, or recovery, may go on from here.
IN_FLIGHT = frozenset({_S.APPLYING, _S.REVERTING})
#: Still being judged.
OPEN = frozenset({_S.APPLYING, _S.APPLIED, _S.VERIFYING, _S.REVERTING})
#: Waiting for somebody: an equal proposal is not made again.
WAITING = frozenset({_S.PROPOSED, _S.PENDING_APPROVAL, _S.APPROVED})


class IllegalTransitionError(ValueError):
    """A transition that the life of an action does not have."""

    def __init__(self, before: State, after: State) -> None:
        super().__init__(f"an action that is {before} cannot become {after}")
        self.before, self.after = before, after


def check_transition(before: State, after: State) -> None:
    """Raise IllegalTransitionError unless `after` may follow `before`."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransitionError(before, after)
