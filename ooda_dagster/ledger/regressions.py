"""Statements that became slower: open ones, and those that are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.plan_use import Source
from ooda_dagster.core.regressions import Kind, Step
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import regression


@dataclass(frozen=True)
class Regression:
    """A finding. opened_by: the analysis that found it; gone_at: None while it is open."""

    regression_id: int
    target: str
    fingerprint: str
    kind: Kind
    since: datetime
    opened_at: datetime
    opened_by: str
    looked_at: datetime
    gone_at: datetime | None
    before_ms: float
    after_ms: float
    calls_before: int
    calls_after: int
    extra_s: float
    score: float
    reason: str
    source: Source | None
    plan_before: str | None
    plan_after: str | None
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return self.after_ms / self.before_ms if self.before_ms else float("inf")


class Regressions:
    """Findings of all targets."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def list(self, target: str | None = None, *, gone: bool = False, most: int = 1000) -> list[Regression]:
        """Open ones, with gone ones too where asked for: open first, then by what they cost."""
        columns = [regression.c[name] for name in Regression.__dataclass_fields__]
        query = sa.select(*columns).order_by(
            regression.c.gone_at.desc().nulls_first(), regression.c.extra_s.desc(), regression.c.regression_id
        )
        if target is not None:
            query = query.where(regression.c.target == target)
        if not gone:
            query = query.where(regression.c.state == "open")
        with connection(self._engine) as conn:
            return [Regression(**row) for row in conn.execute(query.limit(most)).mappings()]

    def record(
        self, target: str, steps: Sequence[Step], gone: Mapping[str, str], *, analysis_id: str, now: datetime
    ) -> None:
        """Open what is new, renew what still holds, close what is gone, in one transaction.

        A finding keeps its name, unless it was plainly slower and its plans are known by now.
        """
        with connection(self._engine) as conn:
            for step in steps:
                row = insert(regression).values(
                    target=target,
                    opened_at=now,
                    opened_by=analysis_id,
                    looked_at=now,
                    since=step.since,
                    before_ms=step.before_ms,
                    calls_before=step.calls_before,
                    **_named(step),
                    **_numbers(step),
                )
                better = sa.and_(
                    regression.c.kind.in_(("slower_plan_unknown", "slower_same_plan")),
                    row.excluded.kind != "slower_plan_unknown",
                )
                renewed = {"looked_at": now, **_numbers(step)}
                renewed |= {
                    name: sa.case((better, row.excluded[name]), else_=regression.c[name]) for name in _named(step)
                }
                renewed["extra_s"] = sa.func.greatest(regression.c.extra_s, row.excluded.extra_s)
                conn.execute(
                    row.on_conflict_do_update(
                        index_elements=["target", "fingerprint"],
                        index_where=sa.text("state = 'open'"),
                        set_=renewed,
                    )
                )
            for fingerprint, why in gone.items():
                closed = sa.update(regression).where(
                    regression.c.target == target,
                    regression.c.fingerprint == fingerprint,
                    regression.c.state == "open",
                )
                ended = regression.c.evidence.op("||")(sa.func.jsonb_build_object("gone", why))
                conn.execute(closed.values(state="gone", gone_at=now, looked_at=now, evidence=ended))

    def prune(self, target: str, *, now: datetime, keep_d: float) -> None:
        """Drop what has been gone for long, and open ones of statements that nobody has called for as long."""
        old = now - timedelta(days=keep_d)
        with connection(self._engine) as conn:
            conn.execute(
                sa.delete(regression).where(
                    regression.c.target == target, sa.func.coalesce(regression.c.gone_at, regression.c.looked_at) < old
                )
            )


def _named(step: Step) -> dict[str, Any]:
    return {
        "fingerprint": step.fingerprint,
        "kind": step.kind,
        "reason": step.reason,
        "source": step.source,
        "plan_before": step.plan_before,
        "plan_after": step.plan_after,
    }


def _numbers(step: Step) -> dict[str, Any]:
    evidence = {"drift": step.drift, "rows_ratio": step.rows_ratio, "blocks_ratio": step.blocks_ratio}
    return {
        "after_ms": step.after_ms,
        "calls_after": step.calls_after,
        "extra_s": step.extra_s,
        "score": step.score,
        "evidence": {name: round(value, 3) for name, value in evidence.items()},
    }
