"""Days of statements as they are told to a ledger."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.loop.days import buckets

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
    ledger.rollups.learn_queries(name, [(n, f, "select", f"select {n} from t") for n, f in enumerate(courses, 1)])
    known = ledger.rollups.known_queries(name)
    ids = {f: i for query, f in ledger.rollups.known_statements(name).items() if (i := known[query]) is not None}
    fine_s = _FINE * _FINE_S
    ends = [*range(_HOURS * 3600, fine_s, -_COARSE_S), *range(fine_s, -1, -_FINE_S)]
    told = []
    for step, (begin_s, end_s) in enumerate(pairwise(ends)):
        work = {}
        for number, (fingerprint, course) in enumerate(courses.items()):
            rate = course(end_s)
            if calls := round(rate.n * (begin_s - end_s) / 60):
                ms = calls * rate.ms * (1 + 0.02 * math.sin(step * (number + 2)))
                work[ids[fingerprint]] = (calls, ms, calls * rate.rows)
        told.append((now - timedelta(seconds=begin_s), float(begin_s - end_s), work))
    buckets(ledger, told, name)
