"""The bar of a target's verdicts: the settings', or the higher one that its own history was found to need.

It lives in the audit trail, as an event of its own beside that of each measurement: who measured it, when, on how many
placebos; a later edit shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from ooda_dagster.core.messages import VerdictAudit
from ooda_dagster.core.placebo import Audit, audit
from ooda_dagster.core.settings import Settings, Verifying
from ooda_dagster.core.wire import iso
from ooda_dagster.ledger import Ledger

EVENT, MEASURED = "verdict bar", "verdict audit"
#: Counters that a verdict is made of.
JUDGED = ("n", "sum_ms", "sum_ms_sq")


def policy_of(ledger: Ledger, name: str, policy: Verifying) -> Verifying:
    """The settings with the target's own bar, where that is higher."""
    bar = _current(ledger, name)
    raised = {key: max(getattr(policy, key), float(bar.get(key, 0.0))) for key in ("decide_e", "revert_e")}
    return policy.model_copy(update=raised)


def audit_verdicts(
    ledger: Ledger,
    name: str,
    settings: Settings,
    *,
    now: datetime,
    number: int,
    seed: int,
    keep: bool,
    progress: Callable[[int, int], None] = lambda done, of: None,
    busiest: int | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> tuple[Audit, bool]:
    """Judge placebos in a target's history, and keep the bar that it needs; says too whether the bar was moved.

    Statements that an action reached in that time are left out: what it did to them is no placebo's. keep: False leaves
    the bar as it is, and notes nothing. busiest: how many of the others may take part, those with the most
    calls of the last day; None: all. enough: see `placebo.audit`. Raises TooLittleHistoryError.
    """
    policy = settings.verifying
    since = now - timedelta(days=settings.sampling.keep_blocks_d)
    reached: set[str] = set()
    for change_set in ledger.verifications.since(name, since):
        reached |= {*change_set.treated, *change_set.bystanders}
    chosen: list[str] | None = None
    if busiest is not None:
        calls = ledger.rollups.totals(name, now - timedelta(hours=24), now).sort_values("n", ascending=False)
        chosen = list(calls.loc[~calls["fingerprint"].isin(reached), "fingerprint"][:busiest])
    rollup = ledger.rollups.frame(name, since, now, fingerprints=chosen, columns=JUDGED)
    rollup = rollup[~rollup["fingerprint"].isin(reached)]
    gaps = ledger.rollups.gaps(name, since, now)
    excluded = [(row.since, row.until) for row in gaps.itertuples() if row.kind != "eviction"]
    excluded += list(ledger.verifications.builds(name, since))
    found = audit(
        rollup,
        policy=policy,
        number=number,
        seed=seed,
        excluded=excluded,  # type: ignore[arg-type]
        progress=progress,
        enough=enough,
    )
    needed = {"decide_e": round(found.needed_e, 1), "revert_e": round(found.needed_revert_e, 1)}
    current = _current(ledger, name) or {"decide_e": policy.decide_e, "revert_e": policy.revert_e}
    # Few placebos show little: they may raise the bar that more of them raised, and not lower it.
    raised_by = float(current.get("effective", 0.0))
    if found.effective < raised_by:
        needed = {key: max(value, float(current.get(key, 0.0))) for key, value in needed.items()}
    moves = any(needed[key] != current.get(key) for key in needed)
    if keep:
        ledger.audit(MEASURED, target=name, **as_dict(found))
    if keep and moves:
        detail: dict[str, Any] = {**needed, "effective": round(max(found.effective, raised_by), 1), "why": told(found)}
        ledger.audit(EVENT, target=name, **detail)
    return found, keep and moves


def told(found: Audit) -> str:
    """An audit in one line."""
    false = found.false
    return (
        f"{false.count} false verdicts in {found.placebos} placebos, worth {found.effective:.0f}: {false.share:.2%}, "
        f"95 % from {false.low:.2%} to {false.high:.2%}"
    )


def as_dict(found: Audit) -> dict[str, Any]:
    return {**asdict(found), "since": iso(found.since), "until": iso(found.until)}


def last_audit(ledger: Ledger, name: str, policy: Verifying) -> VerdictAudit | None:
    """The newest measurement of a target's false verdicts, with the bar that holds now; None where there is none."""
    events = ledger.trail.events(name, events=(MEASURED,), limit=1)
    if not events:
        return None
    detail, now = events[-1].detail, policy_of(ledger, name, policy)
    raised = now.decide_e > policy.decide_e or now.revert_e > policy.revert_e
    bars = {"decide_e": now.decide_e, "revert_e": now.revert_e, "raised": raised}
    if "error" in detail:
        return VerdictAudit(at=events[-1].at, error=detail["error"], **bars)
    false, undone = detail["false"], detail["undone"]
    return VerdictAudit(
        at=events[-1].at,
        placebos=detail["placebos"],
        effective=detail["effective"],
        false_pct=100 * false["share"],
        low_pct=100 * false["low"],
        high_pct=100 * false["high"],
        undone_pct=100 * undone["share"],
        **bars,
    )


def in_words(audit: VerdictAudit | None) -> str:
    """A measurement as a person reads it."""
    if audit is None:
        return "not measured yet"
    bar = f"the bar is e = {audit.decide_e:.0f}" + (", raised for it" if audit.raised else "")
    if audit.error:
        return f"cannot be measured yet: {audit.error}; {bar}"
    return (
        f"{audit.false_pct:.1f} % false, 95 % from {audit.low_pct:.1f} to {audit.high_pct:.1f}, of {audit.placebos} "
        f"placebos worth {audit.effective:.0f}; {bar}"
    )


def _current(ledger: Ledger, name: str) -> dict[str, Any]:
    newest = ledger.trail.events(name, events=(EVENT,), limit=1)
    return newest[-1].detail if newest else {}
