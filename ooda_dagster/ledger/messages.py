"""What did each phase say? One output for each analysis and phase."""

from __future__ import annotations

from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.messages import Message
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import message

M = TypeVar("M", bound=Message)


class Messages:
    """Outputs of phases."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def store(self, body: M, run_id: str) -> M:
        """Keep a phase's output; where it exists already, that one is returned and `body` is dropped.

        The output of a replay has an analysis id of its own, so it never stands in the way of a real one.
        """
        with connection(self._engine) as conn:
            row = insert(message).values(
                analysis_id=body.analysis_id,
                target=body.target,
                phase=body.phase,
                run_id=run_id,
                replayed=body.replayed,
                body=body.body(),
            )
            conn.execute(row.on_conflict_do_nothing(index_elements=["analysis_id", "phase"]))
        stored = self.load(type(body), body.analysis_id)
        assert stored is not None
        return stored

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
