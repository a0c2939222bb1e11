"""Days of statements as they are told to a ledger."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from ooda_dagster.collect.deltas import COUNTED, KEY, pack
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.rollups import COUNTERS, Snapshot

_HOURS, _COARSE_S, _FINE_S, _FINE = 30, 1800, 300, 24


@dataclass(frozen=True)
class Rate:
    """Of one statement: calls a minute, ms and rows a call. No calls: it is not there."""

    n: float = 20
    ms: float = 50
    rows: float = 1


#: What a statement is like so many seconds ago.
Course = Callable[[float], Rate]


def always(_: float) -> Rate:
    return Rate()


def since(s: float, then: Rate, before: Rate | None = None) -> Course:
    """As usual, and since `s` seconds ago otherwise."""
    return lambda ago_s: then if ago_s < s else before or Rate()


def tell_days(ledger: Ledger, name: str, courses: Mapping[str, Course], now: datetime) -> None:
    """Thirty hours up to now: half hours, the last two hours in buckets of five minutes. Times waver a little."""
    rollups = ledger.rollups
    rollups.learn_queries(name, [(n, f, "select", f"select {n} from t") for n, f in enumerate(courses, 1)])
    known = rollups.known_queries(name)
    ids = {f: known[query] for query, f in rollups.known_statements(name).items()}
    nothing, previous = pack(pd.DataFrame(columns=pd.Index([*KEY, "since", *COUNTED]))), None
    fine_s = _FINE * _FINE_S
    ends = [*range(_HOURS * 3600, fine_s, -_COARSE_S), *range(fine_s, -1, -_FINE_S)]
    for step, (begin_s, end_s) in enumerate(zip([ends[0], *ends], ends, strict=False)):
        rows = []
        for number, (fingerprint, course) in enumerate(courses.items()):
            rate = course(end_s)
            calls = round(rate.n * (begin_s - end_s) / 60)
            total = calls * rate.ms * (1 + 0.02 * math.sin(step * (number + 2)))
            values = {"statement_id": ids[fingerprint], "n": calls, "sum_ms": total, "rows": calls * rate.rows}
            if calls:
                rows.append(dict.fromkeys(COUNTERS, 0.0) | values | {"sum_ms_sq": total * rate.ms * 1.2})
        current = Snapshot(now - timedelta(seconds=end_s), {}, nothing)
        assert rollups.store(name, previous=previous, current=current, frame=pd.DataFrame(rows))
        previous = current
