"""Which cycle runs, which ran, and when is the next one due?

Who starts a cycle does not matter: `begin` decides, once, whether it runs. `analyze_queue` is the loop's only timer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.settings import Messaging
from ooda_dagster.core.settings_changes import changes
from ooda_dagster.core.wire import iso
from ooda_dagster.ledger import conversations, timer
from ooda_dagster.ledger.chains import write_audit
from ooda_dagster.ledger.conversations import Cycle, CycleRefusedError, Start
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import alert, analyze_queue, cycle, cycle_run, request_read, target, workload_day
from ooda_dagster.ledger.who import seen_by
from ooda_dagster.ledger.worker import Worker

__all__ = ["Cycle", "CycleRefusedError", "Cycles", "Due"]


@dataclass(frozen=True)
class Due:
    """The open request for a cycle of a target."""

    target: str
    deliver_at: datetime
    reason: str
    previous_analysis_id: str | None
    body: dict[str, Any] = field(default_factory=dict)


_COLUMNS = conversations.COLUMNS


class Cycles:
    """Cycles and their timer."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def register(
        self,
        name: str,
        *,
        kind: str,
        mode: str,
        now: datetime,
        identity: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        usual: dict[str, Any] | None = None,
    ) -> None:
        """Make `name` known and due at once; a mode or settings that are not those seen last are audited.

        settings: as `core.settings_changes.told` has them; those of a new target are compared with `usual`.
        """
        with connection(self._engine) as conn:
            seen = sa.select(target.c.mode, target.c.settings).where(target.c.name == name).with_for_update()
            before = conn.execute(seen).one_or_none()
            if before is None:
                new = insert(target).values(name=name, kind=kind, mode=mode)
                if conn.execute(new.on_conflict_do_nothing().returning(target.c.name)).one_or_none() is None:
                    before = conn.execute(seen).one()  # another process was faster
            update: dict[str, Any] = {"mode": mode}
            update |= {k: v for k, v in (("identity", identity), ("settings", settings)) if v}
            conn.execute(sa.update(target).where(target.c.name == name).values(**update))
            first = insert(analyze_queue).values(target=name, deliver_at=now, reason="new target")
            conn.execute(first.on_conflict_do_nothing())
            if before is None or before.mode != mode:
                was = before.mode if before else None
                write_audit(conn, "mode", target=name, actor=seen_by(), before=was, after=mode)
            known = before.settings if before else None
            if settings is not None and settings != known:
                changed = changes(usual or {} if known is None else known, settings)
                write_audit(conn, "policy", target=name, actor=seen_by(), first=known is None, changes=changed)

    def registered(self, name: str) -> dict[str, Any] | None:
        """The target's row."""
        with connection(self._engine) as conn:
            row = conn.execute(sa.select(target).where(target.c.name == name)).mappings().one_or_none()
            return dict(row) if row else None

    def pause(self, name: str, now: datetime, *, by: str | None = None, why: str = "") -> bool:
        """Begin no new action from `now` on; False where the target was paused already."""
        return self._set_paused(name, target.c.paused_at.is_(None), now, "paused", by, why)

    def resume(self, name: str, *, by: str | None = None, why: str = "") -> bool:
        """Lift a pause; False where there was none."""
        return self._set_paused(name, target.c.paused_at.is_not(None), None, "resumed", by, why)

    def _set_paused(
        self,
        name: str,
        condition: sa.ColumnElement[bool],
        moment: datetime | None,
        event: str,
        by: str | None,
        why: str,
    ) -> bool:
        with connection(self._engine) as conn:
            change = sa.update(target).where(target.c.name == name, condition).values(paused_at=moment)
            changed = conn.execute(change.returning(target.c.name)).one_or_none() is not None
            if changed:
                write_audit(conn, event, target=name, actor=by, why=why)
            return changed

    def bar(self, name: str, why: str | None) -> None:
        """Note why the acting role is not let in, since when first; None where it is."""
        since = None if why is None else sa.func.coalesce(target.c.barred_at, sa.func.now())
        change = sa.update(target).where(target.c.name == name, target.c.barred.is_distinct_from(why))
        with connection(self._engine) as conn:
            conn.execute(change.values(barred=why, barred_at=since))

    def forget(self, name: str, *, by: str | None = None, why: str = "") -> None:
        """Remove a target and all that was learned of it. What was done to it stays in the journal and in the audit."""
        with connection(self._engine) as conn:
            gone = conn.execute(sa.delete(target).where(target.c.name == name).returning(target.c.name)).one_or_none()
            for loose in (workload_day, request_read, alert):  # no foreign key takes these along
                conn.execute(sa.delete(loose).where(loose.c.target == name))
            if gone:
                write_audit(conn, "forgotten", target=name, actor=by, why=why)

    def targets(self) -> Sequence[dict[str, Any]]:
        """Rows of all targets that were ever known."""
        with connection(self._engine) as conn:
            return [dict(row) for row in conn.execute(sa.select(target).order_by(target.c.name)).mappings()]

    def begin(
        self,
        name: str,
        *,
        due_at: datetime,
        run_id: str,
        trigger: str,
        mode: str,
        now: datetime,
        dry_run: bool = False,
        fresh: bool = False,
        analysis_id: str | None = None,
        worker: Worker | None = None,
        policy: Messaging | None = None,
    ) -> Cycle:
        """Begin the cycle of `name` that was due at `due_at`, or go on with one: its own, or one that broke off.

        fresh: end one that broke off, and begin anew. worker: the process that lives as long as the run. Raises
        CycleRefusedError, which names the cycle that stands in the way: an equal one that ran, or one that runs.
        """
        start = Start(due_at, run_id, trigger, mode, dry_run, fresh, analysis_id, worker)
        with connection(self._engine) as conn:
            return conversations.begin(conn, name, start, now=now, policy=policy or Messaging())

    def interrupt(self, analysis_id: str, error: str, *, now: datetime, policy: Messaging | None = None) -> bool:
        """A run broke off: a later one goes on with its cycle, until a message was tried too often; False where the
        cycle does not run."""
        with connection(self._engine) as conn:
            return conversations.interrupt(conn, analysis_id, error, now, policy or Messaging())

    def end(self, analysis_id: str, error: str, *, now: datetime) -> None:
        """End a cycle with an error, for good, and come again in an hour."""
        with connection(self._engine) as conn:
            conversations.end(conn, analysis_id, error, now, timer=True)

    def of_run(self, run_id: str) -> Cycle | None:
        """The cycle that a run began, or went on with."""
        return self._one(cycle_run.c.run_id == run_id)

    def get(self, analysis_id: str) -> Cycle | None:
        with connection(self._engine) as conn:
            query = sa.select(*_COLUMNS).where(cycle.c.analysis_id == analysis_id)
            row = conn.execute(query).mappings().one_or_none()
            return Cycle(**row) if row else None

    def _one(self, *conditions: sa.ColumnElement[bool]) -> Cycle | None:
        joined = cycle.join(cycle_run, cycle_run.c.analysis_id == cycle.c.analysis_id)
        with connection(self._engine) as conn:
            query = sa.select(*_COLUMNS).select_from(joined).where(*conditions)
            row = conn.execute(query).mappings().one_or_none()
            return Cycle(**row) if row else None

    def ran(self, name: str, due_at: datetime) -> Cycle | None:
        """The cycle that a run began, or went on with, for a due time."""
        return self._one(cycle_run.c.target == name, cycle_run.c.due_at == due_at)

    def running(self, name: str) -> Cycle | None:
        """The cycle that a run works on now, as far as the ledger knows."""
        with connection(self._engine) as conn:
            query = sa.select(*_COLUMNS).where(cycle.c.target == name, cycle.c.state == "running")
            row = conn.execute(query).mappings().one_or_none()
            return Cycle(**row) if row else None

    def abandoned(self, analysis_id: str) -> bool:
        """Whether the cycle runs, as the ledger has it, and its process is known to be gone."""
        query = sa.select(cycle.c.host, cycle.c.pid, cycle.c.process_started)
        mine = query.where(cycle.c.analysis_id == analysis_id, cycle.c.state == "running")
        with connection(self._engine) as conn:
            row = conn.execute(mine).one_or_none()
            return row is not None and Worker(*row).alive() is False

    def latest(self, name: str, limit: int = 20) -> Sequence[Cycle]:
        """Newest cycles of a target."""
        query = sa.select(*_COLUMNS).where(cycle.c.target == name).order_by(cycle.c.started_at.desc()).limit(limit)
        with connection(self._engine) as conn:
            return [Cycle(**row) for row in conn.execute(query).mappings()]

    def finish(self, analysis_id: str, *, now: datetime, next_due_at: datetime | None, reason: str) -> None:
        """End a cycle and set the timer, in one transaction; without a due time the timer stays as it is."""
        with connection(self._engine) as conn:
            conversations.finish(conn, analysis_id, now, next_due_at, reason)

    def request(self, name: str, deliver_at: datetime, reason: str, *, body: dict[str, Any] | None = None) -> None:
        """Move the timer of a target. body: fields of the Analyze message that the cycle will receive."""
        with connection(self._engine) as conn:
            timer.move_timer(conn, name, deliver_at, reason, body=body)

    def pull_forward(self, name: str, at: datetime, reason: str, **body: Any) -> bool:
        """Move the timer of a target to an earlier time; see `timer.pull`."""
        with connection(self._engine) as conn:
            return bool(timer.pull(conn, name, at, reason, body))

    def held(self, name: str, now: datetime, floor: timedelta) -> str | None:
        """Why no early cycle may begin now: one runs, or one began less than `floor` ago."""
        newest = self.latest(name, 1)
        if not newest:
            return None
        if newest[0].state == "running":
            return f"a cycle runs since {iso(newest[0].started_at)}"
        age = now - newest[0].started_at
        return f"a cycle began {age.total_seconds():.0f} s ago" if age < floor else None

    def queue(self, names: Sequence[str] | None = None) -> Sequence[Due]:
        """Open requests, earliest first."""
        query = sa.select(
            analyze_queue.c.target,
            analyze_queue.c.deliver_at,
            analyze_queue.c.reason,
            analyze_queue.c.previous_analysis_id,
            analyze_queue.c.body,
        ).order_by(analyze_queue.c.deliver_at)
        if names is not None:
            query = query.where(analyze_queue.c.target.in_(names))
        with connection(self._engine) as conn:
            return [Due(**row) for row in conn.execute(query).mappings()]
