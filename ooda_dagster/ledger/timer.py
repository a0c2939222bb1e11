"""The loop's one timer: a target has one open request for a cycle, due at a time, with what is asked of the cycle.

Everything here works in the caller's transaction.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from ooda_dagster.ledger.tables import analyze_queue, cycle


def due_request(conn: sa.Connection, name: str, *, by: datetime) -> sa.RowMapping | None:
    """The request, where it is due by then. It is held: who pulls it forward meanwhile waits, and finds a cycle."""
    mine = sa.select(analyze_queue).where(analyze_queue.c.target == name).with_for_update()
    row = conn.execute(mine).mappings().one_or_none()
    return row if row and row["deliver_at"] <= by else None


def move_timer(
    conn: sa.Connection,
    name: str,
    at: datetime,
    reason: str,
    previous: str | None = None,
    body: dict[str, Any] | None = None,
) -> None:
    """Set the time. body: fields of the Analyze message that the cycle will receive, instead of what was asked."""
    values = {
        "deliver_at": at,
        "reason": reason,
        "previous_analysis_id": previous,
        "enqueued_at": sa.func.now(),
        "body": body or {},
    }
    row = insert(analyze_queue).values(target=name, **values)
    conn.execute(row.on_conflict_do_update(index_elements=["target"], set_=values))


def pull(conn: sa.Connection, name: str, at: datetime, reason: str, body: dict[str, Any]) -> bool | None:
    """Move the timer to an earlier time, with `body` for its cycle; True where it moved.

    It stays where the cycle is due by then, which gets the body all the same. None where a cycle runs, or the target
    has no timer: nothing is changed then.
    """
    timer = sa.select(analyze_queue.c.deliver_at).where(analyze_queue.c.target == name).with_for_update()
    due = conn.execute(timer).scalar_one_or_none()
    running = sa.select(cycle.c.analysis_id).where(cycle.c.target == name, cycle.c.state == "running")
    if due is None or conn.execute(running).first():
        return None
    told = {**body, "triggerReason": reason, "reason": reason} if due > at else body
    values: dict[str, Any] = {"body": analyze_queue.c.body.concat(sa.cast(told, JSONB))}
    if due > at:
        values |= {"deliver_at": at, "reason": reason, "enqueued_at": sa.func.now()}
    conn.execute(sa.update(analyze_queue).where(analyze_queue.c.target == name).values(**values))
    return due > at
