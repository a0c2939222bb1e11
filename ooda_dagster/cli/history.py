"""`ooda history`: past days of each target, and what the loop would have proposed on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import typer

from ooda_dagster.cli.output import Exit, emit, errors, fail, out, say, shown, table
from ooda_dagster.cli.session import ConfigOption, JsonOption, TargetOption, with_ledger
from ooda_dagster.config import load_config
from ooda_dagster.core.workload_day import WorkloadDay
from ooda_dagster.loop.history import History, first_day
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster.loop.past import RECONSTRUCTED


def history(
    config: ConfigOption = None,
    target: TargetOption = None,
    days: Annotated[int, typer.Option("--days", help="How many days back, today not counted.", min=1)] = 30,
    fill: Annotated[bool, typer.Option("--fill", help="Roll up the days that are missing, here and now.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Past days: what each target did, and what the loop would have proposed."""
    with errors():
        ooda = Ooda(with_ledger(load_config(config)))
        targets = [ooda.config.target(name) for name in ([target] if target else sorted(ooda.config.targets))]
        names = [t.name for t in targets]
        until = datetime.now(UTC).date() - timedelta(days=1)
        since = max(until - timedelta(days=days - 1), first_day(targets))
        past = History(ooda, say=say(as_json))
        mistakes = _fill(past, past.missing(since, until, names)) if fill else {}
        found = ooda.ledger.workload_days.list(since, until, names)
        missing = past.missing(since, until, names)
    if as_json:
        emit(
            {
                "since": since.isoformat(),
                "until": until.isoformat(),
                "days": [_as_dict(d) for d in found],
                "missing": [{"day": day.isoformat(), "targets": left} for day, left in missing.items()],
                "mistakes": mistakes,
                "reconstructed": RECONSTRUCTED,
            }
        )
    else:
        _show(found, missing)
    if mistakes:
        fail("; ".join(f"{name}: {mistake}" for name, mistake in mistakes.items()), Exit.CONFIG)


def _fill(past: History, missing: dict[date, list[str]]) -> dict[str, str]:
    """Roll days up, one target after the other, oldest day first; what must be mended, by target."""
    mistakes: dict[str, str] = {}
    for name in sorted({name for names in missing.values() for name in names}):
        for day in (day for day, names in missing.items() if name in names):
            mistakes |= past.fill(day, [name]).mistakes  # a day that the ledger knows does not need the files
    return mistakes


def _as_dict(day: WorkloadDay) -> dict[str, Any]:
    return {**asdict(day), "day": day.day.isoformat()}


def _show(found: Sequence[WorkloadDay], missing: dict[date, list[str]]) -> None:
    table(
        "Days",
        ["day", "target", "calls", "time s", "p50 ms", "p95 ms", "requests", "proposals", "source", "words"],
        [
            (
                day.day.isoformat(),
                day.target,
                day.calls,
                None if day.total_ms is None else day.total_ms / 1000,
                day.p50_ms,
                day.p95_ms,
                day.requests,
                len(day.proposed) if day.calls is not None else None,
                day.source,
                " ".join(_words(day)),
            )
            for day in found
        ],
        below=["words"],
    )
    slower = sum(len(day.slower) for day in found)
    if slower:
        out.print(f"Statements that got slower than the day or the week before: {slower}, see --json.")
    if found:
        out.print(f"Would have been proposed, by what is known now: {RECONSTRUCTED}.", markup=False)
    if missing:
        first, last = min(missing), max(missing)
        out.print(
            shown(f"{len(missing)} days from {first} to {last} are not rolled up: ooda history --fill"), markup=False
        )
    if not found and not missing:
        out.print("There is no past day yet.")


def _words(day: WorkloadDay) -> list[str]:
    """What would have been proposed, or why nothing."""
    words = [
        f"would have proposed: {p['what']}, saves {p['saves_s_per_hour']:.2f} s/h; {p['state']}: {p['rule']} "
        f"(found {p['found_at'][:10]})."
        for p in day.proposed
    ]
    if not words and (why := day.decided.get("reason")):
        words.append(f"nothing would have been proposed: {why}.")
    return words + [f"{note}." for note in day.notes]
