"""`ooda cycle`, `ooda analyze`, `ooda verify-due`: one turn of the loop now, through Dagster, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ooda_dagster.cli.concept_tables import show_concepts
from ooda_dagster.cli.output import emit, errors, out, table
from ooda_dagster.cli.session import (
    ActUrlOption,
    ConfigOption,
    JsonOption,
    ModeOption,
    NameOption,
    ProfileOption,
    TargetOption,
    UrlOption,
    configuration,
    with_dagster,
)
from ooda_dagster.core.change_types import changes_statements
from ooda_dagster.core.messages import Observation, Scope, Verdicts
from ooda_dagster.core.text import cut, many, size
from ooda_dagster.core.wire import iso

if TYPE_CHECKING:
    from ooda_dagster.config import Config
    from ooda_dagster.defs.runner import CycleRun, Runner

ScopeOption = Annotated[
    Scope,
    typer.Option(
        "--scope",
        help="full; performance: statements and requests; models: requests by model; embeddings: concepts, found anew.",
    ),
]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", help="Of inference requests, only this tenant's (requests.tenant).")
]
LookbackOption = Annotated[float | None, typer.Option("--lookback-hours", help="How far to look back.", min=0.01)]


def cycle(
    config: ConfigOption = None,
    target: TargetOption = None,
    url: UrlOption = None,
    act_url: ActUrlOption = None,
    mode: ModeOption = None,
    profile: ProfileOption = None,
    name: NameOption = None,
    lookback_hours: LookbackOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Go through all phases and change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """One cycle now: observe, hypothesize, decide, act, learn. In mode propose (default) nothing is changed."""
    with errors():
        loaded, chosen = configuration(config, target, url, act_url=act_url, mode=mode, profile=profile, name=name)
        runner = _runner(loaded)
        ran = runner.cycle(chosen, trigger="hand", dry_run=dry_run, lookback_hours=lookback_hours)
        if as_json:
            emit(as_dict(ran))
        else:
            show(ran)


def analyze(
    config: ConfigOption = None,
    target: TargetOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    lookback_hours: LookbackOption = None,
    scope: ScopeOption = "full",
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Observe only: what is slow, and what could not be seen."""
    with errors():
        loaded, chosen = configuration(config, target, url, name=name)
        runner = _runner(loaded)
        ran = runner.cycle(
            chosen, trigger="hand", lookback_hours=lookback_hours, observe_only=True, scope=scope, tenant=tenant
        )
        if as_json:
            emit(as_dict(ran))
        elif ran.observation:
            show_observation(ran.observation)


def verify_due(
    config: ConfigOption = None,
    target: TargetOption = None,
    url: UrlOption = None,
    act_url: ActUrlOption = None,
    mode: ModeOption = None,
    profile: ProfileOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at the open verdicts that are due for a look: keep what helped, undo what hurt."""
    with errors():
        loaded, chosen = configuration(config, target, url, act_url=act_url, mode=mode, profile=profile, name=name)
        runner = _runner(loaded)
        looked = runner.verify(chosen)
        if as_json:
            emit({"verdicts": looked.body() if looked else None})
        elif looked:
            show_verdicts(looked)


def _runner(config: Config) -> Runner:
    # Imported late: Dagster takes seconds to import, and the other commands do without.
    from ooda_dagster.defs.instance import open_instance
    from ooda_dagster.defs.runner import Runner

    return Runner(with_dagster(config), open_instance(config))


def as_dict(ran: CycleRun) -> dict[str, Any]:
    """A cycle as JSON."""
    parts = {
        "observation": ran.observation,
        "hypotheses": ran.hypotheses,
        "decisions": ran.decisions,
        "action_results": ran.results,
        "learning_delta": ran.delta,
    }
    return {
        "analysis_id": ran.cycle.analysis_id,
        "run_id": ran.run_id,
        "target": ran.cycle.target,
        "mode": ran.cycle.mode,
        "dry_run": ran.cycle.dry_run,
        **{key: message.body() if message else None for key, message in parts.items()},
    }


def show(ran: CycleRun) -> None:
    """A cycle for people."""
    dry = ", dry run" if ran.cycle.dry_run else ""
    out.print(f"[bold]{ran.cycle.target}[/]  mode {ran.cycle.mode}{dry}  analysis {ran.cycle.analysis_id}\n")
    if ran.observation:
        show_observation(ran.observation)
    if ran.hypotheses:
        _hypotheses(ran)
    if ran.results and ran.results.results:
        table(
            "What was done",
            ["action", "state", "what", "note"],
            [(r.action_id[:8], str(r.state), r.description, r.error_message or r.note) for r in ran.results.results],
        )
    if ran.delta:
        if ran.delta.outcomes:
            _outcomes("Verdicts that closed", ran.delta.outcomes)
        if ran.delta.open:
            out.print(f"{len(ran.delta.open)} verdicts are open: `ooda status` shows them.")
        out.print(f"Next cycle: {iso(ran.delta.next_due_at)} ({ran.delta.next_due_reason}).")


def show_observation(seen: Observation) -> None:
    """An observation for people."""
    if seen.scope in ("full", "performance"):
        table(
            f"Where the time goes ({seen.source}, {seen.statements_seen} statements)",
            ["share %", "ms per call", "calls", "statement"],
            [(100 * s.share, s.mean_ms, s.calls, cut(s.text, 110)) for s in seen.statements[:10]],
        )
    if seen.total_inferences is not None:
        _requests(seen)
    if seen.anomalies:
        table(
            f"Odd requests ({seen.anomaly_count}, policy {seen.detection.policy if seen.detection else 'unknown'})",
            ["request", "ms", "usual ms", "method", "p", "what", "stands out"],
            [
                (
                    a.inference_request_id,
                    a.duration_ms,
                    a.usual_ms,
                    a.detection_method,
                    "" if a.p_value is None else f"{a.p_value:.1g}",
                    f"{cut(a.operation, 30)} by model {cut(a.model_id, 30)}",
                    a.text,
                )
                for a in seen.anomalies[:10]
            ],
        )
    for change in seen.group_changes:
        out.print(f"{change.text}.", markup=False)
    if seen.embeddings:
        show_concepts(seen.embeddings, seen.patterns)
    if seen.blind_spots:
        table(
            "What could not be seen",
            ["what", "why", "remedy"],
            [(b.what, b.why, b.remedy) for b in seen.blind_spots],
            below=["remedy"],
        )


def _requests(seen: Observation) -> None:
    whose = f" of tenant {seen.tenant}" if seen.tenant is not None else ""
    mean = "" if seen.avg_duration_ms is None else f", {seen.avg_duration_ms:,.0f} ms on average"
    odd = "" if seen.anomaly_count is None else f"; {many(seen.anomaly_count, 'is odd', 'are odd')}"
    count = many(seen.total_inferences or 0, "inference request")
    out.print(f"{count}{whose} in {seen.lookback_hours:g} h{mean}{odd}.")
    if seen.models:
        table(
            "Requests by model",
            ["share %", "requests", "failed", "mean ms", "max ms", "model", "operation"],
            [
                (100 * m.share, m.requests, m.failed, m.avg_duration_ms, m.max_duration_ms, m.model_id, m.operation)
                for m in seen.models[: None if seen.scope == "models" else 5]
            ],
        )
    if seen.irregular:
        rows = [(n, why) for why, n in seen.irregular.items()]
        table("Requests that do not count as they should", ["requests", "why"], rows)


def _hypotheses(ran: CycleRun) -> None:
    found = ran.hypotheses
    assert found is not None
    if found.hypotheses:
        table(
            f"What would help (priced by {found.backend})",
            ["priority", "size", "gain %", "saves s/h", "writes s/h", "decision", "statement"],
            [
                (
                    h.priority,
                    size(h.bytes),
                    h.gain_pct,
                    h.saved_ms_per_hour / 1000,
                    h.write_ms_per_hour / 1000,
                    _rule(ran, h.hypothesis_id),
                    f"{h.statements[0]};" if changes_statements(h.hypothesis_type) else h.description,
                )
                for h in found.hypotheses
            ],
            below=["statement"],
        )
    else:
        out.print(f"Nothing to propose: {found.reason}.\n")
    if found.unjudged:
        table(
            "Statements that could not be judged",
            ["s", "reason", "statement"],
            [(u.total_ms / 1000, u.reason, cut(u.text, 160)) for u in found.unjudged[:15]],
            below=["statement"],
        )


def _rule(ran: CycleRun, hypothesis_id: str) -> str:
    decisions = ran.decisions.decisions if ran.decisions else []
    found = next((d for d in decisions if d.hypothesis_id == hypothesis_id), None)
    return f"{found.state}: {found.rule}" if found else ""


def _outcomes(title: str, rows: list[Any]) -> None:
    table(
        title,
        ["action", "outcome", "effect %", "from", "to", "state", "why"],
        [(r.action_id[:8], r.outcome, r.effect_pct, r.ci_low_pct, r.ci_high_pct, str(r.state), r.reason) for r in rows],
    )


def show_verdicts(looked: Verdicts) -> None:
    """A look for people."""
    if looked.closed:
        _outcomes("Verdicts that closed", looked.closed)
    out.print(f"Looked at {len(looked.looked_at)} change sets; {len(looked.open)} verdicts stay open.")
