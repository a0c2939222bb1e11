"""Is the loop of a target alive? Read from the ledger alone, so it can be told when no cycle runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ooda_dagster.core.errors import one_line
from ooda_dagster.core.messages import Observation
from ooda_dagster.core.wire import iso
from ooda_dagster.ledger import Cycle, Ledger
from ooda_dagster.ledger.conversations import LEASE

#: A cycle may wait for a slot that long, and a sample for its turn among many targets.
GRACE = timedelta(minutes=10)
STALE_SAMPLE = timedelta(minutes=15)
#: One failed cycle is an event, so many in a row are a state.
FAILURES = 3

_DAEMON = "is the Dagster daemon running, and are"
_SCHEDULE = f"{_DAEMON} the schedules ooda_adaptive_delay and ooda_due_looks on? (`ooda dev` starts them)"
_SENSOR = f"{_DAEMON} the sensor ooda_sample_statements on? Outside Dagster: `ooda sample --loop`"


@dataclass(frozen=True)
class Fact:
    """One line of the evidence. A remedy is there where it is not as it should be."""

    what: str
    value: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        return not self.remedy


@dataclass(frozen=True)
class Liveness:
    """What tells whether a loop is alive."""

    target: str
    facts: Sequence[Fact]
    last_cycle: Cycle | None = None  # the newest that ended

    @property
    def alive(self) -> bool:
        return all(fact.ok for fact in self.facts)

    @property
    def why(self) -> str:
        """One line: what is wrong with its remedy, or that nothing is."""
        wrong = [f"{fact.what}: {fact.value}. Remedy: {fact.remedy}" for fact in self.facts if not fact.ok]
        return "; ".join(wrong) or "the loop is alive"


def liveness(ledger: Ledger, name: str, now: datetime) -> Liveness:
    """The evidence for one target at `now`."""
    row = ledger.cycles.registered(name)
    if row is None:
        return Liveness(name, [Fact("target", "the ledger has never seen it", _SCHEDULE)])
    newest = ledger.cycles.latest(name, FAILURES + 1)  # one of them may run still
    facts = [_last(newest), _running(newest, now), _next(ledger, name, newest, now), _failures(newest)]
    facts.append(_sample(ledger, name, row["last_sampled_at"], row["first_seen"], now))
    paused = row["paused_at"]
    facts.append(Fact("paused", f"since {iso(paused)}: it observes and begins no action" if paused else "no"))
    return Liveness(name, facts, next((c for c in newest if c.finished_at), None))


def _last(newest: Sequence[Cycle]) -> Fact:
    ended = next((c for c in newest if c.finished_at), None)
    if ended is None or ended.finished_at is None:
        return Fact("last cycle ended", "none yet")
    return Fact("last cycle ended", f"{iso(ended.finished_at)} ({ended.state})")


def _running(newest: Sequence[Cycle], now: datetime) -> Fact:
    cycle = newest[0] if newest and newest[0].state == "running" else None
    if cycle is None:
        return Fact("cycle running", "no")
    since = f"since {iso(cycle.started_at)}"
    if now - cycle.started_at <= LEASE:
        return Fact("cycle running", since)
    return Fact("cycle running", f"{since}, longer than any should", f"end the run {cycle.run_id} in Dagster")


def _next(ledger: Ledger, name: str, newest: Sequence[Cycle], now: datetime) -> Fact:
    queue = ledger.cycles.queue([name])
    if not queue:
        return Fact("next cycle due", "never: nothing is queued", f"`ooda cycle --target {name}` sets the timer again")
    due = queue[0]
    words = f"{iso(due.deliver_at)} ({due.reason})"
    running = bool(newest) and newest[0].state == "running"
    if running or now - due.deliver_at <= GRACE:
        return Fact("next cycle due", words)
    return Fact("next cycle due", f"{words}, {_minutes(now - due.deliver_at)} ago and none runs", _SCHEDULE)


def _failures(newest: Sequence[Cycle]) -> Fact:
    ended = [c for c in newest if c.state != "running"][:FAILURES]
    failed = [c for c in ended if c.state in ("failed", "interrupted")]
    if len(ended) < FAILURES or len(failed) < len(ended):
        return Fact("failed cycles", f"{len(failed)} of the last {len(ended)}")
    words = f"the last {len(failed)}, the newest with: {one_line(failed[0].error or 'no word')}"
    return Fact("failed cycles", words, "mend the error; `ooda doctor` names what is missing")


def _sample(ledger: Ledger, name: str, last: datetime | None, known_since: datetime, now: datetime) -> Fact:
    words = iso(last) if last else "never"
    if now - (last or known_since) <= STALE_SAMPLE:
        return Fact("last sample", words)
    seen = ledger.messages.latest(Observation, name)
    if seen and any(spot.what == "statement statistics" for spot in seen.blind_spots):
        return Fact("last sample", f"{words}: the target has no statement statistics that can be read")
    return Fact("last sample", f"{words}, {_minutes(now - (last or known_since))} without one", _SENSOR)


def _minutes(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
