"""`ooda regressions`: statements that became slower, with both plans side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Annotated, Any

import typer
from rich.cells import cell_len

from ooda_dagster.cli.output import emit, errors, out, shown, table
from ooda_dagster.cli.session import ConfigOption, JsonOption, TargetOption, with_ledger
from ooda_dagster.config import load_config
from ooda_dagster.core.regressions import KINDS
from ooda_dagster.core.text import cut
from ooda_dagster.core.wire import iso
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.plans import KeptPlan
from ooda_dagster.ledger.regressions import Regression
from ooda_dagster.loop.ooda import Ooda

_GAP = " | "
_MARGIN = 4


def regressions(
    config: ConfigOption = None,
    target: TargetOption = None,
    gone: Annotated[bool, typer.Option("--gone", help="Those that went away, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Statements that became slower, with both plans side by side."""
    with errors():
        ooda = Ooda(with_ledger(load_config(config)))
        if target and target not in [r["name"] for r in ooda.ledger.cycles.targets()]:
            ooda.config.target(target)  # says which name is near
        found = [_told(ooda.ledger, r) for r in ooda.ledger.regressions.list(target, gone=gone)]
    if as_json:
        emit({"regressions": found})
        return
    apart = [f["kind"] == "parameter_sensitive" for f in found]
    for title, wanted in (("Slower", False), ("No regression: it depends on what is asked", True)):
        mine = [f for f, told_apart in zip(found, apart, strict=True) if told_apart == wanted]
        if mine:
            _print(title, mine)
    if not found:
        out.print("No statement became slower.")


def _told(ledger: Ledger, one: Regression) -> dict[str, Any]:
    statements = ledger.rollups.statements(one.target, [one.fingerprint])
    plans = {(p.source, p.plan_hash): p for p in ledger.plans.of(one.target, [one.fingerprint])}
    return {
        "target": one.target,
        "state": "open" if one.gone_at is None else "gone",
        "kind": one.kind,
        "fingerprint": one.fingerprint,
        "statement": str(statements["text"].iloc[0]) if len(statements) else "",
        "since": one.since,
        "found_at": one.opened_at,
        "gone_at": one.gone_at,
        "before_ms": one.before_ms,
        "after_ms": one.after_ms,
        "ratio": one.ratio,
        "extra_s": one.extra_s,
        "impact_score": one.score,
        "calls_before": one.calls_before,
        "calls_after": one.calls_after,
        "reason": one.reason,
        "evidence": one.evidence,
        "plan_source": one.source,
        "plan_before": _plan(plans.get((one.source, one.plan_before))),  # type: ignore[arg-type]
        "plan_after": _plan(plans.get((one.source, one.plan_after))),  # type: ignore[arg-type]
    }


def _plan(plan: KeptPlan | None) -> dict[str, Any] | None:
    if plan is None:
        return None
    return {
        "hash": plan.plan_hash,
        "source": plan.source,
        "text": plan.text,
        "first_seen": plan.first_seen,
        "last_seen": plan.last_seen,
        "executions": plan.executions,
        "mean_ms": plan.mean_ms,
    }


def _print(title: str, found: Sequence[dict[str, Any]]) -> None:
    table(
        title,
        ["target", "since", "kind", "ms before", "ms now", "times", "s lost", "calls since", "state", "statement"],
        [
            (
                f["target"],
                iso(f["since"])[:16].replace("T", " "),
                KINDS[f["kind"]],
                f["before_ms"],
                f["after_ms"],
                f["ratio"],
                f["extra_s"],
                f["calls_after"],
                f["state"],
                cut(f["statement"], 100),
            )
            for f in found
        ],
    )
    for f in found:
        _print_plans(f)


def _print_plans(one: dict[str, Any]) -> None:
    """One statement: why it is here, and its plans."""
    out.print(shown(cut(one["statement"], 1000)), style="bold", markup=False)
    out.print(f"  {shown(one['reason'])}", markup=False)
    if one["state"] == "gone":
        out.print(f"  gone at {iso(one['gone_at'])}: {shown(one['evidence'].get('gone', ''))}", markup=False)
    before, after = one["plan_before"], one["plan_after"]
    if before and after and before["hash"] == after["hash"]:
        for line in (f"before and now ({_seen(before)})", *before["text"].splitlines()):
            out.print(f"    {shown(line)}", markup=False)
    else:
        left, right = (_lines(name, plan) for name, plan in (("before", before), ("now", after)))
        for line in side_by_side(left, right, out.width - _MARGIN):
            out.print(f"    {line}", markup=False)
    out.print()


def _lines(name: str, plan: dict[str, Any] | None) -> list[str]:
    if plan is None:
        return [name, "(not known)"]
    return [f"{name} ({_seen(plan)})", *plan["text"].splitlines()]


def _seen(plan: dict[str, Any]) -> str:
    """`executed 40 times, 1.2 ms` or `estimate`."""
    if plan["source"] == "estimate":
        return "estimate"
    return f"{plan['executions']} executions logged, {plan['mean_ms'] or 0:,.3g} ms each"


def side_by_side(left: Sequence[str], right: Sequence[str], width: int) -> Iterator[str]:
    """Lines of two columns that share a width; what is longer goes on in the next line, indented as it was."""
    longest = max((cell_len(shown(line)) for line in left), default=0)
    room = max(20, min(longest, (width - len(_GAP)) // 2))
    rest = max(20, width - len(_GAP) - room)
    for a, b in zip_longest(_wrapped(left, room), _wrapped(right, rest), fillvalue=""):
        yield f"{a}{' ' * (room - cell_len(a))}{_GAP}{b}".rstrip()


def _wrapped(lines: Sequence[str], width: int) -> Iterator[str]:
    for line in map(shown, lines):
        indent = " " * min(len(line) - len(line.lstrip()) + 2, width // 2)
        yield from textwrap.wrap(line, width, subsequent_indent=indent, drop_whitespace=False) or [""]
