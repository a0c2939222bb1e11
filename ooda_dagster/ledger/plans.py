"""Plans of statements: by hash, with when each was seen; how far the plan log was read; what was estimated when."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.plan_log import LogPosition
from ooda_dagster.core.plan_use import PlanUse, Source
from ooda_dagster.core.plans import Plan
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import plan_check, plan_log_position, plan_use, statement_plan

_KEY = ["target", "fingerprint", "source", "plan_hash"]
_AT_ONCE = 1000  # rows of one statement, whose parameters are limited


@dataclass(frozen=True)
class Seen:
    """A plan of a statement at a time: so many executions from `seen_at` on, or an estimate, which has none."""

    fingerprint: str
    plan: Plan
    seen_at: datetime
    executions: int = 0
    total_ms: float = 0.0


@dataclass(frozen=True)
class KeptPlan:
    """A plan as the ledger knows it. Its mean time is of the executions that were logged."""

    fingerprint: str
    source: Source
    plan_hash: str
    text: str
    relations: list[str]
    first_seen: datetime
    last_seen: datetime
    executions: int
    total_ms: float

    @property
    def mean_ms(self) -> float | None:
        return self.total_ms / self.executions if self.executions else None


@dataclass(frozen=True)
class Check:
    """An estimate that was made, or failed: when, and a digest of what the plan depended on then."""

    fingerprint: str
    checked_at: datetime
    depends_on: str
    plan_hash: str | None = None
    error: str | None = None


class Plans:
    """Plans of all targets."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    # ------------------------------------------------------------------ the plan log

    def position(self, target: str) -> LogPosition | None:
        columns = [plan_log_position.c[name] for name in ("file", "byte", "head")]
        with connection(self._engine) as conn:
            row = conn.execute(sa.select(*columns).where(plan_log_position.c.target == target)).mappings().one_or_none()
            return LogPosition(**row) if row else None

    def keep_executed(
        self,
        target: str,
        seen: Sequence[Seen],
        *,
        after: LogPosition | None,
        position: LogPosition,
        now: datetime,
    ) -> bool:
        """Add executions and move the position, in one transaction.

        False, keeping nothing, where another reader has moved it from `after`: each execution counts once.
        """
        mine = plan_log_position.c.target == target
        values = {**asdict(position), "read_at": now}
        with connection(self._engine) as conn:
            locked = sa.select(plan_log_position.c.file, plan_log_position.c.byte, plan_log_position.c.head)
            row = conn.execute(locked.where(mine).with_for_update()).mappings().one_or_none()
            if (LogPosition(**row) if row else None) != after:
                return False
            if after:
                conn.execute(sa.update(plan_log_position).where(mine).values(**values))
            else:
                first = insert(plan_log_position).values(target=target, **values).on_conflict_do_nothing()
                if conn.execute(first.returning(plan_log_position.c.target)).one_or_none() is None:
                    return False
            _keep(conn, target, "executed", seen)
        return True

    # ------------------------------------------------------------------ estimates

    def checks(self, target: str) -> dict[str, Check]:
        """The last estimate of each statement, by fingerprint."""
        columns = [plan_check.c[name] for name in Check.__dataclass_fields__]
        with connection(self._engine) as conn:
            rows = conn.execute(sa.select(*columns).where(plan_check.c.target == target)).mappings()
            return {row["fingerprint"]: Check(**row) for row in rows}

    def keep_estimates(self, target: str, seen: Sequence[Seen], checks: Sequence[Check]) -> None:
        """Add estimates, and note what was checked, also where there is no plan."""
        with connection(self._engine) as conn:
            _keep(conn, target, "estimate", seen)
            for part in _parts([{"target": target, **asdict(check)} for check in checks]):
                row = insert(plan_check).values(part)
                newer = {c.name: row.excluded[c.name] for c in plan_check.c if not c.primary_key}
                conn.execute(row.on_conflict_do_update(index_elements=["target", "fingerprint"], set_=newer))

    # ------------------------------------------------------------------ reading

    def uses(self, target: str, fingerprints: Collection[str], since: datetime) -> list[PlanUse]:
        """When plans were seen. Of estimates the last before `since` is told too: it held until the next."""
        columns = [plan_use.c[name] for name in PlanUse.__dataclass_fields__]
        mine = sa.and_(plan_use.c.target == target, plan_use.c.fingerprint.in_(list(fingerprints)))
        newest = sa.select(plan_use.c.fingerprint, sa.func.max(plan_use.c.seen_at)).where(
            mine, plan_use.c.source == "estimate", plan_use.c.seen_at < since
        )
        held = sa.and_(
            plan_use.c.source == "estimate",
            sa.tuple_(plan_use.c.fingerprint, plan_use.c.seen_at).in_(newest.group_by(plan_use.c.fingerprint)),
        )
        query = sa.select(*columns).where(mine, sa.or_(plan_use.c.seen_at >= since, held))
        with connection(self._engine) as conn:
            return [PlanUse(**row) for row in conn.execute(query.order_by(plan_use.c.seen_at)).mappings()]

    def executions(self, target: str, since: datetime) -> dict[str, int]:
        """fingerprint → executions that the plan log told since."""
        query = sa.select(plan_use.c.fingerprint, sa.func.sum(plan_use.c.executions)).where(
            plan_use.c.target == target, plan_use.c.source == "executed", plan_use.c.seen_at >= since
        )
        with connection(self._engine) as conn:
            return {fingerprint: int(n) for fingerprint, n in conn.execute(query.group_by(plan_use.c.fingerprint))}

    def of(self, target: str, fingerprints: Collection[str]) -> list[KeptPlan]:
        """Plans of some statements, the one that was seen last first."""
        columns = [statement_plan.c[name] for name in KeptPlan.__dataclass_fields__]
        query = sa.select(*columns).where(
            statement_plan.c.target == target, statement_plan.c.fingerprint.in_(list(fingerprints))
        )
        with connection(self._engine) as conn:
            rows = conn.execute(query.order_by(statement_plan.c.last_seen.desc(), statement_plan.c.plan_hash))
            return [KeptPlan(**row) for row in rows.mappings()]

    # ------------------------------------------------------------------ retention

    def prune(
        self, target: str, *, now: datetime, keep_d: float, per_statement: int, needed: Iterable[str] = ()
    ) -> None:
        """Drop what was not seen for long, and the oldest of too many plans; but no plan whose hash is `needed`."""
        old = now - timedelta(days=keep_d)
        plan, keep = statement_plan.c, list(needed)
        rank = sa.func.row_number().over(
            partition_by=(plan.fingerprint, plan.source), order_by=(plan.last_seen.desc(), plan.plan_hash)
        )
        ranked = sa.select(plan.fingerprint, plan.source, plan.plan_hash, rank.label("rank")).where(
            plan.target == target
        )
        many = ranked.subquery()
        surplus = sa.select(many.c.fingerprint, many.c.source, many.c.plan_hash).where(many.c.rank > per_statement)
        which = sa.tuple_(plan.fingerprint, plan.source, plan.plan_hash)
        with connection(self._engine) as conn:
            conn.execute(
                sa.delete(statement_plan).where(
                    plan.target == target,
                    plan.plan_hash.not_in(keep),
                    sa.or_(plan.last_seen < old, which.in_(surplus)),
                )
            )
            conn.execute(sa.delete(plan_use).where(plan_use.c.target == target, plan_use.c.seen_at < old))
            conn.execute(sa.delete(plan_check).where(plan_check.c.target == target, plan_check.c.checked_at < old))


def _keep(conn: sa.Connection, target: str, source: Source, seen: Sequence[Seen]) -> None:
    """Add to plans and to when they were seen."""
    plans: dict[tuple[str, str], dict[str, Any]] = {}
    uses: dict[tuple[str, str, datetime], dict[str, Any]] = {}
    for one in seen:
        who = {"target": target, "fingerprint": one.fingerprint, "source": source, "plan_hash": one.plan.hash}
        counted = {"executions": one.executions, "total_ms": one.total_ms}
        known = plans.setdefault(
            (one.fingerprint, one.plan.hash),
            {
                **who,
                "text": one.plan.text,
                "relations": list(one.plan.relations),
                "first_seen": one.seen_at,
                "last_seen": one.seen_at,
                "executions": 0,
                "total_ms": 0.0,
            },
        )
        known["first_seen"] = min(known["first_seen"], one.seen_at)
        known["last_seen"] = max(known["last_seen"], one.seen_at)
        use = uses.setdefault(
            (one.fingerprint, one.plan.hash, one.seen_at),
            {**who, "seen_at": one.seen_at, "executions": 0, "total_ms": 0.0},
        )
        for counter in (known, use):
            for name, value in counted.items():
                counter[name] += value
    for part in _parts(list(plans.values())):
        row = insert(statement_plan).values(part)
        newer = {
            "first_seen": sa.func.least(statement_plan.c.first_seen, row.excluded.first_seen),
            "last_seen": sa.func.greatest(statement_plan.c.last_seen, row.excluded.last_seen),
            "executions": statement_plan.c.executions + row.excluded.executions,
            "total_ms": statement_plan.c.total_ms + row.excluded.total_ms,
        }
        conn.execute(row.on_conflict_do_update(index_elements=_KEY, set_=newer))
    for part in _parts(list(uses.values())):
        row = insert(plan_use).values(part)
        newer = {
            "executions": plan_use.c.executions + row.excluded.executions,
            "total_ms": plan_use.c.total_ms + row.excluded.total_ms,
        }
        conn.execute(row.on_conflict_do_update(index_elements=[*_KEY, "seen_at"], set_=newer))


def _parts(rows: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    for at in range(0, len(rows), _AT_ONCE):
        yield rows[at : at + _AT_ONCE]
