"""Is the loop still true to its word? Checks read the ledger and the catalogue, never an asset's value."""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

import warnings
from collections.abc import Callable
from typing import Any

import dagster as dg

from ooda_dagster.actions.recovery import mismatches
from ooda_dagster.core.journal import State
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.defs.metadata import table
from ooda_dagster.defs.names import Names
from ooda_dagster.defs.partitions import targets
from ooda_dagster.loop.ooda import Ooda


def journal_matches_catalogue(
    context: dg.AssetCheckExecutionContext, ooda: dg.ResourceParam[Ooda]
) -> dg.AssetCheckResult:
    loop = ooda.loop(context.partition_key)
    with loop.target.observing("check") as session:
        found = mismatches(loop.target, loop.ledger, session)
    rows = [{"action": m.action.action_id, "object": m.action.object_name, "what": str(m)} for m in found]
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(str(m) for m in found) + ". Remedy: ooda recover"
        if found
        else "journal and catalogue agree",
        metadata={"mismatches": table(rows), "count": len(rows)},
    )


def no_failed_action(context: dg.AssetCheckExecutionContext, ooda: dg.ResourceParam[Ooda]) -> dg.AssetCheckResult:
    ledger, name = ooda.ledger, context.partition_key
    stuck = ledger.actions.list(name, states=(State.REVERT_FAILED,))
    newest = ledger.cycles.latest(name, 1)
    failed = ledger.actions.list(name, states=(State.FAILED,), since=newest[0].started_at) if newest else []
    failed = [*failed, *stuck]
    rows = [{"action": a.action_id, "state": a.state, "what": a.description, "error": a.error or ""} for a in failed]
    return dg.AssetCheckResult(
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"failed, or not to be undone: {len(failed)}" if failed else "no action failed, no undo is stuck",
        metadata={"failed": table(rows), "count": len(rows)},
    )


def no_proven_regression(context: dg.AssetCheckExecutionContext, ooda: dg.ResourceParam[Ooda]) -> dg.AssetCheckResult:
    ledger, name = ooda.ledger, context.partition_key
    newest = ledger.cycles.latest(name, 2)
    since = newest[-1].started_at if newest else None
    ended = ledger.actions.list(name, since=since) if since else []
    worse = [a for a in ended if a.outcome == Outcome.WORSE and a.closed_at and since and a.closed_at >= since]
    live = sum(a.state != State.REVERTED for a in worse)
    rows = [
        {
            "action": a.action_id,
            "state": a.state,
            "what": a.description,
            "effect_pct": round(((a.ratio or 1) - 1) * 100, 1),
            "then": a.revert_reason or "",
        }
        for a in worse
    ]
    return dg.AssetCheckResult(
        passed=not worse,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"made things worse: {len(worse)}, of which still in place: {live}"
        if worse
        else "nothing got worse",
        metadata={"regressions": table(rows), "count": len(rows)},
    )


def make_checks(names: Names) -> list[dg.AssetChecksDefinition]:
    """The checks, on assets of these names."""
    return [
        _check(
            journal_matches_catalogue,
            names.key("observations"),
            "What the journal says was done is what the catalogue holds; nothing acts before they agree.",
            blocking=True,
        ),
        _check(
            no_failed_action,
            names.key("action_results"),
            "No action of the newest cycle failed, and no undo is stuck.",
        ),
        _check(
            no_proven_regression,
            names.key("learning_deltas"),
            "No action was shown to make its statements slower since the last cycle.",
        ),
    ]


def _check(
    function: Callable[..., dg.AssetCheckResult], asset: dg.AssetKey, description: str, **spec: Any
) -> dg.AssetChecksDefinition:
    """`dg.asset_check`, by target. That checks may be partitioned is a preview of Dagster's, and ours to know."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.asset_check(asset=asset, partitions_def=targets, description=description, **spec)(function)
