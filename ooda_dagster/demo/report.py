"""What did the loop find, do, measure and undo - held against the planted truth?

As JSON (docs/demo-report.schema.json) and as text.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from ooda_dagster.core.change_types import makes_index
from ooda_dagster.core.journal import LIVE, NEVER_APPLIED, State
from ooda_dagster.core.settings import PROFILE_REMARK
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.core.wire import iso
from ooda_dagster.defs.runner import CycleRun
from ooda_dagster.demo.planted import Missing, Plan
from ooda_dagster.demo.traffic import Measurement
from ooda_dagster.ledger import Action

#: What the demonstration promises.
MIN_SAVING_PCT = 60.0
MIN_SHARE_PCT = 80.0
MOST_NOT_IN_TRUTH = 2
MOST_CONTROL_CHANGE_PCT = 5.0


@dataclass(frozen=True)
class Evidence:
    """All that a run measured."""

    plan: Plan
    act: bool
    profile: str
    before: Measurement
    after: Measurement
    truth: Measurement | None
    cycles: Sequence[CycleRun]
    actions: Sequence[Action]


def build_report(evidence: Evidence, *, seconds: float) -> dict[str, Any]:
    """The report. `ok`: every planted problem has a finding, an action and a closed verdict (control arm: findings)."""
    planted = [_missing(m, evidence) for m in evidence.plan.missing]
    if evidence.act:
        planted.append(_harmful(evidence))
    traffic = _traffic(evidence)
    actions = [_action(a, evidence.plan) for a in evidence.actions]
    beside = [a for a in actions if a["live"] and not a["in_truth"] and makes_index(a["type"])]
    return {
        "ok": not _not_reached(evidence, planted),
        "not_reached": _not_reached(evidence, planted),
        "goals": _goals(evidence, traffic, planted, len(beside)),
        "seed": evidence.plan.seed,
        "act": evidence.act,
        "profile": {"name": evidence.profile, "remark": PROFILE_REMARK[evidence.profile]},
        "planted": planted,
        "traffic": traffic,
        "actions": actions,
        "actions_not_in_truth": len(beside),
        "cycles": [
            {
                "analysis_id": c.cycle.analysis_id,
                "due_at": iso(c.cycle.next_due_at) if c.cycle.next_due_at else None,
                "reason": c.cycle.next_due_reason,
                "hypotheses": len(c.hypotheses.hypotheses) if c.hypotheses else 0,
                "what_if": c.hypotheses.backend if c.hypotheses else "",
            }
            for c in evidence.cycles
        ],
        "errors_of_the_traffic": evidence.before.errors + evidence.after.errors,
        "seconds": round(seconds, 1),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
    }


def serves(missing: Missing, kind: str, spec: Mapping[str, Any]) -> bool:
    """Whether a change mends the problem; only an index does, and only of one do columns have a name and an order."""
    return makes_index(kind) and missing.served_by(spec["table"], tuple(c["name"] or "" for c in spec["columns"]))


def _missing(missing: Missing, evidence: Evidence) -> dict[str, Any]:
    found = [
        h
        for c in evidence.cycles
        for h in (c.hypotheses.hypotheses if c.hypotheses else ())
        if serves(missing, h.hypothesis_type, h.evidence["spec"])
    ]
    acted = [a for a in evidence.actions if serves(missing, a.action_type, a.spec)]
    acted.sort(key=lambda a: a.state == State.KEPT)
    action = acted[-1] if acted else None
    return {
        "name": missing.name,
        "kind": "missing index, order matters" if missing.order_matters else "missing index",
        "truth": missing.ddl,
        "found": bool(found),
        "mended": bool(action and action.state == State.KEPT and action.outcome == Outcome.BETTER),
        "outcome": action.outcome if action else None,
        "action_id": action.action_id if action else None,
    }


def _harmful(evidence: Evidence) -> dict[str, Any]:
    action = next((a for a in evidence.actions if a.statements and a.hypothesis_id is None), None)
    return {
        "name": "a person's index that hurts writes",
        "kind": "harmful index",
        "truth": f"not {evidence.plan.harmful.ddl}",
        "found": bool(action and action.outcome == Outcome.WORSE),
        "mended": bool(action and action.state == State.REVERTED),
        "outcome": action.outcome if action else None,
        "action_id": action.action_id if action else None,
    }


def _traffic(evidence: Evidence) -> dict[str, Any]:
    before, after, truth = evidence.before, evidence.after, evidence.truth
    saving = _saving(before.readers_ms_per_call, after.readers_ms_per_call)
    possible = _saving(before.readers_ms_per_call, truth.readers_ms_per_call) if truth else None
    return {
        "before_ms_per_call": round(before.readers_ms_per_call, 4),
        "after_ms_per_call": round(after.readers_ms_per_call, 4),
        "saving_pct": round(saving, 2),
        "oracle_ms_per_call": round(truth.readers_ms_per_call, 4) if truth else None,
        "oracle_saving_pct": round(possible, 2) if possible is not None else None,
        "share_of_oracle_pct": round(100 * saving / possible, 1) if possible else None,
        "writers_before_ms_per_call": round(before.writers_ms_per_call, 4),
        "writers_after_ms_per_call": round(after.writers_ms_per_call, 4),
        "calls_before": before.calls,
        "calls_after": after.calls,
        "statements": {
            name: {
                "before_ms": round(values["mean_ms"], 3),
                "after_ms": round(after.statements[name]["mean_ms"], 3) if name in after.statements else None,
            }
            for name, values in before.statements.items()
        },
    }


def _saving(before: float, after: float) -> float:
    return 100 * (1 - after / before) if before else 0.0


def _action(action: Action, plan: Plan) -> dict[str, Any]:
    applied = action.state not in NEVER_APPLIED
    return {
        "id": action.action_id,
        "type": action.action_type,
        "proposed_by": action.proposed_by,
        "statements": action.statements,
        "undo": action.undo,
        "state": str(action.state),
        "outcome": action.outcome,
        "ratio": action.ratio,
        "interval": [action.ratio_low, action.ratio_high] if action.ratio_low is not None else None,
        "applied": applied,
        "live": action.state in LIVE,
        "in_truth": any(serves(m, action.action_type, action.spec) for m in plan.missing),
        "reason": action.revert_reason or action.verdict_reason or action.rule,
    }


def _not_reached(evidence: Evidence, planted: Sequence[dict[str, Any]]) -> list[str]:
    """What keeps the run from being a success, in words."""
    wanting = []
    for problem in planted:
        if not problem["found"]:
            wanting.append(f"{problem['name']}: no finding")
        elif evidence.act and problem["action_id"] is None:
            wanting.append(f"{problem['name']}: no action")
        elif evidence.act and not problem["mended"]:
            wanting.append(f"{problem['name']}: verdict {problem['outcome'] or 'open'}, not mended")
    return wanting


def _goals(
    evidence: Evidence, traffic: dict[str, Any], planted: Sequence[dict[str, Any]], beside: int
) -> list[dict[str, Any]]:
    """Promises with what was reached."""

    def goal(what: str, wanted: str, reached: Any, met: bool) -> dict[str, Any]:
        return {"what": what, "wanted": wanted, "reached": reached, "met": bool(met)}

    if not evidence.act:
        change = abs(traffic["saving_pct"])
        limit = f"< {MOST_CONTROL_CHANGE_PCT:g} %"
        return [goal("readers' time per call stays", limit, f"{change:.1f} %", change < MOST_CONTROL_CHANGE_PCT)]
    share, saving = traffic["share_of_oracle_pct"] or 0.0, traffic["saving_pct"]
    mended = sum(p["mended"] for p in planted)
    return [
        goal("planted problems mended", str(len(planted)), mended, mended == len(planted)),
        goal("share of the possible saving", f">= {MIN_SHARE_PCT:g} %", f"{share:.0f} %", share >= MIN_SHARE_PCT),
        goal(
            "saving in readers' time per call", f">= {MIN_SAVING_PCT:g} %", f"{saving:.0f} %", saving >= MIN_SAVING_PCT
        ),
        goal("indexes that the truth does not hold", f"<= {MOST_NOT_IN_TRUTH}", beside, beside <= MOST_NOT_IN_TRUTH),
    ]


# ---------------------------------------------------------------------- for people


def render(report: dict[str, Any], out: Console) -> None:
    """The report as text."""
    arm = "" if report["act"] else "  (control arm: nothing was changed)"
    out.print(f"\n[bold]Demo, seed {report['seed']}[/]{arm}\n")
    _table(
        out,
        "Planted problems",
        ["problem", "kind", "found", "mended", "verdict"],
        [(p["name"], p["kind"], _tick(p["found"]), _tick(p["mended"]), p["outcome"] or "") for p in report["planted"]],
    )
    if report["actions"]:
        out.print("[bold]Actions[/]")
    for a in report["actions"]:
        _show_action(a, out)
    _readers(report["traffic"], out)
    _table(
        out,
        "Cycles",
        ["analysis", "hypotheses", "next cycle", "why then"],
        [(c["analysis_id"][:8], c["hypotheses"], c["due_at"] or "", c["reason"] or "") for c in report["cycles"]],
    )
    _table(
        out,
        "Promises",
        ["", "what", "wanted", "reached"],
        [(_tick(g["met"]), g["what"], g["wanted"], g["reached"]) for g in report["goals"]],
    )
    if report["profile"]["remark"]:
        out.print(f"Settings profile {report['profile']['name']}: {report['profile']['remark']}", style="dim")
    out.print(f"{report['seconds']:.0f} s in all.", style="dim")


def _show_action(action: dict[str, Any], out: Console) -> None:
    effect = "" if action["ratio"] is None else f", {100 * (action['ratio'] - 1):+.0f} % work per call"
    low, high = action["interval"] or (None, 0.0)
    interval = "" if low is None else f" ({100 * (low - 1):+.0f} … {100 * (high - 1):+.0f} %)"
    verdict = f"{action['outcome']}{effect}{interval}" if action["outcome"] else "no verdict"
    colour = {"kept": "green", "reverted": "yellow", "failed": "red"}.get(action["state"], "default")
    who = "" if action["proposed_by"] == "policy" else f", proposed by {action['proposed_by']}"
    out.print(f"  {action['id'][:8]}  [{colour}]{action['state']}[/]  {verdict}{who}")
    for statement in action["statements"]:
        out.print(f"            {statement};", markup=False, style="dim")
    if action["state"] == "reverted":
        out.print(f"            undone, {action['reason']}: {'; '.join(action['undo'])};", markup=False)
    elif not action["applied"]:
        out.print(f"            {action['reason']}", markup=False)


def _readers(traffic: dict[str, Any], out: Console) -> None:
    before, after = traffic["before_ms_per_call"], traffic["after_ms_per_call"]
    out.print("\n[bold]Readers' time per call, measured by the traffic itself[/]")
    longest = max(before, after, 1e-9)
    bars = [("before", before), ("after", after)]
    if traffic["oracle_ms_per_call"] is not None:
        bars.append(("possible", traffic["oracle_ms_per_call"]))
    for label, value in bars:
        out.print(f"  {label:9} {'█' * max(1, round(50 * value / longest))} {value:.2f} ms")
    share = traffic["share_of_oracle_pct"]
    reached = f", {share:.0f} % of what was possible" if share is not None else ""
    out.print(f"  {traffic['saving_pct']:.0f} % less{reached}\n")


def _tick(value: bool) -> str:
    return "yes" if value else "NO"


def _table(out: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    shown = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for name in columns:
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*(str(v).replace("[", "\\[") for v in row))
    out.print(shown)
    out.print()
