"""Sends an action's statements, signed and as the table's owner, and makes sure that an ANALYZE did what it says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ooda_dagster.actions.base import SupersededError
from ooda_dagster.core.identifiers import OWN_COMMENT, qualified
from ooda_dagster.core.settings import Settings
from ooda_dagster.core.statistics import TableStatistics
from ooda_dagster.ledger import Action
from ooda_dagster.targets.base import Acting, MissingRightError, Observing, RefusedError


def signed(action: Action, statement: str) -> str:
    """With our mark and the action's id, for those who read the server's log."""
    return f"{statement} /* {OWN_COMMENT}{action.action_id} */"


def own_comment(action: Action) -> str:
    """What an object of ours says of itself."""
    return f"{OWN_COMMENT}{action.action_id}; undo: {'; '.join(action.undo)}"


def send(
    action: Action,
    session: Acting,
    settings: Settings,
    statement: str,
    *,
    timeout_s: float = 0,
    values: Sequence[str] = (),
    pinned: bool = False,
) -> int:
    """Run one statement as the owner; where nothing is said of its time, twice what a lock is waited for.

    How many rows it wrote, -1 where it writes none.
    """
    limits = settings.acting
    return session.execute(
        signed(action, statement),
        role=action.prior_state.get("owner"),
        lock_timeout_s=limits.lock_timeout_s,
        timeout_s=timeout_s or 2 * limits.lock_timeout_s,
        values=values,
        pinned=pinned,
    )


def send_analyze(action: Action, session: Acting, settings: Settings, statement: str) -> TableStatistics:
    """Run an ANALYZE and read what it left.

    Raises MissingRightError where it did nothing: without the right the server only warns.
    """
    before = kept_of(action, session)
    send(action, session, settings, statement, timeout_s=settings.acting.build_timeout_s)
    after = kept_of(action, session)
    if after is None:
        raise SupersededError(f"{action.relation} was dropped meanwhile")
    if after.last_analyze is None or (before is not None and after.last_analyze == before.last_analyze):
        grant = session.grant_for(after.owner)
        raise MissingRightError(f"the server skipped ANALYZE of {action.relation}: only its owner may. {grant}")
    return after


def kept_of(action: Action, session: Observing | Acting) -> TableStatistics | None:
    """How the statistics of an action's table are kept now; None where there is no such table."""
    key = (action.spec["schema"], action.spec["table"])
    return session.statistics([key]).get(key)


def checked_table(action: Action, session: Observing) -> TableStatistics:
    """The same before a deed. Raises SupersededError where the table is gone, RefusedError where we would be blind."""
    kept = kept_of(action, session)
    if kept is None:
        relation = qualified(action.spec["schema"], action.spec["table"])
        raise SupersededError(f"{relation} does not exist any more")
    if not kept.tracked:
        raise RefusedError("track_counts is off: whether an ANALYZE did anything cannot be seen")
    return kept


def as_json(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def state_before(kept: TableStatistics, **more: Any) -> dict[str, Any]:
    """What every action on statistics notes of its table."""
    return {"owner": kept.owner, "last_analyze": as_json(kept.last_analyze), **more}
