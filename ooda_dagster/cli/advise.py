"""`ooda advise`: index advice alone, with a role that may only read, and nothing installed or kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ooda_dagster.advisor.advise import Advised, worth_judging
from ooda_dagster.advisor.advise import advise as advise_workload
from ooda_dagster.advisor.costs import shapes_of
from ooda_dagster.advisor.workload import Workload, from_counters, from_file
from ooda_dagster.cli.output import Exit, emit, errors, fail, out, say, table
from ooda_dagster.cli.session import ConfigOption, JsonOption, TargetOption, UrlOption, name_of
from ooda_dagster.config import ConfigError, home_directory, load_config
from ooda_dagster.core.scrub import scrubbed
from ooda_dagster.core.seen import BlindSpot
from ooda_dagster.core.settings import Advice, parse_budget
from ooda_dagster.core.text import cut, size
from ooda_dagster.loop.whatif import pricing_for
from ooda_dagster.targets.base import Observing
from ooda_dagster.targets.postgres import PostgresTarget


def advise(
    config: ConfigOption = None,
    target: TargetOption = None,
    url: UrlOption = None,
    workload: Annotated[
        Path | None,
        typer.Option("--workload", help='One JSON object a line: {"sql": ..., "calls": ..., "id": ...}'),
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", help="For all indexes: 25% of the tables' size, or 200MB.")
    ] = "25%",
    max_width: Annotated[int, typer.Option("--max-width", help="Most columns of an index.", min=1, max=8)] = 3,
    min_statement_ms: Annotated[
        float, typer.Option("--min-statement-ms", help="Leave out statements that took less in all.", min=0)
    ] = 1000.0,
    as_json: JsonOption = False,
) -> None:
    """Which indexes would pay on this database? Reads it, changes nothing, keeps nothing."""
    with errors():
        if (url is None) == (target is None):
            fail("give --url or --target", Exit.CONFIG)
        dsn = url if url is not None else load_config(config).target(target or "").observe.resolve()
        try:
            parse_budget(budget, 0)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        policy = Advice(
            max_width=max_width, index_budget=budget, min_statement_total_ms=min_statement_ms, min_saving_share=0.005
        )
        statements = from_file(workload) if workload else None
        advised, blind = _advise(name_of(dsn), dsn, statements, policy, as_json)
    if as_json:
        emit(as_dict(advised, blind))
    else:
        _show(advised, blind)


def _advise(
    name: str, dsn: str, given: Workload | None, policy: Advice, as_json: bool
) -> tuple[Advised, list[BlindSpot]]:
    tell = say(as_json)
    with PostgresTarget(name, dsn).observing("advise") as session:
        seen = session.capabilities()
        tell(f"PostgreSQL {seen.major}, database {seen.database}, as {seen.role}")
        workload = given or _from_server(session)
        catalogue = session.catalogue()
        heavy = worth_judging(workload, policy)
        shapes, _ = shapes_of(heavy, catalogue)
        tables = {key for _, shape in shapes for key in shape.tables}
        tell(f"{len(workload.statements)} statements, {len(heavy)} worth a look, on {len(tables)} tables")
        catalogue = session.catalogue(tables) if tables else catalogue
        with pricing_for(name, session, home_directory()) as price_with:
            limit = parse_budget(policy.index_budget, catalogue.heap_bytes)
            advised = advise_workload(workload, catalogue, price_with, policy=policy, budget_bytes=limit)
    return advised, [b for b in seen.blind_spots if not (given and b.what == "statement statistics")]


def _from_server(session: Observing) -> Workload:
    """Everything since the server's statement statistics were reset."""
    counters = session.counters()
    texts = session.texts([int(q) for q in counters.frame["query_id"].unique()])
    from datetime import datetime

    reset = counters.epoch.get("stats_reset")
    hours = (counters.taken_at - datetime.fromisoformat(reset)).total_seconds() / 3600 if reset else 24.0
    return from_counters(counters.frame, texts, hours)


def as_dict(advised: Advised, blind: list[BlindSpot]) -> dict[str, Any]:
    """Advice as JSON; see docs/advise.md for the fields."""
    return {
        "indexes": [
            {
                "ddl": r.spec.ddl(),
                "undo": r.spec.drop(),
                "bytes": r.bytes,
                "saved_ms_per_hour": r.saved_ms_per_hour,
                "write_ms_per_hour": r.write_ms_per_hour,
                "net_ms_per_hour": r.net_ms_per_hour,
                "estimate": r.is_estimate,
                "serves": [
                    {
                        "id": s.statement.label or s.statement.fingerprint,
                        "sql": cut(scrubbed(s.statement.text)),
                        "cost_before": s.cost_before,
                        "cost_after": s.cost_after,
                        "saved_ms_per_hour": s.saved_ms_per_hour,
                    }
                    for s in r.serves
                ],
            }
            for r in advised.recommendations
        ],
        "bytes": advised.bytes,
        "budget_bytes": advised.budget_bytes,
        "backend": advised.backend,
        "explains": advised.explains,
        "considered": advised.considered,
        "candidates": advised.candidates,
        "timed_out": advised.timed_out,
        "served_already": [
            {"id": s.label or s.fingerprint, "sql": cut(scrubbed(s.text)), "index": i.label} for s, i in advised.served
        ],
        "not_judged": [
            {"id": s.label or s.fingerprint, "sql": cut(scrubbed(s.text)), "reason": why} for s, why in advised.unjudged
        ],
        "blind_spots": [b.model_dump() for b in blind] + [{"what": k, "why": v} for k, v in advised.blind.items()],
        "reason": advised.reason,
    }


def _show(advised: Advised, blind: list[BlindSpot]) -> None:
    if advised.recommendations:
        out.print(
            f"\n[bold]{len(advised.recommendations)} indexes, {size(advised.bytes)} of {size(advised.budget_bytes)}[/] "
            f"(priced by {advised.backend}, {advised.explains} plans)\n"
        )
        for rank, r in enumerate(advised.recommendations, 1):
            out.print(f"{rank:2}. {r.spec.ddl()};", markup=False)
            out.print(
                f"    {size(r.bytes)}, saves {r.saved_ms_per_hour / 1000:,.1f} s/h, costs writers "
                f"{r.write_ms_per_hour / 1000:,.1f} s/h" + (", from generic plans" if r.is_estimate else "")
            )
            for s in r.serves[:5]:
                better = 100 * (1 - s.cost_after / s.cost_before)
                out.print(f"    −{better:.0f} %  {cut(scrubbed(s.statement.text), 100)}", markup=False, style="dim")
        out.print()
    else:
        out.print(f"\nNothing to build: {advised.reason}.\n")
    if advised.served:
        rows = {(i.label, cut(scrubbed(s.text), 100)) for s, i in advised.served}
        table("What already serves", ["index", "statement"], sorted(rows)[:15])
        _more(len(rows))
    if advised.unjudged:
        rows = [(s.label, why, cut(scrubbed(s.text), 160)) for s, why in advised.unjudged]
        table("Statements that could not be judged", ["id", "reason", "statement"], rows[:15], below=["statement"])
        _more(len(rows))
    if blind or advised.blind:
        spots = [(b.what, b.why, b.remedy) for b in blind] + [(k, v, "") for k, v in advised.blind.items()]
        table("What could not be seen", ["what", "why", "remedy"], spots[:15], below=["remedy"])
        _more(len(spots))


def _more(count: int, most: int = 15) -> None:
    if count > most:
        out.print(f"... and {count - most} more; --json lists all\n")
