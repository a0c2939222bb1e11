"""The bus: what did each phase say, who is to receive it, and how often was that tried?

One output for each analysis and phase. A message waits in its queue until the output that answers it is stored, in the
same transaction.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.contracts import CONTRACTS, Contract
from ooda_dagster.core.messages import LearningDelta, Message
from ooda_dagster.ledger import conversations
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import message

M = TypeVar("M", bound=Message)


class Messages:
    """Outputs of phases, and their receipts."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def store(self, body: M, run_id: str) -> M:
        """Send a phase's output; where it exists already, that one is returned and `body` is dropped.

        The message that it answers is acknowledged, and learning's ends its cycle and sets the timer, all in one
        transaction. The output of a replay has an analysis id of its own: it stands in no real one's way, and waits for
        nobody.
        """
        contract = CONTRACTS[body.phase]
        with connection(self._engine) as conn:
            row = insert(message).values(
                analysis_id=body.analysis_id,
                target=body.target,
                phase=body.phase,
                run_id=run_id,
                replayed=body.replayed,
                body=body.body(),
                queue=None if body.replayed else contract.queue,
            )
            conn.execute(row.on_conflict_do_nothing(index_elements=["analysis_id", "phase"]))
            if not body.replayed:
                self._answer(conn, body, contract)
        stored = self.load(type(body), body.analysis_id)
        assert stored is not None
        return stored

    def _answer(self, conn: sa.Connection, body: Message, contract: Contract) -> None:
        if contract.answers:
            conversations.acknowledge(conn, body.analysis_id, contract.answers, body.timestamp)
        if isinstance(body, LearningDelta):
            told = body.restart()
            conversations.finish(conn, body.analysis_id, body.timestamp, body.next_due_at, body.next_due_reason, told)

    def receive(self, kind: type[Message], analysis_id: str, *, now: datetime) -> int:
        """Count a receipt, before the message is worked on: in a transaction of its own, so that a kill counts too."""
        with connection(self._engine) as conn:
            return conversations.receive(conn, analysis_id, kind.phase, now)

    def attempts(self, kind: type[Message], analysis_id: str) -> int:
        """Receipts so far."""
        query = sa.select(message.c.attempts)
        mine = query.where(message.c.analysis_id == analysis_id, message.c.phase == kind.phase)
        with connection(self._engine) as conn:
            return conn.execute(mine).scalar_one_or_none() or 0

    def bury(self, kind: type[Message], analysis_id: str, error: str, *, now: datetime) -> None:
        """Put a message among the dead letters. Its conversation ends with the error; the loop comes again."""
        with connection(self._engine) as conn:
            conversations.bury(conn, analysis_id, kind.phase, error, now)

    def prune(self, target: str, before: datetime) -> None:
        """Drop what was said before a time, dead letters with it; what came of it is in the journal."""
        old = sa.and_(message.c.target == target, message.c.created_at < before)
        with connection(self._engine) as conn:
            conn.execute(sa.delete(message).where(old))

    def load(self, kind: type[M], analysis_id: str) -> M | None:
        """The output of a phase in an analysis."""
        query = sa.select(message.c.body).where(message.c.analysis_id == analysis_id, message.c.phase == kind.phase)
        with connection(self._engine) as conn:
            body = conn.execute(query).scalar_one_or_none()
        return None if body is None else kind.model_validate(body)

    def latest(self, kind: type[M], target: str) -> M | None:
        """The newest output of a phase for a target that was not a replay."""
        query = (
            sa.select(message.c.body)
            .where(message.c.target == target, message.c.phase == kind.phase, ~message.c.replayed)
            .order_by(message.c.created_at.desc())
            .limit(1)
        )
        with connection(self._engine) as conn:
            body = conn.execute(query).scalar_one_or_none()
        return None if body is None else kind.model_validate(body)
