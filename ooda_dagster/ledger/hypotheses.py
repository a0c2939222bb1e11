"""Every hypothesis that was made, whatever became of it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.messages import Hypothesis
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import hypothesis


class HypothesisStore:
    """Hypotheses."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def record(self, target: str, analysis_id: str, found: Hypothesis) -> None:
        """Keep one; a resumed phase that makes it again under the same id changes nothing."""
        row = insert(hypothesis).values(
            hypothesis_id=found.hypothesis_id,
            analysis_id=analysis_id,
            target=target,
            hypothesis_type=found.hypothesis_type,
            identity=found.identity,
            priority=found.priority,
            risk=found.risk,
            description=found.description,
            blocked_by=found.blocked_by,
            body=found.model_dump(mode="json", by_alias=True),
        )
        with connection(self._engine) as conn:
            conn.execute(row.on_conflict_do_nothing())

    def get(self, hypothesis_id: str) -> Hypothesis | None:
        """The one with an id."""
        query = sa.select(hypothesis.c.body).where(hypothesis.c.hypothesis_id == hypothesis_id)
        with connection(self._engine) as conn:
            body = conn.execute(query).scalar_one_or_none()
        return None if body is None else Hypothesis.model_validate(body)
