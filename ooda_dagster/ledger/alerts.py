"""What should a person hear of, was it told, and is it still so?

An alert stands once for each key until it is cleared. Telling is at least once: a process that dies between sending and
noting it sends again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import alert

#: Kinds that tell of a state: they are cleared when it is over. All others tell of an event.
UNDO_STUCK, REGRESSION_IN_PLACE, LOOP_NOT_ALIVE = "undo_stuck", "regression_in_place", "loop_not_alive"
DEAD_LETTER, ACTING_BARRED = "dead_letter", "acting_barred"
STANDING = (UNDO_STUCK, REGRESSION_IN_PLACE, LOOP_NOT_ALIVE, DEAD_LETTER, ACTING_BARRED)
#: Kinds that tell of an event.
RUN_FAILED = "run_failed"

#: How long an event is news, and how long a channel is tried.
NEWS = timedelta(hours=24)
#: A try is over by then; the first few follow each other at the pace of the sensor's ticks.
_TRY = timedelta(seconds=45)
_LATER = timedelta(minutes=30)
_QUICK_TRIES = 5
_LONGEST_TEXT = 1000


@dataclass(frozen=True)
class Alert:
    """A row of the table `alert`."""

    alert_id: int
    at: datetime
    target: str | None
    kind: str
    key: str
    text: str
    detail: dict[str, Any]
    sent_to: list[str]
    attempts: int
    delivered_at: datetime | None
    cleared_at: datetime | None
    error: str | None


_COLUMNS = [alert.c[name] for name in Alert.__dataclass_fields__]


class Alerts:
    """Alerts and their delivery."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def raise_(
        self, kind: str, key: str, target: str | None, text: str, *, now: datetime | None = None, **detail: Any
    ) -> bool:
        """Enter an alert; False where one with this key stands already. `text` and `detail` hold no secrets."""
        moment = now or datetime.now(UTC)
        row = insert(alert).values(
            at=moment,
            next_try_at=moment,
            target=target,
            kind=kind,
            key=key,
            text=" ".join(text.split())[:_LONGEST_TEXT],
            detail=detail,
        )
        once = row.on_conflict_do_nothing(index_elements=["key"], index_where=alert.c.cleared_at.is_(None))
        with connection(self._engine) as conn:
            return conn.execute(once.returning(alert.c.alert_id)).one_or_none() is not None

    def settle(self, targets: Collection[str], standing: Collection[str], *, now: datetime) -> Sequence[Alert]:
        """Clear the states of these targets whose keys are not among `standing` any more; returns what was cleared."""
        over = sa.and_(
            alert.c.cleared_at.is_(None),
            alert.c.kind.in_(STANDING),
            alert.c.target.in_(list(targets)),
            alert.c.key.not_in(list(standing)),
        )
        with connection(self._engine) as conn:
            rows = conn.execute(sa.update(alert).where(over).values(cleared_at=now).returning(*_COLUMNS)).mappings()
            return [Alert(**row) for row in rows]

    def claim(self, now: datetime) -> Alert | None:
        """The alert that is to be sent next, which no other process then sends meanwhile."""
        due = (
            sa.select(alert.c.alert_id)
            .where(
                alert.c.delivered_at.is_(None),
                alert.c.cleared_at.is_(None),
                alert.c.next_try_at <= now,
                alert.c.at > now - NEWS,
            )
            .order_by(alert.c.next_try_at, alert.c.alert_id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        later = sa.case((alert.c.attempts + 1 < _QUICK_TRIES, now + _TRY), else_=now + _LATER)
        taken = sa.update(alert).where(alert.c.alert_id == due.scalar_subquery())
        taken = taken.values(attempts=alert.c.attempts + 1, next_try_at=later)
        with connection(self._engine) as conn:
            row = conn.execute(taken.returning(*_COLUMNS)).mappings().one_or_none()
            return Alert(**row) if row else None

    def sent(
        self, alert_id: int, to: Sequence[str], *, delivered_at: datetime | None = None, error: str | None = None
    ) -> None:
        """Note which channels took it; `delivered_at` when all did, else the error of one that did not."""
        values = {"sent_to": list(to), "delivered_at": delivered_at, "error": error}
        with connection(self._engine) as conn:
            conn.execute(sa.update(alert).where(alert.c.alert_id == alert_id).values(**values))

    def news(self, now: datetime, target: str | None = None, limit: int = 50) -> Sequence[Alert]:
        """States that hold, and events of the last day; newest first."""
        fresh = sa.or_(alert.c.kind.in_(STANDING), alert.c.at > now - NEWS)
        query = sa.select(*_COLUMNS).where(alert.c.cleared_at.is_(None), fresh)
        if target is not None:
            query = query.where(alert.c.target == target)
        with connection(self._engine) as conn:
            rows = conn.execute(query.order_by(alert.c.at.desc(), alert.c.alert_id.desc()).limit(limit)).mappings()
            return [Alert(**row) for row in rows]
