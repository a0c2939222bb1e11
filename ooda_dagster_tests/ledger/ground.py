"""Tools of the tests of the ledger: a target, statements, samples, proposals."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa

from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.rollups import COUNTERS, Snapshot

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def processes(count: int, work: Callable[[], object]) -> None:
    """Run `work` in processes of their own at once, and see all of them end well."""
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                work()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * count


def forget_all(ledger: Ledger) -> None:
    """Leave a ledger that several tests share as it was."""
    for row in ledger.cycles.targets():
        ledger.cycles.forget(row["name"])
    ask(ledger, "truncate ooda.audit_event, ooda.journal, ooda.chain_head")


def register(ledger: Ledger, name: str = "t", *, mode: str = "propose") -> str:
    ledger.cycles.register(name, kind="postgres", mode=mode, now=NOW)
    return name


def ask(ledger: Ledger, text: str, **parameters: Any) -> list[Any]:
    """Run a statement in the ledger's database; its rows as tuples."""
    with connection(ledger.engine) as conn:
        result = conn.execute(sa.text(text), parameters)
        return [tuple(row) for row in result] if result.returns_rows else []


def statements(ledger: Ledger, count: int, name: str = "t") -> dict[str, int]:
    """Register statements s1, s2, ...; fingerprint → statement_id."""
    ledger.rollups.learn_queries(name, [(n, f"s{n}", "select", f"select {n}") for n in range(1, count + 1)])
    ids = ledger.rollups.known_queries(name)
    found = {f"s{n}": ids[n] for n in range(1, count + 1)}
    return {fingerprint: statement for fingerprint, statement in found.items() if statement is not None}


def work(rows: Mapping[int, float]) -> pd.DataFrame:
    """A bucket's frame: statement_id → calls, each of 2 ms."""
    frame = pd.DataFrame({"statement_id": list(rows), "n": list(rows.values())})
    for column in COUNTERS:
        if column != "n":
            frame[column] = frame["n"] * 2.0
    return frame


def snapshot(at: datetime) -> Snapshot:
    return Snapshot(at, {}, b"")


def samples(ledger: Ledger, buckets: Sequence[pd.DataFrame], *, since: datetime, every: timedelta = MINUTE) -> None:
    """Store buckets one after the other, from `since` on."""
    before = ledger.rollups.snapshot("t")
    if before is None:
        before = snapshot(since)
        assert ledger.rollups.store("t", previous=None, current=before, frame=pd.DataFrame())
    for frame in buckets:
        after = snapshot(before.taken_at + every)
        assert ledger.rollups.store("t", previous=before, current=after, frame=frame)
        before = after


def proposal(identity: str = "index on public.orders (customer)", **values: Any) -> Proposal:
    fields: dict[str, Any] = {
        "action_type": "IndexOptimization",
        "description": "build it",
        "statements": ["CREATE INDEX i ON orders (customer)"],
        "undo": ["DROP INDEX i"],
        "relation": "public.orders",
    }
    return Proposal(identity=identity, **(fields | values))
