"""What is the target's workload in a window? From the rollups, or, while they are young, from the server's counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pandas as pd

from ooda_dagster.advisor.workload import Workload, from_totals
from ooda_dagster.collect.deltas import COUNTED, TO_FRAME, unpack
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.rollups import COUNTERS
from ooda_dagster.loop.changes import last_changes, since_changes

#: Rollups are believed where they cover this share of the window.
_ENOUGH = 0.5
#: Newest buckets, which tell what a call costs today, and how many calls it takes to tell.
_TODAY_BUCKETS = 10
_ENOUGH_CALLS = 10


@dataclass(frozen=True)
class Window:
    """Totals per statement over a window: the columns of `Rollups.totals`. `hours` is what they really cover."""

    totals: pd.DataFrame
    since: datetime | None
    until: datetime
    hours: float
    source: str  # rollups, counters, none

    samples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def workload(self) -> Workload:
        return from_totals(self.totals, self.hours, self.source, self.samples)


def no_window(until: datetime) -> Window:
    """Of who does not look at statements."""
    return Window(_empty(), None, until, 0.0, "none")


def read_window(ledger: Ledger, name: str, *, lookback_hours: float, until: datetime) -> Window:
    """The work of a target's statements in the window.

    Work is told at today's price: calls of the whole window × work per call of its newest part, so that a statement
    that was slow until an action helped it does not go on to look slow.
    """
    since = until - timedelta(hours=lookback_hours)
    first, covered_s = ledger.rollups.coverage(name, since, until)
    snapshot = ledger.rollups.snapshot(name)
    counted_s = lookback_hours * 3600
    if snapshot is not None and snapshot.epoch.get("stats_reset"):
        counted_s = (snapshot.taken_at - datetime.fromisoformat(snapshot.epoch["stats_reset"])).total_seconds()
    if snapshot is None:
        return Window(_empty(), None, until, lookback_hours, "none")
    samples = ledger.literals.samples(name)
    if first is not None and covered_s >= _ENOUGH * min(lookback_hours * 3600, counted_s):
        totals = ledger.rollups.totals(name, since, until)
        priced = _at_todays_price(totals, ledger, name, until)
        window = Window(priced, first, until, covered_s / 3600, "rollups", samples)
    else:
        totals = _from_counters(ledger, name, unpack(snapshot.counters))
        started = snapshot.taken_at - timedelta(seconds=counted_s)
        priced = _at_todays_price(totals, ledger, name, until)
        window = Window(priced, started, snapshot.taken_at, counted_s / 3600, "counters", samples)
    return window


def _empty() -> pd.DataFrame:
    return pd.DataFrame(columns=pd.Index(["fingerprint", "kind", "text", *COUNTERS]))


def _from_counters(ledger: Ledger, name: str, counters: pd.DataFrame) -> pd.DataFrame:
    """The server's own totals since their reset, as `Rollups.totals` would give them."""
    ids = ledger.rollups.known_statements(name)
    frame = counters.assign(fingerprint=counters["query_id"].map(ids)).dropna(subset=["fingerprint"])
    if frame.empty:  # no text is known yet, or may be seen by the role
        return _empty()
    sums = frame.groupby("fingerprint", as_index=False)[COUNTED].sum()
    sums = sums.rename(columns=TO_FRAME)
    statements = ledger.rollups.statements(name, list(sums["fingerprint"]))
    merged = sums.merge(statements, on="fingerprint")
    return merged.sort_values("sum_ms", ascending=False, ignore_index=True)


def _at_todays_price(totals: pd.DataFrame, ledger: Ledger, name: str, until: datetime) -> pd.DataFrame:
    """Totals with the work per call of the newest buckets; of a statement that an action touched, only of those since.

    A statement that was touched and hardly called since has no price: it is left out until it has one.
    """
    newest = ledger.rollups.newest(name, until, _TODAY_BUCKETS)
    if totals.empty or newest is None:
        return totals
    changed = last_changes(ledger, name, since=newest)
    recent = since_changes(ledger.rollups.frame(name, newest, until, columns=("n", "sum_ms")), changed)
    sums = recent.groupby("fingerprint", observed=True)[["n", "sum_ms"]].sum()
    sums = sums[sums["n"] >= _ENOUGH_CALLS]
    today = totals["fingerprint"].map(sums["sum_ms"] / sums["n"]) * totals["n"]
    unknown = today.isna() & totals["fingerprint"].isin(list(changed))
    priced = totals.assign(sum_ms=today.where(today.notna(), totals["sum_ms"]))[~unknown]
    return priced.sort_values("sum_ms", ascending=False, ignore_index=True)
