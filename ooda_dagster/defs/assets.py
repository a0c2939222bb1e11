"""The loop as assets: each answers one question about a target, and hands its message to the next."""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import dagster as dg

from ooda_dagster.core.messages import (
    ActionResults,
    Decisions,
    Hypotheses,
    LearningDelta,
    Message,
    Observation,
    Verdicts,
)
from ooda_dagster.defs.io_manager import root_run_id
from ooda_dagster.defs.metadata import describe
from ooda_dagster.defs.partitions import targets
from ooda_dagster.ledger import Cycle, CycleRefusedError
from ooda_dagster.loop import act, cycle, decide, hypothesize, learn, observe, verify
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.ooda import Ooda

#: One run, one target; a failure of the network is tried again within the run.
_COMMON: dict[str, Any] = {
    "key_prefix": ["ooda"],
    "partitions_def": targets,
    "backfill_policy": dg.BackfillPolicy.multi_run(1),
    "io_manager_key": "ooda_messages",
    "output_required": False,
    "kinds": {"postgres"},
}


def _asset(**spec: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`dg.asset` for ours. That `backfill_policy` may still change is ours to know; a user's warnings stay."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.asset(**_COMMON, **spec)


def _of(name: str) -> dict[str, dg.AssetIn]:
    """The message of the phase before."""
    return {name: dg.AssetIn(key=dg.AssetKey(["ooda", name]))}


class CycleConfig(dg.Config):
    """All that a run may be asked for. Nothing here can approve, raise a mode or act twice."""

    dry_run: bool = False
    lookback_hours: float | None = None


def _loop(context: dg.AssetExecutionContext, ooda: Ooda) -> Loop:
    return ooda.loop(context.partition_key, context.log.info)


def _out(message: Message) -> Iterator[dg.Output]:
    yield dg.Output(message, metadata=describe(message))


def _phase(context: dg.AssetExecutionContext, loop: Loop, message: Message) -> Iterator[dg.Output]:
    """The output of a phase, which ends the cycle where the run was asked for nothing behind it."""
    yield from _out(message)
    selected = context.run.asset_selection
    later = CYCLE_KEYS[CYCLE_KEYS.index(context.asset_key) + 1 :]
    begun = loop.ledger.cycles.of_run(root_run_id(context.run))
    if begun is not None and selected and not selected & set(later):
        why = f"the run was asked for no more than {context.asset_key.path[-1]}"
        loop.ledger.cycles.finish(begun.analysis_id, now=loop.clock(), next_due_at=None, reason=why)


def _cycle(context: dg.AssetExecutionContext, loop: Loop) -> Cycle | None:
    """The cycle of this run, which goes on with it if an earlier run left it; None in a run that replays.

    Raises CycleRefusedError where another cycle runs meanwhile.
    """
    begun = loop.ledger.cycles.of_run(root_run_id(context.run))
    if begun is None:
        return None
    return cycle.begin(loop, run_id=begun.run_id, due=begun.due_at, trigger=begun.trigger, dry_run=begun.dry_run)


def _skip(context: dg.AssetExecutionContext, refusal: CycleRefusedError) -> None:
    """End the run here, by name: the rest of it is skipped."""
    context.log.warning("skipped: %s", refusal)
    context.instance.add_run_tags(context.run.run_id, {"ooda/skipped": str(refusal)[:250]})


@_asset(
    group_name="ooda_observe",
    deps=[dg.AssetKey(["target", name]) for name in ("statements", "catalogue", "inference_requests")],
    description="What is slow, new or odd on the target, and what could not be seen?",
)
def observations(
    context: dg.AssetExecutionContext, config: CycleConfig, ooda: dg.ResourceParam[Ooda]
) -> Iterator[dg.Output]:
    loop = _loop(context, ooda)
    tags = context.run.tags
    due = datetime.fromisoformat(tags["ooda/due_at"]) if "ooda/due_at" in tags else loop.clock()
    trigger, run_id = tags.get("ooda/trigger", "hand"), root_run_id(context.run)
    try:
        begun = cycle.begin(loop, run_id=run_id, due=due, trigger=trigger, dry_run=config.dry_run)
    except CycleRefusedError as refusal:
        return _skip(context, refusal)
    context.instance.add_run_tags(context.run.run_id, _tags(begun))
    known = loop.ledger.messages.load(Observation, begun.analysis_id)
    yield from _phase(context, loop, known or observe.observe(loop, begun, lookback_hours=config.lookback_hours))


def _tags(begun: Cycle) -> dict[str, str]:
    """What a run is found by, whoever started it."""
    return {
        "ooda/target": begun.target,
        "ooda/analysis_id": begun.analysis_id,
        "ooda/mode": str(begun.mode),
        "ooda/trigger": begun.trigger,
        "ooda/due_at": begun.due_at.isoformat(),
    }


@_asset(
    ins=_of("observations"),
    group_name="ooda_decide",
    description="What would help, by how much, at what risk, and undone how?",
)
def hypotheses(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], observations: Observation
) -> Iterator[dg.Output]:
    loop = _loop(context, ooda)
    known = loop.ledger.messages.load(Hypotheses, observations.analysis_id)
    yield from _phase(context, loop, known or hypothesize.hypothesize(loop, observations))


@_asset(
    ins=_of("hypotheses"),
    group_name="ooda_decide",
    description="What is allowed, queued for a person, or denied, and why?",
)
def decisions(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], hypotheses: Hypotheses
) -> Iterator[dg.Output]:
    loop = _loop(context, ooda)
    known = loop.ledger.messages.load(Decisions, hypotheses.analysis_id)
    yield from _phase(context, loop, known or decide.decide(loop, hypotheses))


@_asset(
    ins=_of("decisions"),
    group_name="ooda_act",
    description="What was done to the target, and what did it touch?",
)
def action_results(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], decisions: Decisions
) -> Iterator[dg.Output]:
    loop = _loop(context, ooda)
    known = loop.ledger.messages.load(ActionResults, decisions.analysis_id)
    try:
        begun = _cycle(context, loop)
    except CycleRefusedError as refusal:
        return _skip(context, refusal)
    dry_run = begun is None or begun.dry_run
    yield from _phase(context, loop, known or act.act(loop, decisions, dry_run=dry_run))


@_asset(
    ins=_of("action_results"),
    group_name="ooda_learn",
    description="Which verdicts closed, what was undone, and when to look again?",
)
def learning_deltas(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], action_results: ActionResults
) -> Iterator[dg.Output]:
    loop = _loop(context, ooda)
    known = loop.ledger.messages.load(LearningDelta, action_results.analysis_id)
    try:
        begun = _cycle(context, loop)
    except CycleRefusedError as refusal:
        return _skip(context, refusal)
    delta = known or learn.learn(loop, action_results)
    yield from _out(delta)
    if begun is not None:
        loop.ledger.cycles.finish(
            begun.analysis_id, now=loop.clock(), next_due_at=delta.next_due_at, reason=delta.next_due_reason
        )


@_asset(
    group_name="ooda_learn",
    deps=[dg.AssetKey(["target", "statements"])],
    description="What do the looks at open verdicts show since the last one?",
)
def verdicts(context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda]) -> Iterator[dg.Output]:
    loop = _loop(context, ooda)
    looked = [v.change_set_id for v in verify.due_looks(loop)]
    ended = verify.verify(loop)
    still_open = loop.ledger.actions.list(loop.name, states=learn.OPEN)
    yield from _out(
        Verdicts(
            analysis_id=f"verify-{context.run.run_id}",
            target=loop.name,
            timestamp=loop.clock(),
            looked_at=looked,
            closed=learn.verdict_rows(loop, ended),
            open=learn.verdict_rows(loop, still_open),
        )
    )


ASSETS = [observations, hypotheses, decisions, action_results, learning_deltas, verdicts]
CYCLE_KEYS = [
    dg.AssetKey(["ooda", name])
    for name in ("observations", "hypotheses", "decisions", "action_results", "learning_deltas")
]

SOURCES = [
    dg.AssetSpec(
        ["target", "statements"],
        partitions_def=targets,
        group_name="ooda_target",
        kinds={"postgres"},
        description="What does the target execute? Its statement statistics, sampled into the ledger every minute.",
    ),
    dg.AssetSpec(
        ["target", "catalogue"],
        partitions_def=targets,
        group_name="ooda_target",
        kinds={"postgres"},
        description="What does the target hold? Its tables, indexes and column statistics.",
    ),
    dg.AssetSpec(
        ["target", "inference_requests"],
        partitions_def=targets,
        group_name="ooda_target",
        kinds={"postgres"},
        description="What was asked of the models? The target's table of inference requests, where it has one.",
    ),
]
