"""What a type needs of the ledger to do its deed, and the journal must not hold; and its own look before the deed.

Most types need neither. One that does is a `Needing`: it gives a copy of itself that knows what it needs.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ooda_dagster.actions.base import ActionType, Say
from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.targets.base import Acting


@runtime_checkable
class Needing(ActionType, Protocol):
    """A type that needs something of the ledger, and looks by the role that acts before anything is announced."""

    def knowing(self, action: Action, ledger: Ledger, say: Say) -> ActionType:
        """The type, for one action, with what the ledger holds now. say: told how far long work is."""
        ...

    def ready(self, action: Action, session: Acting, settings: Settings) -> None:
        """A last look by the role that acts. Raises SupersededError, or TargetError where it must not be done now."""
        ...


def knowing(action: Action, kind: ActionType, ledger: Ledger, say: Say = lambda _: None) -> ActionType:
    """The type as it can do one action."""
    return kind.knowing(action, ledger, say) if isinstance(kind, Needing) else kind


def check_ready(action: Action, kind: ActionType, session: Acting, settings: Settings) -> None:
    """Have the type look by the role that acts, where it wants to."""
    if isinstance(kind, Needing):
        kind.ready(action, session, settings)
