"""Past days as an asset: rolled up from the ledger, with what the loop would have proposed. It acts on nothing."""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

import warnings
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
from pydantic import Field

from ooda_dagster.core.text import cut
from ooda_dagster.core.workload_day import WorkloadDay
from ooda_dagster.defs.charts import bars
from ooda_dagster.defs.metadata import table
from ooda_dagster.defs.names import Names
from ooda_dagster.loop.history import Filled, History, texts
from ooda_dagster.loop.ooda import Ooda

HISTORY_JOB = "ooda_history"
_CHART_ROWS = 12
_MAX_RUNTIME_S = "3600"


class HistoryConfig(dg.Config):
    """Which targets a run rolls up; all that are configured where none is named."""

    targets: list[str] = Field(default_factory=list)


class DaysIOManager(dg.IOManager):
    """Days are rows of the ledger, kept one by one as they are rolled up: what an asset returns is there already."""

    def __init__(self, ooda: Ooda) -> None:
        self._ooda = ooda

    def handle_output(self, context: dg.OutputContext, obj: list[WorkloadDay]) -> None:
        context.log.debug("%s days are in the ledger", len(obj))

    def load_input(self, context: dg.InputContext) -> list[WorkloadDay]:
        wanted = {date.fromisoformat(key) for key in context.asset_partition_keys}
        if not wanted:
            return []
        found = self._ooda.ledger.workload_days.list(min(wanted), max(wanted))
        return [day for day in found if day.day in wanted]


def workload_days(
    context: dg.AssetExecutionContext, config: HistoryConfig, ooda: dg.ResourceParam[Ooda]
) -> Iterator[dg.Output]:
    filled = History(ooda, say=context.log.debug).fill(date.fromisoformat(context.partition_key), config.targets)
    yield dg.Output(filled.days, metadata=describe_day(filled, texts(ooda.ledger, filled.days)))
    if filled.mistakes:  # told after what could be read was kept and shown
        words = "; ".join(f"{name}: {mistake}" for name, mistake in filled.mistakes.items())
        raise dg.Failure(words, allow_retries=False)


def make_history(names: Names, start: date) -> tuple[dg.AssetsDefinition, Any]:
    """The asset and its job, from `start` on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        days = dg.asset(
            key=names.key("workload_days"),
            group_name=names.group("history"),
            description="What did each target do on a past day, and what would the loop have proposed?",
            partitions_def=dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC", end_offset=0),
            backfill_policy=dg.BackfillPolicy.multi_run(1),  # one run, one day
            io_manager_key="ooda_days",
            deps=[dg.AssetDep(names.source("statements"), partition_mapping=dg.AllPartitionMapping())],
            kinds={"postgres"},
            owners=names.owners,
        )(workload_days)
    job = dg.define_asset_job(
        HISTORY_JOB,
        selection=dg.AssetSelection.assets(names.key("workload_days")),
        executor_def=dg.in_process_executor,
        description="Rolls past days up, a run a day; backfill it over as many as you like. It touches no target.",
        tags={"ooda/kind": "history", "dagster/priority": "-10", "dagster/max_runtime": _MAX_RUNTIME_S},
    )
    return days, job


def describe_day(filled: Filled, statements: dict[tuple[str, str], str]) -> dict[str, Any]:
    """What a person sees of a day: numbers first, then what would have been proposed, then the rest."""
    days = filled.days
    told = [d for d in days if d.has_data]
    proposed = [(d, p) for d in told for p in d.proposed]
    found: dict[str, Any] = {
        "summary": _summary(filled.day, days),
        "would_have_proposed": table(
            [
                {
                    "target": d.target,
                    "would have proposed": p["what"],
                    "saves s/h": p["saves_s_per_hour"],
                    "state": p["state"],
                    "rule": p["rule"],
                    "found": p["found_at"][:10],
                }
                for d, p in sorted(proposed, key=lambda found: -found[1]["saves_s_per_hour"])
            ]
        ),
        "days": table([_row(d) for d in days]),
    }
    if chart := _chart(told, statements):
        found["where_the_time_went"] = dg.MetadataValue.md(chart)
    found["got_slower"] = table(
        [
            {
                "target": d.target,
                "ms per call": s["mean_ms"],
                "was": s["was_ms"],
                "against": s["against"],
                "costs s": s["lost_ms"] / 1000,
                "statement": _statement(statements, d, s["fingerprint"]),
            }
            for d in told
            for s in d.slower
        ]
    )
    there = [(d.target, p["what"]) for d in told for p in d.proposals if not p["priority"]]
    found["there_already"] = table([{"target": target, "index": what} for target, what in there])
    found |= _numbers(told, [p["saves_s_per_hour"] for _, p in proposed])
    if told:
        found["reconstructed"] = next((d.decided["reconstructed"] for d in told if "reconstructed" in d.decided), "")
    if filled.mistakes:
        found["to_mend"] = table([{"target": name, "what": what} for name, what in filled.mistakes.items()])
    return {name: value for name, value in found.items() if value != ""}


def _summary(day: date, days: Sequence[WorkloadDay]) -> str:
    told = [d for d in days if d.has_data]
    if not told:
        return f"{day}: no data for any of {len(days)} targets"
    count = sum(len(d.proposed) for d in told)
    known = f"{len(told)} of {len(days)} targets have data"
    if count:
        return f"{day}: {count} would have been proposed; {known}"
    why = "; ".join(dict.fromkeys(str(d.decided.get("reason", "")) for d in told))
    return f"{day}: nothing would have been proposed ({cut(why)}); {known}"


def _row(day: WorkloadDay) -> dict[str, Any]:
    return {
        "target": day.target,
        "source": day.source,
        "calls": day.calls,
        "statement time s": None if day.total_ms is None else day.total_ms / 1000,
        "p50 ms": _precise(day.p50_ms),
        "p95 ms": _precise(day.p95_ms),
        "requests": day.requests,
        "failed": day.failed,
        "notes": cut("; ".join(filter(None, [*day.notes, str(day.decided.get("reason", ""))]))),
    }


def _precise(value: float | None) -> str | None:
    """A time in ms: most statements take less than one."""
    return None if value is None else f"{value:.3g}"


def _chart(told: Sequence[WorkloadDay], statements: dict[tuple[str, str], str]) -> str:
    """Of one target its statements, of several the targets."""
    timed = [(d, d.total_ms / 1000) for d in told if d.total_ms]
    if not timed:
        return ""
    if len(timed) == 1:
        day = timed[0][0]
        top = day.top_statements[:_CHART_ROWS]
        rows = [
            (_plain(statements, day, s["fingerprint"]), s["share"], f"{100 * s['share']:.0f} %, {s['mean_ms']:.3g} ms")
            for s in top
        ]
        return bars(rows, f"{day.target}: share of the day's statement time")
    timed.sort(key=lambda pair: -pair[1])
    return bars([(d.target, s, f"{s:,.0f} s") for d, s in timed[:_CHART_ROWS]], "Statement time of the day, by target")


def _plain(statements: dict[tuple[str, str], str], day: WorkloadDay, fingerprint: str) -> str:
    return cut(statements.get((day.target, fingerprint), fingerprint), 120)


def _statement(statements: dict[tuple[str, str], str], day: WorkloadDay, fingerprint: str) -> str:
    return f"`{_plain(statements, day, fingerprint).replace('`', chr(39))}`"


def _numbers(told: Sequence[WorkloadDay], savings: Sequence[float]) -> dict[str, Any]:
    """What Dagster plots over the days."""
    found: dict[str, Any] = {
        "targets_with_data": len(told),
        "calls": sum(d.calls or 0 for d in told),
        "statement_time_s": round(sum(d.total_ms or 0 for d in told) / 1000, 1),
        "requests": sum(d.requests or 0 for d in told),
        "proposals": len(savings),
        "saves_s_per_hour": round(sum(savings), 3),
        "statements_slower": sum(len(d.slower) for d in told),
    }
    if len(told) == 1 and told[0].p50_ms is not None:
        found["latency_p50_ms"] = round(told[0].p50_ms, 3)
    worst = [d.p95_ms for d in told if d.p95_ms is not None]
    if worst:
        found["latency_p95_ms" if len(told) == 1 else "worst_latency_p95_ms"] = round(max(worst), 3)
    return found
