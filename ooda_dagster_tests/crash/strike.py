"""Something dies while the worker is at its point."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

import psycopg

from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.crash import worker
from ooda_dagster_tests.crash.ground import Ground
from ooda_dagster_tests.crash.points import NOTICED, Fault, Stop, When
from ooda_dagster_tests.crash.worker import Doomed, Mutation, Work
from ooda_dagster_tests.support import wait_until

_WAITING = """
select pid from pg_stat_activity where application_name like 'ooda/%%' and state = 'active'
and wait_event_type = 'Lock' and query ilike %s
"""
_ALIVE = "select 1 from pg_stat_activity where pid = %s"


@dataclass(frozen=True)
class Strike:
    """What dies, and when. begins: the statement's first words in lower case; None at a commit of the ledger.

    held_by: a superuser's statements that make it wait in its middle.
    """

    fault: Fault
    when: When
    begins: str | None = None
    held_by: Sequence[str] = ()


@dataclass(frozen=True)
class Refusal:
    """A statement that fails: somebody cancels it while it waits, or it loses the lock that it waits for."""

    begins: str
    held_by: Sequence[str]
    cancelled: bool


def struck(
    ground: Ground,
    stage: Stage,
    work: Work,
    stops: Sequence[Stop],
    strike: Strike | None,
    *,
    refusal: Refusal | None = None,
    mutation: Mutation | None = None,
) -> Doomed:
    """Let a worker come to its last stop, strike it there, see it end, and heal what was broken but nothing else.

    refusal: of the statement at the first stop; the second is what follows on it. Without a strike it ends by itself.
    """
    silent = strike is not None and strike.fault in (Fault.SERVER_SILENT, Fault.LEDGER_SILENT)
    own = ground.through_proxies(stage, connect_timeout_s=3 if silent else 10)
    doomed = worker.start(own, work, stops, mutation)
    try:
        if refusal is not None:
            _refuse(ground, refusal, doomed)
        if strike is not None:
            doomed.await_point()
            _at_point(ground, strike, doomed)
        doomed.end()
    except BaseException:
        with suppress(ProcessLookupError):
            doomed.kill()
        raise
    finally:
        own.ledger.close()
        ground.heal()
    return doomed


def _refuse(ground: Ground, refusal: Refusal, doomed: Doomed) -> None:
    doomed.await_point()
    with closing(held(ground, refusal.held_by)):
        doomed.go_on()
        if refusal.cancelled:
            ground.database.execute("select pg_cancel_backend(%s)", await_waiting(ground, refusal.begins))
        doomed.await_point()
    doomed.go_on()


def _at_point(ground: Ground, strike: Strike, doomed: Doomed) -> None:
    if strike.when == When.RUNNING:
        with closing(held(ground, strike.held_by)):
            doomed.go_on()
            backend = await_waiting(ground, str(strike.begins))
            _kill(ground, strike.fault, doomed)
            if strike.fault in NOTICED:
                wait_until(
                    lambda: not ground.database.execute(_ALIVE, backend), timeout_s=10, what="the end of the backend"
                )
    elif strike.when == When.UNANSWERED:
        proxy = ground.to_ledger if strike.begins is None else ground.to_server
        proxy.hold(after=(strike.begins or "commit").encode())
        doomed.go_on()
        proxy.await_answer()
        _kill(ground, strike.fault, doomed)
        proxy.release()
    else:
        _kill(ground, strike.fault, doomed)
        doomed.go_on()


def held(ground: Ground, by: Sequence[str]) -> psycopg.Connection[tuple[object, ...]]:
    """Somebody's open transaction, in whose way a statement of ours will stand."""
    somebody = psycopg.connect(ground.database.superuser)
    for statement in by:
        somebody.execute(trusted(statement))
    return somebody


def await_waiting(ground: Ground, begins: str) -> int:
    """Until a statement of ours waits for a lock; the pid of its backend."""

    def waiting() -> int | None:
        rows = ground.database.execute(_WAITING, f"{begins}%")
        return rows[0][0] if rows else None

    return wait_until(waiting, what="a statement that waits")


def _kill(ground: Ground, fault: Fault, doomed: Doomed) -> None:
    match fault:
        case Fault.WORKER:
            doomed.kill()
        case Fault.SERVER:
            ground.server.kill()
        case Fault.LEDGER:
            ground.ledger_server.kill()
        case Fault.SERVER_CUT:
            ground.to_server.cut()
        case Fault.LEDGER_CUT:
            ground.to_ledger.cut()
        case Fault.BLIP:
            ground.to_server.cut()
            ground.to_server.mend()
        case Fault.SERVER_SILENT:
            ground.to_server.silence()
        case Fault.LEDGER_SILENT:
            ground.to_ledger.silence()
