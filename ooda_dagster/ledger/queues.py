"""What waits where, which conversations are open, what died - and how a person clears it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ooda_dagster.core.contracts import Queue
from ooda_dagster.ledger import conversations
from ooda_dagster.ledger.chains import write_audit
from ooda_dagster.ledger.conversations import Cycle
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import analyze_queue, cycle, dead_letter, message, target
from ooda_dagster.ledger.worker import Worker

_OPEN = ("running", "interrupted")


@dataclass(frozen=True)
class Depth:
    """A queue: messages that wait or are worked on, their conversations, the oldest, the newest ever, dead letters.

    In `analyze`, what waits is the timer's one request a target; it is no conversation before it is delivered.
    """

    queue: Queue
    messages: int
    conversations: int
    oldest_at: datetime | None
    last_message_at: datetime | None
    most_attempts: int
    dead_letters: int


class Queues:
    """Queues, conversations and dead letters."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def depths(self, name: str | None = None) -> list[Depth]:
        """All four queues, of one target or of all."""
        with connection(self._engine) as conn:
            return [self._depth(conn, queue, name) for queue in Queue]

    def _depth(self, conn: sa.Connection, queue: Queue, name: str | None) -> Depth:
        waits = sa.and_(message.c.acknowledged_at.is_(None), cycle.c.state.in_(_OPEN))
        row = conn.execute(
            sa.select(
                sa.func.count().filter(waits).label("messages"),
                sa.func.count(sa.distinct(message.c.analysis_id)).filter(waits).label("conversations"),
                sa.func.min(message.c.created_at).filter(waits).label("oldest_at"),
                sa.func.max(message.c.created_at).label("last_message_at"),
                sa.func.coalesce(sa.func.max(message.c.attempts).filter(waits), 0).label("most_attempts"),
            )
            .select_from(message.join(cycle, cycle.c.analysis_id == message.c.analysis_id))
            .where(message.c.queue == queue, *_of(message.c.target, name))
        ).one()
        dead = sa.select(sa.func.count()).select_from(dead_letter).where(dead_letter.c.queue == queue, _uncleared(name))
        timers, since = 0, row.oldest_at
        if queue == Queue.ANALYZE:
            timers, since = self._timers(conn, name, row.oldest_at)
        return Depth(
            queue=queue,
            messages=row.messages + timers,
            conversations=row.conversations,
            oldest_at=since,
            last_message_at=row.last_message_at,
            most_attempts=row.most_attempts,
            dead_letters=conn.execute(dead).scalar_one(),
        )

    def _timers(self, conn: sa.Connection, name: str | None, oldest: datetime | None) -> tuple[int, datetime | None]:
        query = sa.select(sa.func.count(), sa.func.min(analyze_queue.c.enqueued_at))
        count, first = conn.execute(query.where(*_of(analyze_queue.c.target, name))).one()
        known = [moment for moment in (oldest, first) if moment]
        return count, min(known, default=None)

    def conversations(self, name: str | None = None) -> Sequence[Cycle]:
        """Conversations that are not over, oldest first."""
        query = sa.select(*conversations.COLUMNS).where(cycle.c.state.in_(_OPEN), *_of(cycle.c.target, name))
        with connection(self._engine) as conn:
            return [Cycle(**row) for row in conn.execute(query.order_by(cycle.c.started_at)).mappings()]

    def dead_letters(self, name: str | None = None) -> Sequence[dict[str, Any]]:
        """Dead letters that nobody cleared, newest first, without their bodies."""
        query = sa.select(dead_letter).where(_uncleared(name)).order_by(dead_letter.c.died_at.desc())
        with connection(self._engine) as conn:
            return [dict(row) for row in conn.execute(query).mappings()]

    def reset(self, name: str | None, *, by: str, now: datetime, why: str = "") -> tuple[list[str], list[str], int]:
        """End open conversations and clear dead letters; audited.

        Returns the analysis ids that were ended, those that a living worker holds and that go on, and how many dead
        letters were cleared.
        """
        ended: list[str] = []
        held: list[str] = []
        with connection(self._engine) as conn:
            locked = sa.select(target.c.name).where(*_of(target.c.name, name)).order_by(target.c.name)
            conn.execute(locked.with_for_update()).all()
            opened = sa.select(cycle).where(cycle.c.state.in_(_OPEN), *_of(cycle.c.target, name))
            for row in conn.execute(opened.order_by(cycle.c.started_at)).mappings().all():
                worker = Worker(row["host"], row["pid"], row["process_started"])
                if row["state"] == "running" and worker.alive() is not False:
                    held.append(row["analysis_id"])
                    continue
                conversations.end(conn, row["analysis_id"], f"reset by {by}", now)
                ended.append(row["analysis_id"])
            cleared = sa.update(dead_letter).where(_uncleared(name)).values(cleared_at=now, cleared_by=by)
            count = len(conn.execute(cleared.returning(dead_letter.c.dead_letter_id)).all())
            detail = {"ended": ended, "cleared_dead_letters": count, "why": why}
            write_audit(conn, "queues reset", target=name, actor=by, **detail)
        return ended, held, count


def _of(column: sa.ColumnElement[str], name: str | None) -> list[sa.ColumnElement[bool]]:
    return [] if name is None else [column == name]


def _uncleared(name: str | None) -> sa.ColumnElement[bool]:
    return sa.and_(dead_letter.c.cleared_at.is_(None), *_of(dead_letter.c.target, name))
