"""What did the ledger know at a moment of the past? States of actions by the journal, pauses, sizes, hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypothesis
from ooda_dagster.ledger.chunks import COVERAGE, ids_of, sums
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import action, audit_event, journal, message


class Past:
    """Reads only."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def hypotheses(self, name: str) -> Sequence[tuple[datetime, Hypothesis]]:
        """The newest hypothesis of each identity, whenever it was made, with its time."""
        with connection(self._engine) as conn:
            return [
                (row.created_at, Hypothesis.model_validate(row.body))
                for row in conn.execute(_HYPOTHESES, {"target": name})
            ]

    def states(self, name: str, moment: datetime) -> dict[str, tuple[State, datetime]]:
        """action_id → the state that it was in, and since when."""
        with connection(self._engine) as conn:
            rows = conn.execute(_STATES, {"target": name, "moment": moment})
            return {row.action_id: (State(row.to_state), row.at) for row in rows}

    def begun(self, name: str, since: datetime, until: datetime) -> int:
        """Actions that were begun in [since, until)."""
        known = journal.join(action, action.c.action_id == journal.c.action_id)  # not of before a target was forgotten
        query = (
            sa.select(sa.func.count(journal.c.action_id.distinct()))
            .select_from(known)
            .where(
                journal.c.target == name,
                journal.c.to_state == State.APPLYING,
                journal.c.at >= since,
                journal.c.at < until,
            )
        )
        with connection(self._engine) as conn:
            return conn.execute(query).scalar_one()

    def paused(self, name: str, moment: datetime) -> bool:
        """Whether the last word of a person was to pause."""
        said = (
            sa.select(audit_event.c.event)
            .where(
                audit_event.c.target == name,
                audit_event.c.at < moment,
                audit_event.c.event.in_(("paused", "resumed")),
            )
            .order_by(audit_event.c.event_id.desc())
            .limit(1)
        )
        with connection(self._engine) as conn:
            return conn.execute(said).scalar_one_or_none() == "paused"

    def heap_bytes(self, name: str, moment: datetime) -> tuple[int, datetime] | None:
        """Size of the tables as the observation nearest to `moment` saw it, and when that was."""
        size = message.c.body["server"]["heap_mb"].as_float()
        seen = sa.select(size, message.c.created_at).where(
            message.c.target == name, message.c.phase == "observe", ~message.c.replayed, size.is_not(None)
        )
        before = seen.where(message.c.created_at < moment).order_by(message.c.created_at.desc()).limit(1)
        after = seen.where(message.c.created_at >= moment).order_by(message.c.created_at).limit(1)
        with connection(self._engine) as conn:
            row = conn.execute(before).one_or_none() or conn.execute(after).one_or_none()
        return (int(row[0] * (1 << 20)), row[1]) if row else None

    def calls_per_hour(self, name: str, until: datetime, fingerprints: Sequence[str]) -> float | None:
        """Calls of some statements in the day before `until`, per covered hour; None where nothing is kept of it."""
        since = until - timedelta(days=1)
        with connection(self._engine) as conn:
            ids = ids_of(conn, name, fingerprints)
            _, found = sums(conn, name, since, until, columns=("n",), only=ids)
            parameters = {"target": name, "since": since, "until": until}
            hours = float(conn.execute(COVERAGE, parameters).one().covered_s or 0) / 3600
        return float(found["n"].sum()) / hours if hours else None


_HYPOTHESES = sa.text(
    """
    select distinct on (identity) created_at, body from ooda.hypothesis
    where target = :target order by identity, created_at desc
    """
)

_STATES = sa.text(
    """
    select distinct on (action_id) action_id, to_state, at from ooda.journal
    where target = :target and at < :moment order by action_id, seq desc
    """
)
