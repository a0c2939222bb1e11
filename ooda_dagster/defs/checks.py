"""Is the loop still true to its word? Checks read the ledger and the catalogue, never an asset's value.

Each says in one line what is wrong and what mends it, and shows its evidence as a table.
"""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster import DagsterEvent

from ooda_dagster.actions.agreement import mismatches
from ooda_dagster.core.errors import one_line
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Observation
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.defs.metadata import table
from ooda_dagster.defs.names import Names
from ooda_dagster.defs.partitions import targets
from ooda_dagster.ledger import Action
from ooda_dagster.loop.alive import Liveness, liveness
from ooda_dagster.loop.losses_in_place import still_worse
from ooda_dagster.loop.ooda import Ooda

#: Reported without a run, so that it costs a cycle nothing and can tell that none runs.
ALIVE = "loop_is_alive"

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def _result(
    rows: Sequence[Mapping[str, Any]], severity: dg.AssetCheckSeverity, evidence: str, wrong: str, right: str
) -> dg.AssetCheckResult:
    """Failed where there are rows. evidence: what the table is called."""
    return dg.AssetCheckResult(
        passed=not rows,
        severity=severity,
        description=one_line(wrong, 500) if rows else right,
        metadata={"count": len(rows), evidence: table(rows)},
    )


def journal_matches_catalogue(
    context: dg.AssetCheckExecutionContext, ooda: dg.ResourceParam[Ooda]
) -> dg.AssetCheckResult:
    loop = ooda.loop(context.partition_key)
    with loop.target.primary("check") as session:
        found = mismatches(loop.target, loop.ledger, session)
    rows = [
        {"action": m.action.action_id[:8], "object": m.action.object_name, "what": str(m), "remedy": "ooda recover"}
        for m in found
    ]
    wrong = "; ".join(str(m) for m in found) + ". Remedy: ooda recover"
    return _result(rows, _ERROR, "mismatches", wrong, "journal and catalogue agree")


def target_fully_visible(context: dg.AssetCheckExecutionContext, ooda: dg.ResourceParam[Ooda]) -> dg.AssetCheckResult:
    seen = ooda.ledger.messages.latest(Observation, context.partition_key)
    if seen is None:
        return dg.AssetCheckResult(
            passed=False,
            severity=_WARN,
            description="nothing was observed yet. Remedy: run the job ooda_cycle",
            metadata={"count": 0, "blind_spots": table([])},
        )
    rows = [{"what": b.what, "why": b.why, "remedy": b.remedy} for b in seen.blind_spots]
    remedies = " ".join(dict.fromkeys(b.remedy for b in seen.blind_spots if b.remedy))
    wrong = f"not seen: {'; '.join(b.what for b in seen.blind_spots)}. Remedy: {remedies or 'see the table'}"
    return _result(rows, _WARN, "blind_spots", wrong, "all that the loop looks for can be seen")


def no_failed_action(context: dg.AssetCheckExecutionContext, ooda: dg.ResourceParam[Ooda]) -> dg.AssetCheckResult:
    ledger, name = ooda.ledger, context.partition_key
    stuck = ledger.actions.list(name, states=(State.REVERT_FAILED,))
    newest = ledger.cycles.latest(name, 1)
    failed = ledger.actions.list(name, states=(State.FAILED,), since=newest[0].started_at) if newest else []
    rows = [
        {
            "action": a.action_id[:8],
            "state": str(a.state),
            "what": a.description,
            "error": a.error or "",
            "remedy": f"ooda actions {'rollback' if a.state == State.REVERT_FAILED else 'show'} {a.action_id[:8]}",
        }
        for a in (*failed, *stuck)
    ]
    wrong = f"{len(failed)} failed, {len(stuck)} cannot be undone. Remedy: " + "; ".join(r["remedy"] for r in rows)
    return _result(rows, _ERROR, "failed", wrong, "no action failed, no undo is stuck")


def no_proven_regression(context: dg.AssetCheckExecutionContext, ooda: dg.ResourceParam[Ooda]) -> dg.AssetCheckResult:
    ledger, name = ooda.ledger, context.partition_key
    newest = ledger.cycles.latest(name, 2)
    since = newest[-1].started_at if newest else None
    ended = ledger.actions.list(name, since=since) if since else []
    found = [a for a in ended if a.outcome == Outcome.WORSE and a.closed_at and since and a.closed_at >= since]
    worse = list({a.action_id: a for a in (*found, *still_worse(ledger, name, datetime.now(UTC)))}.values())
    live = [a for a in worse if a.state != State.REVERTED]
    rows = [
        {
            "action": a.action_id[:8],
            "state": str(a.state),
            "what": a.description,
            "effect_pct": round(((a.ratio or 1) - 1) * 100, 1),
            "proven_pct": _proven_pct(a),
            "then": a.revert_reason or "",
        }
        for a in worse
    ]
    severe_pct = ooda.config.target(name).settings.learning.severe_regression_pct
    severe = sum(_proven_pct(a) >= severe_pct for a in worse)
    mend = "; ".join(f"ooda actions rollback {a.action_id[:8]}" for a in live) or "none needed, all was undone"
    sized = f", by {severe_pct:g} % or more: {severe}" if severe else ""
    wrong = f"made things worse: {len(worse)}{sized}, of which still in place: {len(live)}. Remedy: {mend}"
    return _result(rows, _ERROR if severe else _WARN, "regressions", wrong, "nothing got worse")


def _proven_pct(action: Action) -> float:
    """More work, as far as it is proven: the near end of the interval; 0 where less was enough for an undo."""
    return round(max(((action.ratio_low or 1) - 1) * 100, 0.0), 1)


def loop_is_alive(context: dg.AssetCheckExecutionContext, ooda: dg.ResourceParam[Ooda]) -> dg.AssetCheckResult:
    life = liveness(ooda.ledger, context.partition_key, datetime.now(UTC))
    return dg.AssetCheckResult(severity=_WARN, **_of_life(life))


def alive_evaluations(names: Names, lives: Sequence[Liveness]) -> list[dg.AssetCheckEvaluation]:
    """The same as events without a run, one a target."""
    common: dict[str, Any] = {
        "asset_key": names.key("learning_deltas"),
        "check_name": ALIVE,
        "severity": _WARN,
        "blocking": False,
    }
    return [dg.AssetCheckEvaluation(**common, **_of_life(life), partition=life.target) for life in lives]


def report(instance: dg.DagsterInstance, evaluations: Sequence[dg.AssetCheckEvaluation]) -> None:
    """Enter evaluations that no run made.

    Dagster keeps one evaluation a check, run and partition, and all events without a run have the same, empty run id:
    `report_runless_asset_event` fails for the second evaluation of a partition. So these get an id of their own.
    """
    run_id = f"ooda_alerts-{uuid.uuid4()}"
    for evaluation in evaluations:
        event = DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
            job_name="",
            event_specific_data=evaluation,
        )
        instance.report_dagster_event(event, run_id=run_id)


def _of_life(life: Liveness) -> dict[str, Any]:
    rows = [{"what": f.what, "value": f.value, "ok": f.ok, "remedy": f.remedy} for f in life.facts]
    wrong = sum(not fact.ok for fact in life.facts)
    return {
        "passed": life.alive,
        "description": one_line(life.why, 500),
        "metadata": {"count": wrong, "evidence": table(rows)},
    }


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
            target_fully_visible,
            names.key("observations"),
            "The observing role sees all that the loop looks for; what it does not is named with its remedy.",
        ),
        _check(
            no_failed_action,
            names.key("action_results"),
            "No action of the newest cycle failed, and no undo is stuck.",
        ),
        _check(
            no_proven_regression,
            names.key("learning_deltas"),
            "No action was shown to slow its statements since the last cycle, and none that was is in place.",
        ),
        _check(
            loop_is_alive,
            names.key("learning_deltas"),
            "Cycles start when they are due, samples are fresh, and not all of the last cycles failed.",
        ),
    ]


def alive_key(names: Names) -> dg.AssetCheckKey:
    """The check that is no part of a cycle."""
    return dg.AssetCheckKey(names.key("learning_deltas"), ALIVE)


def _check(
    function: Callable[..., dg.AssetCheckResult], asset: dg.AssetKey, description: str, **spec: Any
) -> dg.AssetChecksDefinition:
    """`dg.asset_check`, by target. That checks may be partitioned is a preview of Dagster's, and ours to know."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.asset_check(asset=asset, partitions_def=targets, description=description, **spec)(function)
