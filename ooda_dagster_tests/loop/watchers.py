"""What watches whole cycles from outside: writers that time their stalls, and a look at our sessions at 10 Hz."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.support import Database

#: Without the helpers of a build: they are no connections, and have the name of the session that they help.
_OURS = """
select count(*), count(*) filter (where state like 'idle in transaction%'),
       coalesce(max(extract(epoch from clock_timestamp() - state_change))
                filter (where state like 'idle in transaction%'), 0)::float8,
       coalesce(string_agg(application_name || ': ' || state, ', '), '')
from pg_stat_activity where datname = current_database() and application_name like 'ooda/%'
  and backend_type = 'client backend'
"""


@dataclass
class Seen:
    """The worst of what was seen. Times in seconds."""

    samples: int = 0
    writes: int = 0
    connections: int = 0
    idle_in_transaction: int = 0
    stalls: list[float] = field(default_factory=list)
    sessions: str = ""

    @property
    def worst_stall(self) -> float:
        return max(self.stalls)


@contextmanager
def watched(database: Database, statements: Sequence[str], *, elsewhere_s: float) -> Iterator[Seen]:
    """A writer for each statement, somebody whose transactions elsewhere last `elsewhere_s`, and a look at 10 Hz."""
    seen, stop, errors = Seen(), threading.Event(), []
    database.execute("create table if not exists unrelated (a int)", dsn=database.app)

    def write(statement: str) -> None:
        with psycopg.connect(database.app, autocommit=True) as connection:
            while not stop.wait(0.005):
                began = time.monotonic()
                connection.execute(trusted(statement))
                seen.stalls.append(time.monotonic() - began)

    def read_elsewhere() -> None:
        with psycopg.connect(database.app, application_name="report") as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            while not stop.is_set():
                connection.execute("insert into unrelated values (1)")
                stop.wait(elsewhere_s)
                connection.rollback()

    def look() -> None:
        with psycopg.connect(database.superuser, autocommit=True) as connection:
            while not stop.wait(0.1):
                row = connection.execute(trusted(_OURS)).fetchone()
                assert row is not None
                seen.samples += 1
                if row[0] > seen.connections:
                    seen.connections, seen.sessions = row[0], row[3]
                seen.idle_in_transaction += row[1]

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    works: list[Callable[[], None]] = [look, read_elsewhere, *(lambda s=s: write(s) for s in statements)]
    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
        database.execute("drop table unrelated")
    assert not errors, errors
    assert not any(thread.is_alive() for thread in threads)
    seen.writes = len(seen.stalls)
