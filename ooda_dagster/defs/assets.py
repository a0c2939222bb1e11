"""The loop as assets: each answers one question about a target, and hands its message to the next."""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import dagster as dg

from ooda_dagster.config import ConfigError, ConnectionReferenceError
from ooda_dagster.core.contracts import check_sender
from ooda_dagster.core.messages import (
    ActionResults,
    Analyze,
    Decisions,
    Hypotheses,
    LearningDelta,
    Message,
    Observation,
    Verdicts,
)
from ooda_dagster.defs.attempts import attempt
from ooda_dagster.defs.io_manager import receive, root_run_id
from ooda_dagster.defs.jobs import APPROVED_JOB
from ooda_dagster.defs.metadata import describe
from ooda_dagster.defs.names import CYCLE, SOURCES, Names
from ooda_dagster.defs.partitions import targets
from ooda_dagster.ledger import Cycle, CycleRefusedError
from ooda_dagster.loop import act, cycle, decide, hypothesize, learn, observe, verify
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.ooda import Ooda


class CycleConfig(dg.Config):
    """All that a run may be asked for. Nothing here can approve, raise a mode or act twice."""

    dry_run: bool = False
    lookback_hours: float | None = None


def observations(
    context: dg.AssetExecutionContext, config: CycleConfig, ooda: dg.ResourceParam[Ooda]
) -> Iterator[dg.Output]:
    loop = _loop(context, ooda)
    tags = context.run.tags
    try:
        begun = cycle.begin(
            loop,
            run_id=root_run_id(context.run),
            due=datetime.fromisoformat(tags["ooda/due_at"]) if "ooda/due_at" in tags else loop.clock(),
            trigger=tags.get("ooda/trigger", "hand"),
            dry_run=config.dry_run,
            fresh=config.lookback_hours is not None,
        )
    except CycleRefusedError as refusal:
        return _skip(context, refusal)
    context.instance.add_run_tags(context.run.run_id, _tags(begun))
    analyze = receive(ooda, Analyze, begun)
    with attempt(context, loop, begun, Analyze):
        asked = analyze.lookback_hours if isinstance(analyze, Analyze) else None
        known = loop.ledger.messages.load(Observation, begun.analysis_id)
        message = known or observe.observe(loop, begun, lookback_hours=config.lookback_hours or asked)
    yield from _out(message)
    _end_of_selection(context, loop, begun)


def hypotheses(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], observations: Observation
) -> Iterator[dg.Output]:
    yield from _turn(
        context, ooda, observations, Hypotheses, lambda loop, _: hypothesize.hypothesize(loop, observations)
    )


def decisions(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], hypotheses: Hypotheses
) -> Iterator[dg.Output]:
    yield from _turn(context, ooda, hypotheses, Decisions, lambda loop, _: decide.decide(loop, hypotheses))


def action_results(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], decisions: Decisions
) -> Iterator[dg.Output]:
    def carry_out(loop: Loop, begun: Cycle | None) -> ActionResults:
        return act.act(loop, decisions, dry_run=begun is None or begun.dry_run)

    yield from _turn(context, ooda, decisions, ActionResults, carry_out)


def learning_deltas(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], action_results: ActionResults
) -> Iterator[dg.Output]:
    yield from _turn(context, ooda, action_results, LearningDelta, lambda loop, _: learn.learn(loop, action_results))


def _turn(
    context: dg.AssetExecutionContext,
    ooda: Ooda,
    received: Message,
    kind: type[Message],
    work: Callable[[Loop, Cycle | None], Message],
) -> Iterator[dg.Output]:
    """What a phase answers to a message: what it answered already in this analysis, or the outcome of its work."""
    loop = _loop(context, ooda)
    try:
        begun = _go_on(context, loop, received)
    except CycleRefusedError as refusal:
        return _skip(context, refusal)
    with attempt(context, loop, begun, type(received)):
        message = loop.ledger.messages.load(kind, received.analysis_id) or work(loop, begun)
        check_sender(context.asset_key.path[-1], message)
    yield from _out(message)
    _end_of_selection(context, loop, begun)


def _loop(context: dg.AssetExecutionContext, ooda: Ooda) -> Loop:
    try:
        return ooda.loop(context.partition_key, context.log.info)
    except (ConfigError, ConnectionReferenceError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _out(message: Message) -> Iterator[dg.Output]:
    yield dg.Output(message, metadata=describe(message))


def _go_on(context: dg.AssetExecutionContext, loop: Loop, received: Message) -> Cycle | None:
    """The cycle of this run; None in a run that replays. Raises CycleRefusedError where another runs meanwhile."""
    run_id = root_run_id(context.run)
    if context.run.job_name == APPROVED_JOB:
        due, analysis_id = loop.clock(), received.analysis_id
        begun = cycle.begin(loop, run_id=run_id, due=due, trigger="approval", analysis_id=analysis_id)
        context.instance.add_run_tags(context.run.run_id, _tags(begun))
        return begun
    begun = loop.ledger.cycles.of_run(run_id)
    if begun is None:
        return None
    return cycle.begin(loop, run_id=run_id, due=begun.due_at, trigger=begun.trigger, dry_run=begun.dry_run)


def _end_of_selection(context: dg.AssetExecutionContext, loop: Loop, begun: Cycle | None) -> None:
    """End the cycle where the run was asked for nothing behind this phase."""
    name = context.asset_key.path[-1]
    later = CYCLE[CYCLE.index(name) + 1 :]
    ours = context.asset_key.path[:-1]  # an asset of somebody else's may have a name of ours
    selected = {key.path[-1] for key in context.run.asset_selection or () if key.path[:-1] == ours}
    if context.run.job_name == APPROVED_JOB:
        selected = {name}
    if begun is not None and later and selected and not selected & set(later):
        why = f"the run was asked for no more than {name}"
        loop.ledger.cycles.finish(begun.analysis_id, now=loop.clock(), next_due_at=None, reason=why)


def _skip(context: dg.AssetExecutionContext, refusal: CycleRefusedError) -> None:
    """End the run here, by name: the rest of it is skipped."""
    context.log.warning("skipped: %s", refusal)
    context.instance.add_run_tags(context.run.run_id, {"ooda/skipped": str(refusal)[:250]})


def _tags(begun: Cycle) -> dict[str, str]:
    """What a run is found by, whoever started it."""
    return {
        "ooda/target": begun.target,
        "ooda/analysis_id": begun.analysis_id,
        "ooda/mode": str(begun.mode),
        "ooda/trigger": begun.trigger,
        "ooda/due_at": begun.due_at.isoformat(),
    }


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
            description=question,
        )
        for name, question in _SOURCES.items()
        if name not in names.sources
    ]
