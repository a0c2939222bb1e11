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
from ooda_dagster.defs.names import CYCLE, SOURCES, Names
from ooda_dagster.defs.partitions import targets
from ooda_dagster.defs.tags import by_hand, of_cycle, tag_run
from ooda_dagster.ledger import Cycle, CycleRefusedError
from ooda_dagster.loop import act, cycle, decide, hypothesize, learn, observe, verify
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.ooda import Ooda


class CycleConfig(dg.Config):
    """All that a run may be asked for. Nothing here can approve, raise a mode or act twice."""

    dry_run: bool = False
    lookback_hours: float | None = None


def _loop(context: dg.AssetExecutionContext, ooda: Ooda) -> Loop:
    return ooda.loop(context.partition_key, context.log.info)


def _out(context: dg.AssetExecutionContext, message: Message) -> Iterator[dg.Output]:
    # Of the materialisation alone: metadata of the output would be in the event log twice.
    context.add_asset_metadata(describe(message))
    yield dg.Output(message)


def _phase(context: dg.AssetExecutionContext, loop: Loop, message: Message) -> Iterator[dg.Output]:
    """The output of a phase, which ends the cycle where the run was asked for nothing behind it."""
    yield from _out(context, message)
    name = context.asset_key.path[-1]
    selected = {key.path[-1] for key in context.run.asset_selection or ()}
    later = CYCLE[CYCLE.index(name) + 1 :]
    begun = loop.ledger.cycles.of_run(root_run_id(context.run))
    if begun is None:
        tag_run(context, by_hand(context, loop, message.analysis_id, "replay"))
    if begun is not None and selected and not selected & set(later):
        why = f"the run was asked for no more than {name}"
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
    tag_run(context, of_cycle(begun))
    known = loop.ledger.messages.load(Observation, begun.analysis_id)
    yield from _phase(context, loop, known or observe.observe(loop, begun, lookback_hours=config.lookback_hours))


def hypotheses(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], observations: Observation
) -> Iterator[dg.Output]:
    loop = _loop(context, ooda)
    known = loop.ledger.messages.load(Hypotheses, observations.analysis_id)
    yield from _phase(context, loop, known or hypothesize.hypothesize(loop, observations))


def decisions(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], hypotheses: Hypotheses
) -> Iterator[dg.Output]:
    loop = _loop(context, ooda)
    known = loop.ledger.messages.load(Decisions, hypotheses.analysis_id)
    yield from _phase(context, loop, known or decide.decide(loop, hypotheses))


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
    yield from _out(context, delta)
    if begun is None:
        tag_run(context, by_hand(context, loop, delta.analysis_id, "replay"))
    else:
        loop.ledger.cycles.finish(
            begun.analysis_id, now=loop.clock(), next_due_at=delta.next_due_at, reason=delta.next_due_reason
        )


def verdicts(context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda]) -> Iterator[dg.Output]:
    loop = _loop(context, ooda)
    analysis_id = f"verify-{context.run.run_id}"
    tag_run(context, by_hand(context, loop, analysis_id, "verify"))
    looked = [v.change_set_id for v in verify.due_looks(loop)]
    ended = verify.verify(loop)
    still_open = loop.ledger.actions.list(loop.name, states=learn.OPEN)
    yield from _out(
        context,
        Verdicts(
            analysis_id=analysis_id,
            target=loop.name,
            timestamp=loop.clock(),
            looked_at=looked,
            closed=learn.verdict_rows(loop, ended),
            open=learn.verdict_rows(loop, still_open),
        ),
    )


def make_assets(names: Names) -> list[dg.AssetsDefinition]:
    """The loop under these names."""

    def after(name: str) -> dict[str, dg.AssetIn]:
        return {name: dg.AssetIn(key=names.key(name))}

    return [
        _asset(
            names,
            observations,
            "observe",
            "What is slow, new or odd on the target, and what could not be seen?",
            deps=[_dep(names, name) for name in SOURCES],
        ),
        _asset(
            names,
            hypotheses,
            "decide",
            "What would help, by how much, at what risk, and undone how?",
            ins=after("observations"),
        ),
        _asset(
            names,
            decisions,
            "decide",
            "What is allowed, queued for a person, or denied, and why?",
            ins=after("hypotheses"),
        ),
        _asset(
            names,
            action_results,
            "act",
            "What was done to the target, and what did it touch?",
            ins=after("decisions"),
        ),
        _asset(
            names,
            learning_deltas,
            "learn",
            "Which verdicts closed, what was undone, and when to look again?",
            ins=after("action_results"),
        ),
        _asset(
            names,
            verdicts,
            "learn",
            "What do the looks at open verdicts show since the last one?",
            deps=[_dep(names, "statements")],
        ),
    ]


def _asset(names: Names, function: Callable[..., Any], group: str, question: str, **spec: Any) -> dg.AssetsDefinition:
    """`dg.asset` for ours. That `backfill_policy` may still change is ours to know; a user's warnings stay."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.asset(
            key=names.key(function.__name__),
            group_name=names.group(group),
            description=question,
            partitions_def=targets,
            backfill_policy=dg.BackfillPolicy.multi_run(1),  # one run, one target
            io_manager_key="ooda_messages",
            output_required=False,
            kinds={"postgres"},
            owners=names.owners,
            **spec,
        )(function)


def _dep(names: Names, source: str) -> dg.AssetDep:
    """On a source asset; one of the user's may be partitioned as they like."""
    theirs = source in names.sources
    return dg.AssetDep(names.source(source), partition_mapping=dg.AllPartitionMapping() if theirs else None)


_SOURCES = {
    "statements": "What does the target execute? Its statement statistics, sampled into the ledger every minute.",
    "catalogue": "What does the target hold? Its tables, indexes and column statistics.",
    "inference_requests": "What was asked of the models? The target's table of inference requests, where it has one.",
}


def make_sources(names: Names) -> list[dg.AssetSpec]:
    """What the loop reads, but for those that the user has as assets already."""
    return [
        dg.AssetSpec(
            names.source(name),
            partitions_def=targets,
            group_name=names.group("target"),
            kinds={"postgres"},
            owners=names.owners,
            description=question,
        )
        for name, question in _SOURCES.items()
        if name not in names.sources
    ]
