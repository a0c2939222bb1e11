"""What an action type must be able to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action
from ooda_dagster.targets.base import Acting, Observing, RefusedError

#: Tells a person how far long work is.
Say = Callable[[str], None]


class SupersededError(RefusedError):
    """What the action would make is there already, or what it was for is gone."""


class Presence(StrEnum):
    """What the catalogue holds of an action's object."""

    ABSENT = "absent"
    COMPLETE = "complete"
    BROKEN = "broken"  # begun and not finished; ours to remove
    FOREIGN = "foreign"  # something else under that name


@dataclass(frozen=True)
class Applied:
    """What apply made. `statements`: every statement that was sent, in order."""

    object_oid: int | None
    statements: list[str]
    detail: dict[str, Any] = field(default_factory=dict)


class ActionType(Protocol):
    """One kind of change. Statements are built here and nowhere else; the executor takes no text from outside."""

    name: str
    undo_kind: str

    def preflight(self, action: Action, session: Observing, settings: Settings) -> None:
        """Raise SupersededError or RefusedError where it must not be applied now."""
        ...

    def snapshot(self, action: Action, session: Observing) -> dict[str, Any]:
        """The state before, as far as the undo and the evidence need it."""
        ...

    def apply(self, action: Action, session: Acting, settings: Settings) -> Applied: ...
    def undo(self, action: Action, session: Acting, settings: Settings) -> Applied: ...

    def adopt(self, action: Action, session: Acting, settings: Settings) -> Applied:
        """Finish what is left to do where the object is complete but its worker died."""
        ...

    def presence(self, action: Action, session: Observing | Acting) -> Presence:
        """What the catalogue holds now."""
        ...

    def remove_debris(self, action: Action, session: Acting, settings: Settings) -> list[str]:
        """Remove what a failed apply left, by the statements that are returned. Never called on what is FOREIGN."""
        ...

    def usage(self, action: Action, session: Observing) -> dict[str, Any]:
        """How much the object is used, for attribution within a change set."""
        ...
