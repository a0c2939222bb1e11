"""Which cycle runs, which ran, and when is the next one due?

Who starts a cycle does not matter: `begin` decides, once, whether it runs. `analyze_queue` is the loop's only timer.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from ooda_dagster.core.messages import iso
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.tables import analyze_queue, cycle, target
from ooda_dagster.ledger.worker import Worker

#: How long a cycle of an unreachable host is believed to run; a cycle acts for minutes, an index build may take hours.
LEASE = timedelta(hours=6)


class CycleRefusedError(RuntimeError):
    """The cycle does not run, because another one runs or ran in its place."""


@dataclass(frozen=True)
class Cycle:
    """One turn of the loop for one target."""

    analysis_id: str
    target: str
    due_at: datetime
    run_id: str
    trigger: str
    mode: str
    dry_run: bool
    started_at: datetime
    state: str
    finished_at: datetime | None = None
    error: str | None = None
    next_due_at: datetime | None = None
    next_due_reason: str | None = None


@dataclass(frozen=True)
class Due:
    """The open request for a cycle of a target."""

    target: str
    deliver_at: datetime
    reason: str
    previous_analysis_id: str | None


_COLUMNS = [cycle.c[name] for name in Cycle.__dataclass_fields__]


class Cycles:
    """Cycles and their timer."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def register(
        self, name: str, *, kind: str, mode: str, now: datetime, identity: dict[str, Any] | None = None
    ) -> None:
        """Make `name` known and due at once; a changed mode is noted by the caller, who knows who changed it."""
        with connection(self._engine) as conn:
            known = insert(target).values(name=name, kind=kind, mode=mode, identity=identity or {})
            update: dict[str, Any] = {"mode": mode} | ({"identity": identity} if identity else {})
            conn.execute(known.on_conflict_do_update(index_elements=["name"], set_=update))
            first = insert(analyze_queue).values(target=name, deliver_at=now, reason="new target")
            conn.execute(first.on_conflict_do_nothing())

    def registered(self, name: str) -> dict[str, Any] | None:
        """The target's row."""
        with connection(self._engine) as conn:
            row = conn.execute(sa.select(target).where(target.c.name == name)).mappings().one_or_none()
            return dict(row) if row else None

    def pause(self, name: str, now: datetime) -> bool:
        """Begin no new action from `now` on; False where the target was paused already."""
        return self._set_paused(name, target.c.paused_at.is_(None), now)

    def resume(self, name: str) -> bool:
        """Lift a pause; False where there was none."""
        return self._set_paused(name, target.c.paused_at.is_not(None), None)

    def _set_paused(self, name: str, condition: sa.ColumnElement[bool], moment: datetime | None) -> bool:
        with connection(self._engine) as conn:
            change = sa.update(target).where(target.c.name == name, condition).values(paused_at=moment)
            return conn.execute(change.returning(target.c.name)).one_or_none() is not None

    def forget(self, name: str) -> None:
        """Remove a target and all that was learned of it."""
        with connection(self._engine) as conn:
            conn.execute(sa.delete(target).where(target.c.name == name))

    def targets(self) -> Sequence[dict[str, Any]]:
        """Rows of all targets that were ever known."""
        with connection(self._engine) as conn:
            return [dict(row) for row in conn.execute(sa.select(target).order_by(target.c.name)).mappings()]

    def begin(
        self, name: str, *, due_at: datetime, run_id: str, trigger: str, mode: str, now: datetime, dry_run: bool = False
    ) -> Cycle:
        """Begin the cycle of `name` that was due at `due_at`, or go on with it where `run_id` began it.

        Raises CycleRefusedError, which names the cycle that stands in the way: an equal one that ran, or one that runs.
        """
        worker = Worker.current()
        holder = {
            "host": worker.host,
            "pid": worker.pid,
            "process_started": worker.started,
            "lease_until": now + LEASE,
        }
        with connection(self._engine) as conn:
            conn.execute(sa.select(target.c.name).where(target.c.name == name).with_for_update()).one()
            own = conn.execute(sa.select(*_COLUMNS).where(cycle.c.run_id == run_id)).mappings().one_or_none()
            if own and own["state"] == "finished":
                return Cycle(**own)
            if own:
                if own["state"] == "failed":
                    self._refuse_second(conn, name, now)
                again = sa.update(cycle).where(cycle.c.run_id == run_id)
                conn.execute(again.values(state="running", finished_at=None, error=None, **holder))
                return Cycle(**{**own, "state": "running", "finished_at": None, "error": None})
            same = sa.select(*_COLUMNS).where(cycle.c.target == name, cycle.c.due_at == due_at)
            if ran := conn.execute(same).mappings().one_or_none():
                which = f"analysis {ran['analysis_id']}, {ran['state']}"
                raise CycleRefusedError(f"the cycle of {name} due at {iso(due_at)} already ran: {which}")
            self._refuse_second(conn, name, now)
            analysis_id = str(uuid.uuid4())
            values = {
                "analysis_id": analysis_id,
                "target": name,
                "due_at": due_at,
                "run_id": run_id,
                "trigger": trigger,
                "mode": mode,
                "dry_run": dry_run,
                "started_at": now,
            }
            conn.execute(sa.insert(cycle).values(**values, **holder))
            return Cycle(**values, state="running")

    def _refuse_second(self, conn: sa.Connection, name: str, now: datetime) -> None:
        """Raise where another cycle of the target runs; write off one whose worker is dead."""
        running = sa.select(cycle).where(cycle.c.target == name, cycle.c.state == "running")
        other = conn.execute(running).mappings().one_or_none()
        if not other:
            return
        alive = Worker(other["host"], other["pid"], other["process_started"]).alive()
        if alive or (alive is None and other["lease_until"] > now):
            raise CycleRefusedError(
                f"a cycle of {name} runs since {iso(other['started_at'])}: analysis {other['analysis_id']}, "
                f"process {other['pid']} on {other['host']}"
            )
        dead = sa.update(cycle).where(cycle.c.analysis_id == other["analysis_id"])
        conn.execute(dead.values(state="failed", finished_at=now, error="its worker died"))

    def of_run(self, run_id: str) -> Cycle | None:
        """The cycle that a run began."""
        return self._one(cycle.c.run_id == run_id)

    def get(self, analysis_id: str) -> Cycle | None:
        return self._one(cycle.c.analysis_id == analysis_id)

    def _one(self, condition: sa.ColumnElement[bool]) -> Cycle | None:
        with connection(self._engine) as conn:
            row = conn.execute(sa.select(*_COLUMNS).where(condition)).mappings().one_or_none()
            return Cycle(**row) if row else None

    def ran(self, name: str, due_at: datetime) -> Cycle | None:
        """The cycle that was begun for a due time."""
        return self._one(sa.and_(cycle.c.target == name, cycle.c.due_at == due_at))

    def latest(self, name: str, limit: int = 20) -> Sequence[Cycle]:
        """Newest cycles of a target."""
        query = sa.select(*_COLUMNS).where(cycle.c.target == name).order_by(cycle.c.started_at.desc()).limit(limit)
        with connection(self._engine) as conn:
            return [Cycle(**row) for row in conn.execute(query).mappings()]

    def finish(
        self,
        analysis_id: str,
        *,
        now: datetime,
        next_due_at: datetime | None,
        reason: str,
        error: str | None = None,
    ) -> None:
        """End a cycle and set the timer, in one transaction; without a due time the timer stays as it is."""
        with connection(self._engine) as conn:
            ended = sa.update(cycle).where(cycle.c.analysis_id == analysis_id, cycle.c.state == "running")
            row = conn.execute(
                ended.values(
                    state="failed" if error else "finished",
                    finished_at=now,
                    error=error,
                    next_due_at=next_due_at,
                    next_due_reason=reason,
                ).returning(cycle.c.target)
            ).one_or_none()
            if row and next_due_at is not None:
                self._request(conn, row.target, next_due_at, reason, analysis_id)

    def request(self, name: str, deliver_at: datetime, reason: str) -> None:
        """Move the timer of a target."""
        with connection(self._engine) as conn:
            self._request(conn, name, deliver_at, reason, None)

    def pull_forward(self, name: str, at: datetime, reason: str, **body: Any) -> bool:
        """Move the timer of a target to an earlier time, with `body` for its cycle; True where it moved.

        It stays where the cycle is due by then, which then gets the body all the same, and where a cycle runs.
        """
        with connection(self._engine) as conn:
            return bool(pull(conn, name, at, reason, body))

    def held(self, name: str, now: datetime, floor: timedelta) -> str | None:
        """Why no early cycle may begin now: one runs, or one began less than `floor` ago."""
        newest = self.latest(name, 1)
        if not newest:
            return None
        if newest[0].state == "running":
            return f"a cycle runs since {iso(newest[0].started_at)}"
        age = now - newest[0].started_at
        return f"a cycle began {age.total_seconds():.0f} s ago" if age < floor else None

    def _request(self, conn: sa.Connection, name: str, at: datetime, reason: str, previous: str | None) -> None:
        values: dict[str, Any] = {
            "deliver_at": at,
            "reason": reason,
            "previous_analysis_id": previous,
            "enqueued_at": sa.func.now(),
            "body": {},  # what was asked of the last cycle is not asked of this one
        }
        row = insert(analyze_queue).values(target=name, **values)
        conn.execute(row.on_conflict_do_update(index_elements=["target"], set_=values))

    def queue(self, names: Sequence[str] | None = None) -> Sequence[Due]:
        """Open requests, earliest first."""
        query = sa.select(
            analyze_queue.c.target,
            analyze_queue.c.deliver_at,
            analyze_queue.c.reason,
            analyze_queue.c.previous_analysis_id,
        ).order_by(analyze_queue.c.deliver_at)
        if names is not None:
            query = query.where(analyze_queue.c.target.in_(names))
        with connection(self._engine) as conn:
            return [Due(**row) for row in conn.execute(query).mappings()]


def pull(conn: sa.Connection, name: str, at: datetime, reason: str, body: dict[str, Any]) -> bool | None:
    """Within a transaction, what `Cycles.pull_forward` does; None where a cycle runs, or the target has no timer."""
    timer = sa.select(analyze_queue.c.deliver_at).where(analyze_queue.c.target == name).with_for_update()
    due = conn.execute(timer).scalar_one_or_none()
    running = sa.select(cycle.c.analysis_id).where(cycle.c.target == name, cycle.c.state == "running")
    if due is None or conn.execute(running).first():
        return None
    values: dict[str, Any] = {"body": analyze_queue.c.body.concat(sa.cast(body, JSONB))}
    if due > at:
        values |= {"deliver_at": at, "reason": reason, "enqueued_at": sa.func.now()}
    conn.execute(sa.update(analyze_queue).where(analyze_queue.c.target == name).values(**values))
    return due > at
