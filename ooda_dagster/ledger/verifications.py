"""Which actions are being judged together, when is the next look, and what did each look say?"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ooda_dagster.core.question import Kept
from ooda_dagster.core.verdict import Verdict
from ooda_dagster.ledger.actions import Action
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import action, judged, verdict, verification


@dataclass(frozen=True)
class Verification:
    """A change set under judgement. `treated` and `bystanders` are fingerprints; bystanders serve neither side.

    A closed one with a `next_look_at` is watched: its gain is looked at once more then.
    """

    change_set_id: str
    target: str
    acted_from: datetime
    acted_until: datetime | None
    treated: list[str]
    bystanders: list[str]
    next_look_at: datetime | None
    deadline_at: datetime | None
    looks: int
    open: bool
    closed_at: datetime | None


def look_of(judged_action: Action, looks: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The look that gave an action its verdict: later ones judged what was left of its change set."""
    closed_at, given = judged_action.closed_at, (judged_action.outcome, judged_action.ratio)
    if judged_action.outcome is None or closed_at is None:
        return None
    found = [
        look
        for look in looks
        if look["final"] and look["looked_at"] <= closed_at and (look["outcome"], look["ratio"]) == given
    ]
    return found[-1] if found else None


_COLUMNS = [verification.c[name] for name in Verification.__dataclass_fields__]


class Verifications:
    """Change sets and their looks."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def begin(
        self,
        target: str,
        action_ids: Sequence[str],
        *,
        treated: Sequence[str],
        bystanders: Sequence[str],
        now: datetime,
    ) -> str:
        """Bind actions together, before they are applied; returns the change set's id."""
        change_set_id = str(uuid.uuid4())
        with connection(self._engine) as conn:
            conn.execute(
                sa.insert(verification).values(
                    change_set_id=change_set_id,
                    target=target,
                    acted_from=now,
                    treated=sorted(set(treated)),
                    bystanders=sorted(set(bystanders)),
                )
            )
            conn.execute(
                sa.update(action).where(action.c.action_id.in_(action_ids)).values(change_set_id=change_set_id)
            )
        return change_set_id

    def update(self, change_set_id: str, **columns: Any) -> None:
        with connection(self._engine) as conn:
            conn.execute(sa.update(verification).where(verification.c.change_set_id == change_set_id).values(**columns))

    def open(self, target: str | None = None) -> Sequence[Verification]:
        """Change sets that are not judged to the end."""
        query = sa.select(*_COLUMNS).where(verification.c.open).order_by(verification.c.acted_from)
        if target is not None:
            query = query.where(verification.c.target == target)
        with connection(self._engine) as conn:
            return [Verification(**row) for row in conn.execute(query).mappings()]

    def watched(self, target: str | None = None) -> Sequence[Verification]:
        """Closed change sets that are looked at once more, the next one first."""
        waits = sa.and_(sa.not_(verification.c.open), verification.c.next_look_at.is_not(None))
        query = sa.select(*_COLUMNS).where(waits).order_by(verification.c.next_look_at)
        if target is not None:
            query = query.where(verification.c.target == target)
        with connection(self._engine) as conn:
            return [Verification(**row) for row in conn.execute(query).mappings()]

    def of(self, change_set_ids: Collection[str]) -> Sequence[Verification]:
        """Some change sets, oldest first."""
        chosen = verification.c.change_set_id.in_(list(change_set_ids))
        query = sa.select(*_COLUMNS).where(chosen).order_by(verification.c.acted_from)
        with connection(self._engine) as conn:
            return [Verification(**row) for row in conn.execute(query).mappings()]

    def since(self, target: str, moment: datetime) -> Sequence[Verification]:
        """Change sets that were open at `moment` or later: what they reach is no control for another."""
        still = sa.or_(verification.c.open, verification.c.closed_at >= moment)
        query = sa.select(*_COLUMNS).where(verification.c.target == target, still)
        with connection(self._engine) as conn:
            return [Verification(**row) for row in conn.execute(query).mappings()]

    def get(self, change_set_id: str) -> Verification:
        query = sa.select(*_COLUMNS).where(verification.c.change_set_id == change_set_id)
        with connection(self._engine) as conn:
            return Verification(**conn.execute(query).mappings().one())

    def builds(self, target: str, since: datetime) -> Sequence[tuple[datetime, datetime]]:
        """When actions were being applied or undone: times that belong to no side of another verdict."""
        query = sa.select(verification.c.acted_from, verification.c.acted_until).where(
            verification.c.target == target, verification.c.acted_from >= since, verification.c.acted_until.is_not(None)
        )
        undone = sa.select(action.c.closed_at, action.c.reverted_at).where(
            action.c.target == target, action.c.reverted_at >= since, action.c.closed_at.is_not(None)
        )
        with connection(self._engine) as conn:
            return [(a, b) for a, b in conn.execute(query)] + [(a, b) for a, b in conn.execute(undone)]

    def record(
        self,
        change_set_id: str,
        target: str,
        look: int,
        at: datetime,
        result: Verdict,
        *,
        final: bool,
        kept: Kept | None = None,
        **columns: Any,
    ) -> None:
        """Keep what a look said, that it was taken, what it was computed from, and `columns` of the change set: all of
        it, or nothing."""
        low, high = result.interval or (None, None)
        with connection(self._engine) as conn:
            conn.execute(
                sa.insert(verdict).values(
                    change_set_id=change_set_id,
                    target=target,
                    look=look,
                    looked_at=at,
                    outcome=result.outcome,
                    ratio=result.ratio,
                    ratio_low=low,
                    ratio_high=high,
                    reason=result.reason,
                    n=result.n,
                    evidence=result.evidence,
                    final=final,
                )
            )
            if kept is not None:
                # Of looks that could not be carried out - no undo in this mode, or now - the last one counts.
                closed = sa.select(sa.func.max(action.c.closed_at)).where(action.c.change_set_id == change_set_id)
                newer = sa.or_(closed.scalar_subquery().is_(None), judged.c.judged_at > closed.scalar_subquery())
                conn.execute(sa.delete(judged).where(judged.c.change_set_id == change_set_id, newer))
                row = {"change_set_id": change_set_id, "look": look, "target": target, "judged_at": at}
                conn.execute(sa.insert(judged).values(**row, digest=kept.digest, body=kept.body))
            looked = sa.update(verification).where(verification.c.change_set_id == change_set_id)
            conn.execute(looked.values(looks=look, **columns))

    def looks(self, change_set_id: str) -> Sequence[dict[str, Any]]:
        """Every look at a change set, oldest first."""
        query = sa.select(verdict).where(verdict.c.change_set_id == change_set_id).order_by(verdict.c.look)
        with connection(self._engine) as conn:
            return [dict(row) for row in conn.execute(query).mappings()]

    def final_looks(self, target: str, since: datetime) -> Sequence[dict[str, Any]]:
        """Looks that closed a change set since a time, oldest first."""
        closed = sa.and_(verdict.c.target == target, verdict.c.final, verdict.c.looked_at >= since)
        query = sa.select(verdict).where(closed).order_by(verdict.c.looked_at, verdict.c.verdict_id)
        with connection(self._engine) as conn:
            return [dict(row) for row in conn.execute(query).mappings()]
