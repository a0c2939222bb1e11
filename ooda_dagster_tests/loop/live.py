"""Live traffic on tables of our own, and a loop that measures it: windows are seconds, as in the demonstration."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ooda_dagster.collect.sampler import sample
from ooda_dagster.core.settings import Mode
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.loop import by_hand
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.losers import Loser, open_losers
from ooda_dagster.loop.second_look import look_twice
from ooda_dagster.loop.verify import verify
from ooda_dagster_tests.loop.ground import Turn, make_loop, turn
from ooda_dagster_tests.support import Database, traffic

_BASELINE_S, _PATIENCE_S, _PER_SECOND = 30, 110, 20

#: What nothing of a test touches, so that there is a control group.
_BESIDE = (
    "create table beside (id int primary key, note text not null) with (autovacuum_enabled = off); "
    "insert into beside select g, repeat('x', 80) from generate_series(1, 6000) g"
)
CONTROLS = ("select max(note) from beside where id > 10", "select count(*) from beside where note < 'y'")


@dataclass
class Live:
    """A database under traffic, in mode auto; the loop proposes no index of its own."""

    database: Database
    loop: Loop

    @property
    def ledger(self) -> Ledger:
        return self.loop.ledger

    def run(self, sql: str) -> None:
        self.database.execute(sql, dsn=self.database.app)

    @contextmanager
    def traffic(self, *statements: str) -> Iterator[None]:
        """Run statements in turn, the controls with them; the block begins when there is a baseline of them."""
        with traffic(self.database.app, {s: lambda _: () for s in (*statements, *CONTROLS)}, per_second=_PER_SECOND):
            self.sampled(_BASELINE_S)
            yield

    def sampled(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            sample(self.loop.target, self.ledger, self.loop.settings.sampling)
            time.sleep(1)

    def built(self, ddl: str) -> Action:
        """A person's index, built by a cycle."""
        action = by_hand.propose(self.loop, ddl, by="ann", approve=True)
        turn(self.loop)
        return self.ledger.actions.get(action.action_id)

    def cycle(self) -> Turn:
        return turn(self.loop)

    def judged(self, action: Action) -> Action:
        """The action once its verdict is closed."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            self.sampled(2)
            if any(a.action_id == action.action_id for a in verify(self.loop)):
                return self.ledger.actions.get(action.action_id)
        raise AssertionError(f"no verdict within {_PATIENCE_S} s")

    def loser(self) -> Loser:
        """The statement that lost by what was kept, once it is found."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            if found := open_losers(self.loop):
                (only,) = found.values()
                return only
            self.sampled(2)
            assert look_twice(self.loop) == []
        raise AssertionError(f"no loser within {_PATIENCE_S} s")

    def ms_per_call(self, word: str, since: datetime, until: datetime) -> float:
        """Of the statements that hold a word."""
        totals = self.ledger.rollups.totals(self.loop.name, since, until)
        mine = totals[totals["text"].str.contains(word, regex=False)]
        return float(mine["sum_ms"].sum()) / float(mine["n"].sum())

    def plan(self, statement: str) -> str:
        return str(self.database.execute(f"explain {statement}"))


@contextmanager
def live(database: Database, ledger: Ledger, home: Path, tables: Sequence[str], **settings: Any) -> Iterator[Live]:
    """Tables of one test, made by statements, and the loop; they are dropped at the end of the block."""
    made = [*tables, _BESIDE]
    for sql in made:
        database.execute(sql, dsn=database.app)
    for name in (names := [sql.split("create table ")[1].split()[0] for sql in made]):
        database.execute(f"analyze {name}", dsn=database.app)  # in the transaction that fills it, all rows count as new
    here = "(select oid from pg_database where datname = current_database())"
    database.execute(f"select pg_stat_statements_reset(0, {here}, 0)")
    settings = {"advice": {"index_budget": "0MB"}, "acting": {"approve_threshold": 3}, **settings}
    try:
        yield Live(database, make_loop(database, ledger, home, Mode.AUTO, **settings))
    finally:
        database.execute(f"drop table {', '.join(names)}")


def shown(what: str, action: Action) -> None:
    """The verdict's numbers, for who runs the test."""
    low, high = (f"{100 * (r - 1):+.0f}" if r else "?" for r in (action.ratio_low, action.ratio_high))
    effect = f"{100 * (action.ratio - 1):+.0f} %" if action.ratio else "unknown"
    print(f"{what}: {action.outcome}, {action.state}: work per call {effect}, {low} to {high}")


def seconds_ago(loop: Loop, seconds: float) -> datetime:
    return loop.clock() - timedelta(seconds=seconds)
