"""`ooda status`, `ooda improvements`"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ooda_dagster.cli.output import emit, errors, out, table
from ooda_dagster.cli.session import ConfigOption, JsonOption, TargetOption, with_ledger
from ooda_dagster.config import load_config
from ooda_dagster.core.journal import OPEN, WAITING
from ooda_dagster.core.settings import Verifying
from ooda_dagster.core.wire import iso
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.alerts import Alert
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster.loop.verdict_bar import in_words, last_audit


def status(config: ConfigOption = None, target: TargetOption = None, as_json: JsonOption = False) -> None:
    """Where each target stands: last cycle, next one, what is open, what waits."""
    with errors():
        ooda = Ooda(with_ledger(load_config(config)))
        known = [r["name"] for r in ooda.ledger.cycles.targets()]
        if target and target not in known:
            ooda.config.target(target)  # says which name is near
        names = [target] if target else sorted({*ooda.config.targets, *known})
        policies = {name: t.settings.verifying for name, t in ooda.config.targets.items()}
        found = [_target(ooda.ledger, name, policies.get(name)) for name in names]
        alerts = [_alert(a) for a in ooda.ledger.alerts.news(datetime.now(UTC), target)]
    if as_json:
        emit({"targets": found, "alerts": alerts})
        return
    if alerts:
        rows = [(_ago(a["at"]), a["kind"], _told(a), a["text"]) for a in alerts]
        table("Alerts", ["since", "kind", "told", "what"], rows, below=["what"])
    table(
        "Targets",
        ["target", "mode", "last sample", "last cycle", "next cycle", "why then", "open", "waiting"],
        [
            (
                f["target"],
                ", ".join(filter(None, (f["mode"] or "never seen", f["paused_at"] and "paused", f["barred"]))),
                _ago(f["last_sampled_at"]),
                _ago(f["last_cycle_at"]) + (f" ({f['last_cycle_state']})" if f["last_cycle_state"] else ""),
                iso(f["next_due_at"]) if f["next_due_at"] else None,
                f["next_due_reason"],
                len(f["open"]),
                len(f["waiting"]),
            )
            for f in found
        ],
    )
    measured = [(f["target"], _ago(f["verdicts_measured_at"]), f["verdicts"]) for f in found]
    table("Verdicts", ["target", "measured", "false verdicts where nothing was done"], measured)
    for f in found:
        for word in ("open", "waiting"):
            rows = [(a["action_id"][:8], a["state"], a["description"], a["rule"]) for a in f[word]]
            if rows:
                table(f"{f['target']}: {word}", ["action", "state", "what", "rule"], rows)


def _target(ledger: Ledger, name: str, policy: Verifying | None = None) -> dict[str, Any]:
    audit = last_audit(ledger, name, policy or Verifying())
    row = ledger.cycles.registered(name) or {}
    newest = ledger.cycles.latest(name, 1)
    queue = ledger.cycles.queue([name])

    def actions(states: Any) -> list[dict[str, Any]]:
        return [
            {"action_id": a.action_id, "state": str(a.state), "description": a.description, "rule": a.rule or ""}
            for a in ledger.actions.list(name, states=states)
        ]

    return {
        "target": name,
        "mode": row.get("mode"),
        "paused_at": row.get("paused_at"),
        "barred": row.get("barred"),
        "barred_at": row.get("barred_at"),
        "last_sampled_at": row.get("last_sampled_at"),
        "last_cycle_at": newest[0].started_at if newest else None,
        "last_cycle_state": newest[0].state if newest else None,
        "last_cycle_error": newest[0].error if newest else None,
        "next_due_at": queue[0].deliver_at if queue else None,
        "next_due_reason": queue[0].reason if queue else None,
        "open": actions(OPEN),
        "waiting": actions(WAITING),
        "verdict_audit": audit.model_dump(mode="json") if audit else None,
        "verdicts": in_words(audit),
        "verdicts_measured_at": audit.at if audit else None,
    }


def _alert(alert: Alert) -> dict[str, Any]:
    names = ("at", "target", "kind", "text", "detail", "delivered_at", "attempts", "error")
    return {name: getattr(alert, name) for name in names}


def _told(alert: dict[str, Any]) -> str:
    if alert["delivered_at"]:
        return _ago(alert["delivered_at"])
    return f"not yet: {alert['error']}" if alert["error"] else "not yet"


def improvements(
    config: ConfigOption = None,
    target: TargetOption = None,
    top: Annotated[int, typer.Option("--top", help="How many.", min=1)] = 20,
    as_json: JsonOption = False,
) -> None:
    """The improvement history, newest first."""
    with errors():
        found = Ooda(with_ledger(load_config(config))).ledger.actions.improvements(target, top)
    if as_json:
        emit({"improvements": found})
        return
    table(
        "Improvements",
        ["completed", "type", "score", "expected %", "faster %", "undone", "code"],
        [
            (
                f"{f['completed_at']:%Y-%m-%d %H:%M}" if f["completed_at"] else None,
                f["hypothesis_type"],
                None if f["success_score"] is None else float(f["success_score"]),
                f["expected_improvement"],
                None if f["latency_improvement"] is None else float(f["latency_improvement"]),
                f["was_rolled_back"],
                f["generated_code"],
            )
            for f in found
        ],
    )
    if not found:
        out.print("No action has ended yet.")


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return "never"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
