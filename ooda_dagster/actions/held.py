"""Values that an undo needs and the journal must not hold: for days in the ledger's table for literals.

The journal has their digest, size and age instead. Where they cannot be held, or are not any more, there is no undo,
and the action says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

from ooda_dagster.actions.base import ActionType, NoUndoError
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.text import many, size
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.targets.base import Acting

NONE_KEPT = "sampling.keep_literals_d = 0: no values are kept"
_GONE = "the values that its undo needs are not kept any more (sampling.keep_literals_d)"


class _Holding(Protocol):
    """What a type has besides whose undo needs such values; it finds them in `with_values`."""

    def hold(self, action: Action, session: Acting, settings: Settings) -> tuple[str, dict[str, Any]]:
        """The values as text with a nonce in it, and what may be told of them. Raises NoUndoError, TargetError."""
        ...


def _holding(action: Action, kind: ActionType) -> _Holding | None:
    return cast(_Holding, kind) if hasattr(kind, "hold") and action.undo_kind != "none" else None


def hold(
    action: Action, kind: ActionType, session: Acting, ledger: Ledger, settings: Settings, now: datetime
) -> dict[str, Any]:
    """Hold what the undo will need; what the journal notes of it: `held`, or `no_undo` with the reason, or nothing.

    Asked right before a deed is announced. Raises TargetError.
    """
    holding, days = _holding(action, kind), settings.sampling.keep_literals_d
    if holding is None:
        return {}
    try:
        if not days:
            raise NoUndoError(NONE_KEPT)
        text, told = holding.hold(action, session, settings)
    except NoUndoError as error:
        return {"no_undo": str(error)}
    ledger.literals.hold(action.target, action.action_id, text, now=now)
    until = now + timedelta(days=days)
    return {"held": {"digest": _digest(text), "until": until.isoformat(), **told}}


def why_no_undo(action: Action, kind: ActionType, ledger: Ledger, settings: Settings, now: datetime) -> str:
    """Why an action cannot be undone; nothing where it can."""
    if action.undo_kind == "none":
        return no_undo_of(action) or f"{action.action_type} has none"
    days = settings.sampling.keep_literals_d
    if _holding(action, kind) and ledger.literals.held(action.target, action.action_id, now=now, days=days) is None:
        return _GONE
    return ""


def no_undo_of(action: Action) -> str:
    """The reason that its proposal or its journal gives for having no undo, if any."""
    return action.prior_state.get("no_undo") or action.spec.get("no_undo") or ""


def told(action: Action) -> str:
    """What a person must know of an undo besides its statements; nothing where these say all."""
    if action.undo_kind == "none":
        return f"none: {no_undo_of(action) or 'this type has none'}"
    if not any("($1::" in statement for statement in action.undo):
        return ""
    held = action.prior_state.get("held")
    if not held:
        return "$1: the statistics from before; they are held once it is applied"
    until, columns = datetime.fromisoformat(held["until"]), many(held["columns"], "column")
    return (
        f"$1: the statistics from before, {columns}, {size(held['bytes'])}; held in the ledger until {until:%Y-%m-%d}"
    )


def with_values(action: Action, kind: ActionType, ledger: Ledger, settings: Settings, now: datetime) -> Action:
    """An action as its undo sees it, for no other eyes: `prior_state` has besides `made`, what the journal tells of the
    deed, and `values`, or None and `gone`, why not. Other types than those that hold values see it as it is.
    """
    if _holding(action, kind) is None:
        return action
    days = settings.sampling.keep_literals_d
    values, gone = ledger.literals.held(action.target, action.action_id, now=now, days=days), _GONE
    told: Mapping[str, Any] = action.prior_state.get("held") or {}
    if values is not None and _digest(values) != told.get("digest"):
        values, gone = None, "the values held for its undo are not those that the journal knows"
    done = (r["detail"] for r in reversed(ledger.actions.history(action.action_id)) if r["to_state"] == State.APPLIED)
    seen = {"made": next(iter(done), {}), "values": values, "gone": gone}
    return replace(action, prior_state={**action.prior_state, **seen})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
