"""Rolls past days up and says what the loop would have decided on them.

Reads the ledger; a target only where it opted in to its table of requests. The asset and `ooda history --fill` share
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from ooda_dagster.collect.parquet import read_parquet_day
from ooda_dagster.config import ConnectionReferenceError, TargetConfig
from ooda_dagster.core.hindsight import Candidate, hindsight
from ooda_dagster.core.request_days import RequestDay
from ooda_dagster.core.workload_day import Work, WorkloadDay, bounds, slower
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.workload_days import Covered
from ooda_dagster.loop.context import utc_now
from ooda_dagster.loop.observe import quantiles
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster.loop.past import candidates, look_back
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.duck import LakeError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.past_requests import read_request_day

#: How far partitions and tables go back where no setting says so: hours of rollups are kept as long.
DAYS_BACK = 400
_MOST_TOP = 20
_CATCH_UP_DAYS = 7
_LONG_S = 600
#: Marks a day that a source could not tell of: `fill` takes it up again.
_UNREAD = {"unread": True}
_EARLIER = {"the day before": 1, "a week before": 7}


@dataclass(frozen=True)
class Filled:
    """The rows of a day, and what a person must mend for the targets that could not be read as configured."""

    day: date
    days: list[WorkloadDay] = field(default_factory=list)
    mistakes: dict[str, str] = field(default_factory=dict)


class History:
    """Past days of the configured targets. `say` takes progress lines; `wait` and `clock` are replaced in tests."""

    def __init__(
        self,
        ooda: Ooda,
        *,
        say: Callable[[str], None] = lambda _: None,
        clock: Callable[[], datetime] = utc_now,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._config, self._ledger = ooda.config, ooda.ledger
        self._say, self._clock, self._wait = say, clock, wait
        # A target's days are filled in order: each is compared with two that were read shortly before.
        self._work = lru_cache(maxsize=10)(self._read_work)
        self._candidates = lru_cache(maxsize=None)(self._read_candidates)

    def fill(self, day: date, names: Collection[str] | None = None) -> Filled:
        """Roll one day up for some targets, all by default, and keep it. Raises ConfigError for an unknown target."""
        targets = [self._config.target(name) for name in sorted(names or self._config.targets)]
        _, until = bounds(day)
        if until > self._clock():
            raise ValueError(f"{day} is not over yet (UTC); a day is rolled up when it is")
        filled = Filled(day)
        for target in targets:
            try:
                found = self._day(target, day)
            except LakeError as error:
                filled.mistakes[target.name] = str(error)
                found = WorkloadDay(target.name, day, notes=[str(error)], decided=_UNREAD, computed_at=self._clock())
            kept = self._ledger.workload_days.store(found)
            if kept.source != found.source:
                kept.notes.extend(["less is left of this day now: kept as it was computed before", *found.notes])
            filled.days.append(kept)
            self._say(f"{day} {target.name}: {kept.source}")
        return filled

    def missing(self, since: date, until: date, names: Collection[str]) -> dict[date, list[str]]:
        """Days from `since` to `until`, both included, that were not rolled up or not read, with the targets."""
        rows = self._ledger.workload_days.list(since, until, names)
        known = {(d.day, d.target) for d in rows if not d.decided.get("unread")}
        days = [since + timedelta(days=n) for n in range((until - since).days + 1)]
        found = {day: [name for name in sorted(names) if (day, name) not in known] for day in days}
        return {day: left for day, left in found.items() if left}

    def due(self, today: date) -> list[date]:
        """Days of the week before `today` that are to be rolled up: those that the ledger knows something of."""
        targets = self._config.targets
        first = max(today - timedelta(days=_CATCH_UP_DAYS), first_day(targets.values(), today))
        missing = self.missing(first, today - timedelta(days=1), list(targets))
        return [day for day, names in missing.items() if any(self._known(targets[name], day) for name in names)]

    def _known(self, target: TargetConfig, day: date) -> bool:
        since, until = bounds(day)
        return bool(
            self._ledger.workload_days.covered(target.name, since, until) or self._counted(target, since, until)
        )

    def _day(self, target: TargetConfig, day: date) -> WorkloadDay:
        since, until = bounds(day)
        if covered := self._ledger.workload_days.covered(target.name, since, until):
            return self._from_rollups(target, day, covered)
        if known := self._counted(target, since, until):
            return self._from_requests(target, day, known)
        notes: list[str] = []
        decided: dict[str, bool] = {}
        if target.settings.history.requests:
            try:
                found = self._from_table(target, since, until)
                if found.requests:
                    return self._from_requests(target, day, found)
                notes.append(f"no request of that day in {found.where}")
            except (TargetError, ConnectionReferenceError) as error:
                notes.append(f"the target's requests could not be read: {error}")
                decided = _UNREAD
        if path := target.settings.history.parquet:
            files = read_parquet_day(path, since, until, mapped=target.settings.requests)
            if files and files.requests:
                return self._from_requests(target, day, files, notes)
            notes.append(f"no request of that day in {path}" if files else f"no file matches {path}")
        notes.insert(0, "the ledger has no rollups of that day")
        return WorkloadDay(target.name, day, notes=notes, decided=decided, computed_at=self._clock())

    def _from_rollups(self, target: TargetConfig, day: date, covered: Sequence[Covered]) -> WorkloadDay:
        name, settings, (since, until) = target.name, target.settings, bounds(day)
        hours = sum(c.hours for c in covered)
        work = self._work(name, day)
        total_ms = sum(w.total_ms for w in work.values())
        p50, p95 = quantiles([w.calls for w in work.values()], [w.total_ms for w in work.values()])
        heaviest = sorted(work.items(), key=lambda item: -item[1].total_ms)
        notes = [
            f"a bucket runs {c.past_end_s / 60:.0f} minutes into the next day and is counted here"
            for c in covered
            if c.past_end_s > _LONG_S
        ]
        gaps = self._ledger.rollups.gaps(name, since, until)
        notes += [f"gap, {row.kind}: {row.detail}" for row in gaps.itertuples()][:5]
        requests = self._counted(target, since, until)
        then = look_back(self._ledger, name, until, settings)
        seen = hindsight(
            self._candidates(name),
            work,
            hours=hours,
            there=then.there,
            situation=then.situation,
            settings=settings,
            past=then.past,
            trust=then.trust,
            budget_bytes=then.budget_bytes,
        )
        earlier = {words: self._work(name, day - timedelta(days=back)) for words, back in _EARLIER.items()}
        return WorkloadDay(
            target=name,
            day=day,
            source="ledger rollups (" + ", ".join(f"{c.grain} {c.hours:.1f} h" for c in covered) + ")",
            grain="+".join(c.grain for c in covered),
            hours=round(hours, 3),
            statements=len(work),
            calls=sum(w.calls for w in work.values()),
            total_ms=total_ms,
            p50_ms=p50,
            p95_ms=p95,
            requests=requests.requests if requests else None,
            failed=requests.failed if requests else None,
            avg_ms=requests.avg_ms if requests else None,
            top_statements=[
                {
                    "fingerprint": fingerprint,
                    "share": round(w.total_ms / total_ms, 4) if total_ms else 0.0,
                    "mean_ms": round(w.total_ms / max(w.calls, 1), 4),
                    "calls": w.calls,
                }
                for fingerprint, w in heaviest[:_MOST_TOP]
            ],
            slower=slower(
                work,
                earlier,
                min_calls=settings.verifying.min_calls,
                floor_ms=settings.advice.min_statement_total_ms,
            ),
            proposals=seen.proposals,
            decided={
                **then.facts,
                "candidates": len(self._candidates(name)),
                "reason": seen.reason,
                "declined": seen.declined[:_MOST_TOP],
            },
            notes=notes,
            computed_at=self._clock(),
        )

    def _from_requests(
        self, target: TargetConfig, day: date, found: RequestDay, notes: Sequence[str] = ()
    ) -> WorkloadDay:
        why = "only requests are known of that day, no statements: no candidate can be valued"
        return WorkloadDay(
            target=target.name,
            day=day,
            source=found.where,
            requests=found.requests,
            failed=found.failed,
            avg_ms=found.avg_ms,
            p50_ms=found.p50_ms,
            p95_ms=found.p95_ms,
            decided={"candidates": 0, "reason": why, "declined": []},
            notes=list(notes),
            computed_at=self._clock(),
        )

    def _counted(self, target: TargetConfig, since: datetime, until: datetime) -> RequestDay | None:
        """What the intake counted of a day, where it still keeps all of it."""
        kept_since = self._clock() - timedelta(days=target.settings.requests.keep_d)
        return self._ledger.requests.day(target.name, since, until) if since >= kept_since else None

    def _from_table(self, target: TargetConfig, since: datetime, until: datetime) -> RequestDay:
        """One read of the target's table, when it is its turn."""
        settings = target.settings.history
        now = self._clock()
        slot = self._ledger.workload_days.read_slot(target.name, now=now, per_minute=settings.reads_per_minute)
        self._wait(max(0.0, (slot - now).total_seconds()))
        with PostgresTarget(target.name, target.observe.resolve()).observing("history") as session:
            mapped = target.settings.requests
            return read_request_day(session, since, until, mapped=mapped, timeout_s=settings.timeout_s)

    def _read_work(self, name: str, day: date) -> dict[str, Work]:
        return self._ledger.workload_days.work(name, *bounds(day))

    def _read_candidates(self, name: str) -> list[Candidate]:
        return candidates(self._ledger, name)


def first_day(targets: Collection[TargetConfig], today: date | None = None) -> date:
    """The earliest day that history tells of, of any of these targets."""
    usual = (today or datetime.now(UTC).date()) - timedelta(days=DAYS_BACK)
    return min((t.settings.history.start_day or usual for t in targets), default=usual)


def texts(ledger: Ledger, days: Collection[WorkloadDay]) -> dict[tuple[str, str], str]:
    """(target, fingerprint) → normalised text, of the statements that some days tell of."""
    found: dict[tuple[str, str], str] = {}
    for name in {d.target for d in days}:
        wanted = {s["fingerprint"] for d in days if d.target == name for s in (*d.top_statements, *d.slower)}
        rows = ledger.rollups.statements(name, wanted)
        found |= {(name, str(f)): str(t) for f, t in zip(rows["fingerprint"], rows["text"], strict=True)}
    return found
