"""What an action type must be able to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from ooda_dagster.core.settings import Settings
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.targets.base import Acting, Observing, RefusedError

#: Tells a person how far long work is.
Say = Callable[[str], None]


class SupersededError(RefusedError):
    """What the action would make is there already, or what it was for is gone."""


class NoUndoError(Exception):
    """An action can be done, and not be undone: the message says why."""


class Presence(StrEnum):
    """What the catalogue holds of an action's object."""

    ABSENT = "absent"
    COMPLETE = "complete"
    PARTIAL = "partial"  # begun and not finished; ours, and `adopt` goes on from there
    BROKEN = "broken"  # begun and not finished; ours to remove
    FOREIGN = "foreign"  # something else under that name


@dataclass(frozen=True)
class Applied:
    """What apply made. `statements`: every statement that was sent, in order."""

    object_oid: int | None
    statements: list[str]
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """Why there was nothing to do, where there was not."""
        return self.detail.get("note", "")


#: How an undo takes back: all, by another change, or not at all.
UndoKind = Literal["exact", "compensating", "none"]


class ActionType(Protocol):
    """One kind of change. Statements are built here and nowhere else; the executor takes no text from outside."""

    name: str
    undo_kind: UndoKind
    #: Whether its statements wait for every older transaction of the database.
    waits_for_snapshots: bool

    def propose(self, spec: dict[str, Any], **fields: Any) -> Proposal:
        """A proposal for a spec, as the ledger keeps it. `fields` are those of Proposal that do not follow from it."""
        ...

    def preflight(self, action: Action, session: Observing, settings: Settings) -> None:
        """Raise SupersededError or RefusedError where it must not be applied now."""
        ...

    def snapshot(self, action: Action, session: Observing) -> dict[str, Any]:
        """The state before, as far as the undo and the evidence need it."""
        ...

    def apply(self, action: Action, session: Acting, settings: Settings) -> Applied: ...
    def undo(self, action: Action, session: Acting, settings: Settings) -> Applied: ...

    def adopt(self, action: Action, session: Acting, settings: Settings) -> Applied:
        """Finish what is left to do where presence is COMPLETE or PARTIAL and its worker died or lost a lock."""
        ...

    def presence(self, action: Action, session: Observing | Acting) -> Presence:
        """What the catalogue holds now."""
        ...

    def remove_debris(self, action: Action, session: Acting, settings: Settings) -> list[str]:
        """Remove what a failed apply left, by the statements that are returned.

        Only ever called where presence is BROKEN, PARTIAL or COMPLETE.
        """
        ...

    def usage(self, action: Action, session: Observing) -> dict[str, Any]:
        """How much the object is used, for attribution within a change set."""
        ...
