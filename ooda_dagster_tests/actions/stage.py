"""A database with a small table, its loop in mode auto, and what goes wrong around a build."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from ooda_dagster.actions.agreement import mismatches
from ooda_dagster.actions.create_index import propose_index
from ooda_dagster.actions.executor import Executor, Outcome
from ooda_dagster.actions.recovery import recover
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.settings import Mode, with_profile
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.loop.by_hand import approve_action, rollback
from ooda_dagster.loop.context import Loop
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.support import Database, dsn_of, make_orders, open_transaction, wait_until

ON_CUSTOMER = IndexSpec.on("public", "orders", "customer")
ON_STATUS = IndexSpec.on("public", "orders", "status")


_EMPTY = """
do $$ declare object record; begin
    for object in select format('public.%I', c.relname) as name,
        case relkind when 'v' then 'view' else 'table' end as kind
        from pg_class c where relkind in ('r', 'p', 'v') and relnamespace = 'public'::regnamespace
        and not c.relispartition
        and not exists (select from pg_depend where objid = c.oid and deptype in ('e', 'a'))
    loop execute format('drop %s if exists %s cascade', object.kind, object.name); end loop;
    drop foreign data wrapper if exists far cascade;
    drop schema if exists ooda cascade;
end $$
"""


@dataclass
class Stage:
    """One target and what tests do with it."""

    database: Database
    loop: Loop

    @property
    def ledger(self) -> Ledger:
        return self.loop.ledger

    def with_settings(self, group: str, **values: Any) -> Stage:
        """The same with other settings of a group."""
        settings = self.loop.settings
        changed = {group: getattr(settings, group).model_copy(update=values)}
        return Stage(self.database, replace(self.loop, settings=settings.model_copy(update=changed)))

    def with_acting(self, **values: Any) -> Stage:
        return self.with_settings("acting", **values)

    def approved(self, spec: IndexSpec = ON_CUSTOMER, *, name: str | None = None) -> Action:
        """An action that a person proposed and approved."""
        proposal = propose_index(spec, name=name)
        action = self.ledger.actions.propose(self.loop.name, proposal, by="ann", now=self.loop.clock())
        return approve_action(self.loop, action, by="ann")

    def executor(self, **options: Any) -> Executor:
        return Executor(self.loop.target, self.ledger, self.loop.settings, actor="ann", **options)

    def apply(self, action: Action, **options: Any) -> Outcome:
        (outcome,) = self.executor(**options).apply([action])
        return outcome

    def built(self, spec: IndexSpec = ON_CUSTOMER, *, name: str | None = None) -> Action:
        outcome = self.apply(self.approved(spec, name=name))
        assert outcome.done, outcome.note
        return outcome.action

    def rollback(self, action: Action) -> Outcome:
        return rollback(self.loop, self.now(action), by="ann")

    def now(self, action: Action) -> Action:
        return self.ledger.actions.get(action.action_id)

    def moves(self, action: Action) -> list[str]:
        """The states that an action went through."""
        return [row["to_state"] for row in self.ledger.actions.history(action.action_id)]

    def recover(self) -> list[str]:
        return recover(self.loop.target, self.ledger, self.loop.settings)

    def disagreements(self) -> list[str]:
        with self.loop.target.observing("check") as session:
            return [str(m) for m in mismatches(self.loop.target, self.ledger, session)]

    def definitions(self) -> dict[str, str]:
        """Every index of the database, with its comment."""
        rows = self.database.execute(
            "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) || ' ' || indisvalid || ' ' "
            "|| coalesce(obj_description(indexrelid, 'pg_class'), '') from pg_index "
            "where indrelid >= 16384"
        )
        return dict(rows)


def make_stage(database: Database, ledger: Ledger, home: Path, *, rows: int = 3000) -> Stage:
    """A target that the ledger did not know, on an emptied database."""
    database.execute(_EMPTY)
    make_orders(database, rows)
    name = f"t{uuid.uuid4().hex[:8]}"
    settings = with_profile("short", {"mode": Mode.AUTO})
    loop = Loop(PostgresTarget(name, database.observe, database.act), ledger, settings, home=home)
    loop.register()
    return Stage(database, loop)


def write_to_orders(database: Database) -> Any:
    """An open write to the table: a build waits for it, with its index in the catalogue and invalid."""
    return open_transaction(database.app, "update orders set note = note where id = 1")


def read_elsewhere(database: Database) -> Any:
    """An open snapshot on an unrelated table: a build waits for it, and its debris can be dropped meanwhile."""
    database.execute("create table if not exists unrelated (a int)", dsn=database.app)
    return open_transaction(database.app, "set transaction isolation level repeatable read", "select * from unrelated")


def late(connection: psycopg.Connection[Any], *statements: str) -> Callable[[str], None]:
    """A listener that runs somebody's statements when the guards were passed and the deed is about to begin."""

    def say(line: str) -> None:
        if line.endswith(" ..."):
            for statement in statements:
                connection.execute(trusted(statement))

    return say


def await_build(database: Database, *, index: bool = True, table: str = "") -> int:
    """Until a build of ours (on a table) waits for somebody; the pid of its backend."""

    def waiting() -> int | None:
        rows = database.execute(
            "select pid from pg_stat_activity where datname = current_database() and state = 'active' "
            "and wait_event_type = 'Lock' and query ilike 'create index concurrently%%' and query like %s",
            f"% ON public.{table}%",
        )
        invalid = any(not valid for valid in database.indexes().values())
        return rows[0][0] if rows and (invalid or not index) else None

    return wait_until(waiting, what="a waiting build")


@contextmanager
def in_thread(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run `work` beside the block; its result, or its error, is in the list when the block has ended."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def writer(database: Database, statement: str = "update orders set note = note where id = 2") -> Iterator[list[float]]:
    """A writer on a table, from another connection; its stalls in seconds, one a write."""
    stalls: list[float] = []
    stop = threading.Event()

    def run() -> None:
        with psycopg.connect(database.app, autocommit=True) as connection:
            while not stop.wait(0.01):
                began = time.monotonic()
                connection.execute(trusted(statement))
                stalls.append(time.monotonic() - began)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_until(lambda: stalls, what="a first write")
    try:
        yield stalls
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def tablespace(database: Database, name: str) -> Iterator[Path]:
    """A tablespace, which must be empty again at the end of the block; its directory."""
    place = database.cluster.data_dir.resolve().parent / name
    place.mkdir()
    owner = database.cluster.data_dir.stat()
    os.chown(place, owner.st_uid, owner.st_gid)
    database.execute(f"create tablespace {name} location '{place}'")
    try:
        yield place
    finally:
        database.execute(f"drop tablespace {name}")
        place.rmdir()


# ------------------------------------------------------------------ workers that die


def worker(stage: Stage, work: Callable[[Stage], Any]) -> int:
    """A process of its own that works on the same target with connections of its own; its pid.

    It is forked and ends without a goodbye, so that nothing of the tests' process is cleaned up by it.
    """
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            ledger = Ledger(dsn_of(stage.ledger))
            work(Stage(stage.database, replace(stage.loop, ledger=ledger)))
        except BaseException as error:
            os.write(2, f"the worker ended with {error!r}\n".encode())
            os._exit(1)
        finally:
            os._exit(0)
    return pid


def die() -> None:
    """As kill -9 does it."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(pid: int) -> int:
    """The status that a worker ended with: minus the signal, or its exit code."""

    def ended() -> tuple[int] | None:
        found, status = os.waitpid(pid, os.WNOHANG)
        return (status,) if found else None

    return os.waitstatus_to_exitcode(wait_until(ended, what="the worker's end")[0])


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def dying_at(point: str, stage: Stage, action: Action) -> int:
    """A worker that applies an action and dies at a point of it; waits for its death."""

    def work(own: Stage) -> None:
        from ooda_dagster_tests.actions.dying import deadly

        executor = own.executor(types={action.action_type: deadly(point, own.ledger)})
        for outcome in executor.apply([own.now(action)]):
            os.write(2, f"the worker came to: {outcome.note}\n".encode())

    pid = worker(stage, work)
    status = wait_for(pid)
    assert status == -signal.SIGKILL, f"the worker did not die at {point}: {status}"
    return pid
