"""What came of our own actions, on which prediction? The ledger's half of core/predictions.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from ooda_dagster.core.change_types import changes_statements
from ooda_dagster.core.journal import State
from ooda_dagster.core.predictions import Prediction, Told, predictions_of
from ooda_dagster.ledger.database import connection


class Outcomes:
    """Reads only."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def predictions(
        self, *, since: datetime, until: datetime | None = None, target: str | None = None
    ) -> Sequence[Prediction]:
        """Predictions of all targets, or of one, whose verdict closed in (since, until], oldest first.

        A person's own proposal predicts nothing, and what a person undid before its verdict tells nothing.
        """
        parameters = {"since": since, "until": until, "target": target, "failed": str(State.FAILED)}
        with connection(self._engine) as conn:
            rows = conn.execute(_TOLD, parameters).mappings()
            return predictions_of(Told(**row) for row in rows if changes_statements(row["action_type"]))


#: The look that decided: of a change set that was judged anew without the worst of it there are several. An action is
#: closed anew when it is rolled back long after its verdict.
_TOLD = sa.text(
    """
    select
        a.action_id, a.target, a.action_type, a.change_set_id, a.description,
        coalesce(v.looked_at, a.closed_at) as at, a.outcome, a.state = :failed as failed,
        a.ratio, a.ratio_low, a.ratio_high, a.predicted, (v.evidence ->> 'standard_error')::float8 as error
    from ooda.action a
    left join lateral (
        select * from ooda.verdict v
        where v.change_set_id = a.change_set_id and v.final and v.ratio = a.ratio
        order by v.look desc limit 1
    ) v on true
    where a.hypothesis_id is not null
        and a.closed_at > :since
        and coalesce(v.looked_at, a.closed_at) > :since
        and coalesce(v.looked_at, a.closed_at) <= coalesce(:until, 'infinity'::timestamptz)
        and a.target = coalesce(:target, a.target)
        and (a.outcome is not null or a.state = :failed)
    order by at, a.action_id
    """
).bindparams(sa.bindparam("until", type_=sa.DateTime(timezone=True)), sa.bindparam("target", type_=sa.Text()))
