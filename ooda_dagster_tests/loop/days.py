"""Past days of a target in a real ledger: rollups as the sampler and its compaction leave them, hypotheses, actions."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa

from ooda_dagster.config import Config, Reference, TargetConfig
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypothesis, Observation, Served
from ooda_dagster.core.settings import Sampling, Settings
from ooda_dagster.core.workload_day import bounds
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.actions import Proposal
from ooda_dagster.ledger.database import connection
from ooda_dagster.ledger.rollups import COUNTERS, _minute
from ooda_dagster.ledger.tables import rollup_chunk
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.ledger.ground import MINUTE, ask
from ooda_dagster_tests.support import dsn_of

TODAY = datetime.now(UTC).date()
NOW = bounds(TODAY)[0] + timedelta(hours=12)
DEAD = "postgresql://nobody@127.0.0.1:1/none"


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def midnight(day: date) -> datetime:
    return bounds(day)[0]


def config_of(ledger: Ledger, *names: str, **settings: Any) -> Config:
    """Targets that nobody can reach."""
    made = Settings.model_validate(settings)
    targets = {name: TargetConfig(name, Reference.literal(DEAD), settings=made) for name in names or ("t",)}
    return Config(Reference.literal(dsn_of(ledger)), targets)


def ooda_of(ledger: Ledger, *names: str, **settings: Any) -> Ooda:
    return Ooda(config_of(ledger, *names, **settings))


def know(ledger: Ledger, name: str = "t", count: int = 4) -> dict[str, int]:
    """Register a target and its statements s1, s2, ...; fingerprint → statement_id."""
    ledger.cycles.register(name, kind="postgres", mode="propose", now=NOW)
    ledger.rollups.learn_queries(name, [(n, f"s{n}", "select", f"select s{n}") for n in range(1, count + 1)])
    found = ledger.rollups.known_queries(name)
    return {f"s{n}": i for n in range(1, count + 1) if (i := found[n]) is not None}


#: Where a bucket's numbers have what.
_TOLD = {"n": 0, "sum_ms": 1, "rows": 2}


def buckets(
    ledger: Ledger,
    rows: Sequence[tuple[datetime, float, Mapping[int, tuple[float, ...]]]],
    name: str = "t",
) -> None:
    """Insert minute buckets at once, as sampling 30 days takes long: start, seconds, statement_id → calls, ms and,
    where they matter, rows."""
    values = []
    for start, span_s, work in rows:
        frame = pd.DataFrame({"statement_id": list(work)})
        for column in COUNTERS:
            at = _TOLD.get(column, len(_TOLD))
            frame[column] = [numbers[at] if at < len(numbers) else 0.0 for numbers in work.values()]
        values.append(_minute(name, start, span_s, frame))
    with connection(ledger.engine) as conn:
        conn.execute(sa.insert(rollup_chunk), values)


def full_day(day: date, work: Mapping[int, tuple[int, float]], *, every: timedelta = 15 * MINUTE) -> list[Any]:
    """A day in equal buckets whose sums are `work`."""
    count = round(timedelta(days=1) / every)
    part = {statement: (calls // count, ms / count) for statement, (calls, ms) in work.items()}
    return [(midnight(day) + n * every, every.total_seconds(), part) for n in range(count)]


def compact(ledger: Ledger, name: str = "t", *, now: datetime = NOW) -> None:
    ledger.rollups.compact(name, now=now, policy=Sampling())


def found(identity: str = "index on public.orders (customer)", **fields: Any) -> Hypothesis:
    """An index that takes s1 to a tenth."""
    serves = fields.pop("serves", {"s1": (100.0, 10.0)})
    values: dict[str, Any] = {
        "hypothesis_id": str(uuid.uuid4()),
        "hypothesis_type": "IndexOptimization",
        "priority": 4,
        "description": f"Build an {identity}: serves it, 50 % of all statement time",
        "identity": identity,
        "relation": "public.orders",
        "serves": [
            Served(fingerprint=f, text=f, cost_before=before, cost_after=after, saved_ms_per_hour=1)
            for f, (before, after) in serves.items()
        ],
        "touches": sorted(serves),
        "bytes": 1 << 20,
        "evidence": {"estimate": False},
    }
    return Hypothesis(**(values | fields))


def record(ledger: Ledger, hypothesis: Hypothesis, at: datetime, name: str = "t") -> None:
    """A hypothesis as a cycle at `at` left it."""
    ledger.hypotheses.record(name, "a", hypothesis)
    text = "update ooda.hypothesis set created_at = :at where hypothesis_id = :id"
    ask(ledger, text, at=at, id=hypothesis.hypothesis_id)


def acted(ledger: Ledger, identity: str, steps: Sequence[tuple[State, datetime]], name: str = "t") -> str:
    """An action that went through `steps` at those times."""
    proposal = Proposal(
        "IndexOptimization", identity, "build it", ["CREATE INDEX i"], ["DROP INDEX i"], relation="public.orders",
        predicted={"bytes": 1 << 20},
    )  # fmt: skip
    action = ledger.actions.propose(name, proposal, by="policy", now=steps[0][1])
    ask(ledger, "update ooda.journal set at = :at where action_id = :id", at=steps[0][1], id=action.action_id)
    for state, at in steps:
        ledger.actions.transition(action.action_id, state, actor="policy")
        text = "update ooda.journal set at = :at where action_id = :id and to_state = :state"
        ask(ledger, text, at=at, id=action.action_id, state=str(state))
    return action.action_id


def observed(ledger: Ledger, at: datetime, heap_mb: float, name: str = "t") -> None:
    """An observation that saw the tables' size."""
    seen = Observation(
        analysis_id=str(uuid.uuid4()), target=name, timestamp=at, mode="propose", lookback_hours=24,  # type: ignore[arg-type]
        server={"heap_mb": heap_mb},
    )  # fmt: skip
    ledger.messages.store(seen, "r")
    text = "update ooda.message set created_at = :at where analysis_id = :id"
    ask(ledger, text, at=at, id=seen.analysis_id)
