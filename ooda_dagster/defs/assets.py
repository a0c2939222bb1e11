"""The loop as assets: each answers one question about a target, and hands its message to the next."""

# Without postponed annotations: Dagster reads them as types when the module is loaded.

import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import dagster as dg

from ooda_dagster.core.messages import (
    ActionResults,
    Analyze,
    Decisions,
    Hypotheses,
    LearningDelta,
    Observation,
    Verdicts,
)
from ooda_dagster.defs.names import SOURCES, Names
from ooda_dagster.defs.partitions import targets
from ooda_dagster.defs.tags import by_hand, tag_run
from ooda_dagster.defs.turn import first_turn, loop_of, out, turn
from ooda_dagster.ledger import Cycle
from ooda_dagster.loop import act, decide, hypothesize, learn, observe, second_look, verify
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.ooda import Ooda


class CycleConfig(dg.Config):
    """All that a run may be asked for. Nothing here can approve, raise a mode or act twice."""

    dry_run: bool = False
    lookback_hours: float | None = None
    scope: Literal["full", "performance", "embeddings", "models"] = "full"  # of what is observed
    tenant: str | None = None  # whose requests; none: everybody's


def observations(
    context: dg.AssetExecutionContext, config: CycleConfig, ooda: dg.ResourceParam[Ooda]
) -> Iterator[dg.Output]:
    def look(loop: Loop, begun: Cycle, asked: Analyze) -> Observation:
        hours = config.lookback_hours or asked.lookback_hours
        return observe.observe(loop, begun, lookback_hours=hours, scope=config.scope, tenant=config.tenant)

    # Somebody asked for a view of their own: what another cycle found is no answer.
    own = config.lookback_hours is not None or config.scope != "full" or config.tenant is not None
    yield from first_turn(context, ooda, look, dry_run=config.dry_run, fresh=own)


def hypotheses(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], observations: Observation
) -> Iterator[dg.Output]:
    yield from turn(
        context, ooda, observations, Hypotheses, lambda loop, _: hypothesize.hypothesize(loop, observations)
    )


def decisions(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], hypotheses: Hypotheses
) -> Iterator[dg.Output]:
    yield from turn(context, ooda, hypotheses, Decisions, lambda loop, _: decide.decide(loop, hypotheses))


def action_results(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], decisions: Decisions
) -> Iterator[dg.Output]:
    def carry_out(loop: Loop, begun: Cycle | None) -> ActionResults:
        return act.act(loop, decisions, dry_run=begun is None or begun.dry_run)

    yield from turn(context, ooda, decisions, ActionResults, carry_out)


def learning_deltas(
    context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda], action_results: ActionResults
) -> Iterator[dg.Output]:
    yield from turn(context, ooda, action_results, LearningDelta, lambda loop, _: learn.learn(loop, action_results))


def verdicts(context: dg.AssetExecutionContext, ooda: dg.ResourceParam[Ooda]) -> Iterator[dg.Output]:
    loop = loop_of(context, ooda)
    analysis_id = f"verify-{context.run.run_id}"
    tag_run(context, by_hand(context, loop, analysis_id, "verify"))
    looked = [v.change_set_id for v in (*verify.due_looks(loop), *second_look.due_second_looks(loop))]
    ended = [*verify.verify(loop), *second_look.look_twice(loop)]
    still_open = loop.ledger.actions.list(loop.name, states=learn.OPEN)
    yield from out(
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
