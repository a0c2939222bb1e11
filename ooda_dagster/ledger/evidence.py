"""What was a verdict computed from, which files were written of it, and which are still to be written?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.journal import State
from ooda_dagster.core.question import Kept
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import action, evidence_file, journal, judged

#: Where an action stands once its verdict closed.
_CLOSED = (State.KEPT, State.INCONCLUSIVE, State.REVERTED, State.REVERT_FAILED)
_AT_ONCE = 50  # files of one cycle


@dataclass(frozen=True)
class EvidenceFile:
    """The newest file of an action; see `ledger.tables.evidence` for the columns."""

    action_id: str
    tried_at: datetime
    path: str | None
    digest: str | None
    bytes: int | None
    journal_seq: int | None
    error: str | None


_FILE = [evidence_file.c[name] for name in EvidenceFile.__dataclass_fields__]
#: The newest row of the journals of an action's change set.
_NEWEST = (
    sa.select(sa.func.max(journal.c.seq))
    .join(other := action.alias("other"), other.c.action_id == journal.c.action_id)
    .where(other.c.change_set_id == action.c.change_set_id)
    .scalar_subquery()
)


class EvidenceBook:
    """What verdicts were computed from, and files."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def judged(self, change_set_id: str, look: int) -> dict[str, Any] | None:
        """What a look was computed from, as `core.question` has it; None where that was not kept, or no longer."""
        query = sa.select(judged.c.digest, judged.c.body)
        query = query.where(judged.c.change_set_id == change_set_id, judged.c.look == look)
        with connection(self._engine) as conn:
            row = conn.execute(query).one_or_none()
            return Kept(row.digest, row.body).as_json() if row else None

    def due(self, target: str) -> Sequence[tuple[str, int]]:
        """Actions whose verdict closed and that have no file, or one from before something happened, oldest first.

        action_id, and what its file will tell of at least: the newest row of its change set's journal.
        """
        known = evidence_file.c.journal_seq
        query = (
            sa.select(action.c.action_id, _NEWEST.label("newest"))
            .join_from(action, evidence_file, evidence_file.c.action_id == action.c.action_id, isouter=True)
            .where(
                action.c.target == target,
                action.c.state.in_(_CLOSED),
                action.c.outcome.is_not(None),
                sa.exists().where(judged.c.change_set_id == action.c.change_set_id),
                sa.or_(known.is_(None), known < _NEWEST),
            )
            .order_by(action.c.closed_at)
            .limit(_AT_ONCE)
        )
        with connection(self._engine) as conn:
            return [(action_id, newest) for action_id, newest in conn.execute(query)]

    def written(self, target: str, action_id: str, *, now: datetime, **columns: Any) -> None:
        """Note a try: path, digest, bytes and journal_seq of a file, or the error; then the last file's stay."""
        row = {"tried_at": now, "error": None, **columns}
        values = insert(evidence_file).values(action_id=action_id, target=target, **row)
        with connection(self._engine) as conn:
            conn.execute(values.on_conflict_do_update(index_elements=["action_id"], set_=row))

    def files(self, action_ids: Collection[str]) -> dict[str, EvidenceFile]:
        """By action."""
        query = sa.select(*_FILE).where(evidence_file.c.action_id.in_(list(action_ids)))
        with connection(self._engine) as conn:
            return {row["action_id"]: EvidenceFile(**row) for row in conn.execute(query).mappings()}

    def forget(self, target: str, before: datetime) -> Sequence[str]:
        """Drop what verdicts before a time were computed from; returns the files of actions that ended by then."""
        ended = sa.select(action.c.action_id).where(action.c.target == target, action.c.closed_at < before)
        gone = sa.delete(evidence_file).where(evidence_file.c.action_id.in_(ended)).returning(evidence_file.c.path)
        with connection(self._engine) as conn:
            conn.execute(sa.delete(judged).where(judged.c.target == target, judged.c.judged_at < before))
            return [path for path in conn.execute(gone).scalars() if path]
