"""What a type needs of the ledger to do its deed, and the journal must not hold; and its own look before the deed.

It is handed over in `prior_state["given"]` of a copy of the action, which is never written back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, cast

from ooda_dagster.actions.base import ActionType, Say
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.targets.base import Acting


class _Taking(Protocol):
    """What a type has besides that needs such things."""

    def given(self, action: Action, ledger: Ledger, say: Say) -> Any:
        """What it is handed."""
        ...

    def ready(self, action: Action, session: Acting, settings: Settings) -> None:
        """A last look by the role that acts. Raises SupersededError, or TargetError where it must not be done now."""
        ...


def _taking(kind: ActionType) -> _Taking | None:
    return cast(_Taking, kind) if hasattr(kind, "given") else None


def with_given(action: Action, kind: ActionType, ledger: Ledger, say: Say = lambda _: None) -> Action:
    """An action as its type sees it. Other types than those that need something see it as it is."""
    taking = _taking(kind)
    if taking is None:
        return action
    return replace(action, prior_state={**action.prior_state, "given": taking.given(action, ledger, say)})


def check_ready(action: Action, kind: ActionType, session: Acting, settings: Settings) -> None:
    """Have the type look by the role that acts, where it wants to."""
    if (taking := _taking(kind)) is not None:
        taking.ready(action, session, settings)
