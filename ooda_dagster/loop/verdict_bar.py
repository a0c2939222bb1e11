"""The bar of a target's verdicts: the settings', or the higher one that its own history was found to need.

It lives in the audit trail, as an event of its own: who measured it, when, on how many placebos; a later edit shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from ooda_dagster.core.placebo import Audit, audit
from ooda_dagster.core.settings import Settings, Verifying
from ooda_dagster.core.wire import iso
from ooda_dagster.ledger import Ledger

EVENT = "verdict bar"
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
) -> tuple[Audit, bool]:
    """Judge placebos in a target's history, and keep the bar that it needs; says too whether the bar was moved.

    Statements that an action reached in that time are left out: what it did to them is no placebo's. keep: False leaves
    the bar as it is. Raises TooLittleHistoryError.
    """
    policy = settings.verifying
    since = now - timedelta(days=settings.sampling.keep_blocks_d)
    rollup = ledger.rollups.frame(name, since, now, columns=JUDGED)
    reached: set[str] = set()
    for change_set in ledger.verifications.since(name, since):
        reached |= {*change_set.treated, *change_set.bystanders}
    rollup = rollup[~rollup["fingerprint"].isin(reached)]
    gaps = ledger.rollups.gaps(name, since, now)
    excluded = [(row.since, row.until) for row in gaps.itertuples() if row.kind != "eviction"]
    excluded += list(ledger.verifications.builds(name, since))
    found = audit(rollup, policy=policy, number=number, seed=seed, excluded=excluded, progress=progress)  # type: ignore[arg-type]
    needed = {"decide_e": round(found.needed_e, 1), "revert_e": round(found.needed_revert_e, 1)}
    current = _current(ledger, name) or {"decide_e": policy.decide_e, "revert_e": policy.revert_e}
    moves = any(needed[key] != current.get(key) for key in needed)
    if keep and moves:
        detail: dict[str, Any] = {**needed, "why": told(found)}
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


def _current(ledger: Ledger, name: str) -> dict[str, Any]:
    newest = ledger.trail.events(name, events=(EVENT,), limit=1)
    return newest[-1].detail if newest else {}
