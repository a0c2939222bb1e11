"""A cycle's life: begun once for a due time, taken on by another run where its own broke off, ended once.

A cycle is the conversation of its phases. It outlives a run that dies: the next run goes on with it under the same
analysis_id, with what its phases said already, until a message was tried too often or the lifetime is over.

Everything here works in the caller's transaction.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ooda_dagster.core.cadence import Delay, due_at, resume_delay
from ooda_dagster.core.contracts import CONTRACTS, Queue
from ooda_dagster.core.messages import Analyze
from ooda_dagster.core.settings import Messaging
from ooda_dagster.core.text import cut
from ooda_dagster.core.wire import iso
from ooda_dagster.ledger.tables import cycle, cycle_run, dead_letter, message, target
from ooda_dagster.ledger.timer import due_request, move_timer
from ooda_dagster.ledger.worker import Worker

#: How long a cycle of an unreachable host is believed to run; a cycle acts for minutes, an index build may take hours.
LEASE = timedelta(hours=6)
#: After a cycle that ended with an error.
AFTER_ERROR_MINUTES = 60
#: Trigger of a conversation that only carries out approvals: where it breaks off, the next cycle carries them out.
APPROVAL = "approval"


class CycleRefusedError(RuntimeError):
    """The cycle does not run, because another one runs or ran in its place."""


@dataclass(frozen=True)
class Cycle:
    """One turn of the loop for one target. State: running, interrupted (to be taken on), finished, failed."""

    analysis_id: str
    target: str
    due_at: datetime
    run_id: str
    trigger: str
    mode: str
    dry_run: bool
    started_at: datetime
    expires_at: datetime
    state: str
    finished_at: datetime | None = None
    error: str | None = None
    next_due_at: datetime | None = None
    next_due_reason: str | None = None


@dataclass(frozen=True)
class Start:
    """Who wants to begin a cycle, and how.

    fresh: do not go on with one that broke off. analysis_id: for a new one. worker: who holds it, if not this process.
    """

    due_at: datetime
    run_id: str
    trigger: str
    mode: str
    dry_run: bool = False
    fresh: bool = False
    analysis_id: str | None = None
    worker: Worker | None = None


COLUMNS = [cycle.c[name] for name in Cycle.__dataclass_fields__]


def begin(conn: sa.Connection, name: str, start: Start, *, now: datetime, policy: Messaging) -> Cycle:
    """Begin a cycle, or go on with one; see `Cycles.begin`."""
    conn.execute(sa.select(target.c.name).where(target.c.name == name).with_for_update()).one()
    own = _of_run(conn, start.run_id)
    if own and own.state == "finished":
        return own
    if own and own.state == "failed":
        raise CycleRefusedError(f"the cycle of this run ended: {own.error or 'with an error'}")
    if own is None and (ran := _one(conn, cycle_run.c.target == name, cycle_run.c.due_at == start.due_at)):
        which = f"analysis {ran.analysis_id}, {ran.state}"
        raise CycleRefusedError(f"the cycle of {name} due at {iso(start.due_at)} already ran: {which}")
    _refuse_second(conn, name, start.run_id, now)
    request = due_request(conn, name, by=max(now, start.due_at))
    own = own or _take_on(conn, name, start, request, now, policy)
    if own is not None:
        return _go_on(conn, own, start, now)
    return _new(conn, name, start, request, now, policy)


def _of_run(conn: sa.Connection, run_id: str) -> Cycle | None:
    return _one(conn, cycle_run.c.run_id == run_id)


def _one(conn: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Cycle | None:
    joined = cycle.join(cycle_run, cycle_run.c.analysis_id == cycle.c.analysis_id)
    row = conn.execute(sa.select(*COLUMNS).select_from(joined).where(*conditions)).mappings().one_or_none()
    return Cycle(**row) if row else None


def _holder(start: Start, now: datetime) -> dict[str, Any]:
    worker = start.worker or Worker.current()
    return {"host": worker.host, "pid": worker.pid, "process_started": worker.started, "lease_until": now + LEASE}


def _refuse_second(conn: sa.Connection, name: str, run_id: str, now: datetime) -> None:
    """Raise where another run's cycle of the target works; one whose worker is dead is left to be taken on."""
    working = sa.select(cycle).where(cycle.c.target == name, cycle.c.state == "running", cycle.c.run_id != run_id)
    other = conn.execute(working).mappings().one_or_none()
    if not other:
        return
    alive = Worker(other["host"], other["pid"], other["process_started"]).alive()
    if alive or (alive is None and other["lease_until"] > now):
        raise CycleRefusedError(
            f"a cycle of {name} runs since {iso(other['started_at'])}: analysis {other['analysis_id']}, "
            f"process {other['pid']} on {other['host']}"
        )
    dead = sa.update(cycle).where(cycle.c.analysis_id == other["analysis_id"])
    conn.execute(dead.values(state="interrupted", error="its worker died"))


def _take_on(
    conn: sa.Connection, name: str, start: Start, request: sa.RowMapping | None, now: datetime, policy: Messaging
) -> Cycle | None:
    """The cycle that broke off, where this run may go on with it; one that may not be is ended with the reason."""
    # Somebody asked for a lookback of their own: what another one found is no answer.
    fresh = start.fresh or (request is not None and "lookbackHours" in request["body"])
    broken = sa.select(*COLUMNS).where(cycle.c.target == name, cycle.c.state == "interrupted")
    for row in conn.execute(broken.order_by(cycle.c.started_at)).mappings().all():
        found = Cycle(**row)
        if start.dry_run or start.trigger == APPROVAL:
            continue  # left to the next cycle that really goes through all phases
        tried, phase = _waiting(conn, found.analysis_id)
        if found.expires_at <= now:
            end(conn, found.analysis_id, f"its lifetime was over; last: {found.error}", now)
        elif fresh or found.dry_run or found.trigger == APPROVAL:
            end(conn, found.analysis_id, f"given up for a new one; last: {found.error}", now)
        elif tried >= policy.max_attempts:
            bury(conn, found.analysis_id, phase, found.error or "its worker died", now, timer=False)
        else:
            return found
    return None


def _waiting(conn: sa.Connection, analysis_id: str) -> tuple[int, str]:
    """Receipts so far of the message that the conversation waits on, and its phase."""
    waiting = sa.select(message.c.attempts, message.c.phase).where(
        message.c.analysis_id == analysis_id, message.c.acknowledged_at.is_(None), message.c.queue.is_not(None)
    )
    row = conn.execute(waiting.order_by(message.c.message_id.desc()).limit(1)).one_or_none()
    return (row.attempts, row.phase) if row else (0, Analyze.phase)


def _go_on(conn: sa.Connection, own: Cycle, start: Start, now: datetime) -> Cycle:
    if start.run_id != own.run_id:
        conn.execute(
            insert(cycle_run)
            .values(
                run_id=start.run_id, analysis_id=own.analysis_id, target=own.target, due_at=start.due_at, began_at=now
            )
            .on_conflict_do_nothing()
        )
    again = sa.update(cycle).where(cycle.c.analysis_id == own.analysis_id)
    taken = {"state": "running", "run_id": start.run_id, "finished_at": None, "error": None}
    row = conn.execute(again.values(**taken, **_holder(start, now)).returning(*COLUMNS)).mappings().one()
    return Cycle(**row)


def _new(
    conn: sa.Connection, name: str, start: Start, request: sa.RowMapping | None, now: datetime, policy: Messaging
) -> Cycle:
    made = Cycle(
        analysis_id=start.analysis_id or str(uuid.uuid4()),
        target=name,
        due_at=start.due_at,
        run_id=start.run_id,
        trigger=start.trigger,
        mode=start.mode,
        dry_run=start.dry_run,
        started_at=now,
        expires_at=now + timedelta(hours=policy.lifetime_h),
        state="running",
    )
    conn.execute(sa.insert(cycle).values(**{c.name: getattr(made, c.name) for c in COLUMNS}, **_holder(start, now)))
    ran = {"run_id": start.run_id, "analysis_id": made.analysis_id, "target": name, "due_at": start.due_at}
    conn.execute(sa.insert(cycle_run).values(**ran, began_at=now))
    body = Analyze(
        analysis_id=made.analysis_id,
        target=name,
        timestamp=now,
        trigger_reason=request["reason"] if request else start.trigger,
        reason=request["reason"] if request else "",
        previous_analysis_id=request["previous_analysis_id"] if request else None,
    ).body()
    conn.execute(
        sa.insert(message).values(
            analysis_id=made.analysis_id,
            target=name,
            phase=Analyze.phase,
            run_id=start.run_id,
            body=body | (request["body"] if request else {}),
            queue=Queue.ANALYZE,
        )
    )
    return made


def receive(conn: sa.Connection, analysis_id: str, phase: str, now: datetime) -> int:
    """Count a receipt of the message that `phase` sent; how many there are now, 0 where it waits for nobody."""
    mine = sa.and_(message.c.analysis_id == analysis_id, message.c.phase == phase, message.c.acknowledged_at.is_(None))
    counted = sa.update(message).where(mine).values(attempts=message.c.attempts + 1, received_at=now)
    return conn.execute(counted.returning(message.c.attempts)).scalar_one_or_none() or 0


def acknowledge(conn: sa.Connection, analysis_id: str, phase: str, now: datetime) -> None:
    """The message that `phase` sent is worked on: it waits no more."""
    mine = sa.and_(message.c.analysis_id == analysis_id, message.c.phase == phase, message.c.acknowledged_at.is_(None))
    conn.execute(sa.update(message).where(mine).values(acknowledged_at=now))


def interrupt(conn: sa.Connection, analysis_id: str, error: str, now: datetime, policy: Messaging) -> bool:
    """Leave a running cycle to be taken on by a later run, and set the timer for it; False where it does not run."""
    stopped = sa.update(cycle).where(cycle.c.analysis_id == analysis_id, cycle.c.state == "running")
    told = stopped.values(state="interrupted", error=error)
    row = conn.execute(told.returning(cycle.c.target, cycle.c.dry_run, cycle.c.trigger)).one_or_none()
    if row is None:
        return False
    if row.dry_run or row.trigger == APPROVAL:
        end(conn, analysis_id, error, now)
        return True
    tried, phase = _waiting(conn, analysis_id)
    if tried >= policy.max_attempts:
        bury(conn, analysis_id, phase, error, now)
        return True
    delay = resume_delay(max(tried, 1), cut(error, 160), first_s=policy.resume_s, most=policy.max_attempts)
    move_timer(conn, row.target, due_at(now, delay), delay.reason, analysis_id)
    return True


def bury(conn: sa.Connection, analysis_id: str, phase: str, error: str, now: datetime, *, timer: bool = True) -> None:
    """Put the message that `phase` sent among the dead letters; its conversation ends with the error."""
    mine = sa.and_(message.c.analysis_id == analysis_id, message.c.phase == phase)
    row = conn.execute(sa.select(message).where(mine)).mappings().one_or_none()
    if row is not None:
        dead = insert(dead_letter).values(
            **{k: row[k] for k in ("message_id", "analysis_id", "target", "phase", "attempts")},
            queue=row["queue"] or CONTRACTS[phase].queue or Queue.ANALYZE,
            error=error,
            died_at=now,
        )
        conn.execute(dead.on_conflict_do_nothing())
    tried = f" after {row['attempts']} attempts" if row else ""
    end(conn, analysis_id, f"{phase}'s message is dead{tried}: {error}", now, timer=timer)


def end(conn: sa.Connection, analysis_id: str, error: str, now: datetime, *, timer: bool = False) -> None:
    """End a cycle with an error; with `timer`, the next one comes in an hour."""
    ended = sa.update(cycle).where(cycle.c.analysis_id == analysis_id, cycle.c.state.in_(("running", "interrupted")))
    values: dict[str, Any] = {"state": "failed", "finished_at": now, "error": error}
    delay = Delay(AFTER_ERROR_MINUTES, f"cycle ended with an error: {error[:200]}")
    if timer:
        values |= {"next_due_at": due_at(now, delay), "next_due_reason": delay.reason}
    row = conn.execute(ended.values(**values).returning(cycle.c.target)).one_or_none()
    if row and timer:
        move_timer(conn, row.target, due_at(now, delay), delay.reason, analysis_id)


def finish(
    conn: sa.Connection,
    analysis_id: str,
    now: datetime,
    next_due_at: datetime | None,
    reason: str,
    body: dict[str, Any] | None = None,
) -> None:
    """End a running cycle well, and set the timer; without a due time the timer stays as it is.

    body: fields of the Analyze message that the next cycle will receive.
    """
    ended = sa.update(cycle).where(cycle.c.analysis_id == analysis_id, cycle.c.state == "running")
    values = {"state": "finished", "finished_at": now, "next_due_at": next_due_at, "next_due_reason": reason}
    row = conn.execute(ended.values(**values).returning(cycle.c.target)).one_or_none()
    if row and next_due_at is not None:
        move_timer(conn, row.target, next_due_at, reason, analysis_id, body)
