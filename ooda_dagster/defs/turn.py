"""A phase's turn: receive, work unless it is done already, send; and what becomes of the cycle with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import dagster as dg

from ooda_dagster.config import ConfigError, ConnectionReferenceError
from ooda_dagster.core.contracts import check_sender
from ooda_dagster.core.messages import Analyze, Message, Observation
from ooda_dagster.defs.attempts import attempt
from ooda_dagster.defs.io_manager import receive, root_run_id
from ooda_dagster.defs.jobs import APPROVED_JOB
from ooda_dagster.defs.metadata import describe
from ooda_dagster.defs.names import CYCLE
from ooda_dagster.defs.tags import by_hand, of_cycle, tag_run
from ooda_dagster.ledger import Cycle, CycleRefusedError
from ooda_dagster.ledger.conversations import APPROVAL
from ooda_dagster.ledger.worker import Worker
from ooda_dagster.loop import cycle
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.ooda import Ooda


def first_turn(
    context: dg.AssetExecutionContext,
    ooda: Ooda,
    look: Callable[[Loop, Cycle, Analyze], Observation],
    *,
    dry_run: bool,
    fresh: bool,
) -> Iterator[dg.Output]:
    """The turn that begins a cycle, or goes on with one that broke off."""
    loop, tags = loop_of(context, ooda), context.run.tags
    try:
        begun = cycle.begin(
            loop,
            run_id=root_run_id(context.run),
            due=datetime.fromisoformat(tags["ooda/due_at"]) if "ooda/due_at" in tags else loop.clock(),
            trigger=tags.get("ooda/trigger", "hand"),
            dry_run=dry_run,
            fresh=fresh,
            worker=_holder(context),
        )
    except CycleRefusedError as refusal:
        return _skip(context, refusal)
    tag_run(context, of_cycle(begun))
    asked = receive(ooda, Analyze, begun)
    assert isinstance(asked, Analyze)  # it was stored when the cycle began
    yield from _answer(context, loop, begun, asked, Observation, lambda: look(loop, begun, asked))


def turn(
    context: dg.AssetExecutionContext,
    ooda: Ooda,
    received: Message,
    kind: type[Message],
    work: Callable[[Loop, Cycle | None], Message],
) -> Iterator[dg.Output]:
    """The turn of a phase that goes on with its run's cycle, or replays an old message."""
    loop = loop_of(context, ooda)
    try:
        begun = _go_on(context, loop, received)
    except CycleRefusedError as refusal:
        return _skip(context, refusal)
    yield from _answer(context, loop, begun, received, kind, lambda: work(loop, begun))


def _answer(
    context: dg.AssetExecutionContext,
    loop: Loop,
    begun: Cycle | None,
    received: Message,
    kind: type[Message],
    work: Callable[[], Message],
) -> Iterator[dg.Output]:
    """What a phase answers to a message: what it answered already in this analysis, or the outcome of its work."""
    with attempt(context, loop, begun, type(received)):
        message = loop.ledger.messages.load(kind, received.analysis_id) or work()
        check_sender(context.asset_key.path[-1], message)
    yield from out(context, message)
    _end_of_selection(context, loop, begun)


def loop_of(context: dg.AssetExecutionContext, ooda: Ooda) -> Loop:
    try:
        return ooda.loop(context.partition_key, context.log.info)
    except (ConfigError, ConnectionReferenceError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def out(context: dg.AssetExecutionContext, message: Message) -> Iterator[dg.Output]:
    # Of the materialisation alone: metadata of the output would be in the event log twice.
    context.add_asset_metadata(describe(message))
    yield dg.Output(message)


def _go_on(context: dg.AssetExecutionContext, loop: Loop, received: Message) -> Cycle | None:
    """The cycle of this run; None in a run that replays. Raises CycleRefusedError where another runs meanwhile."""
    run_id, worker = root_run_id(context.run), _holder(context)
    if context.run.job_name == APPROVED_JOB:
        due, analysis_id = loop.clock(), received.analysis_id
        begun = cycle.begin(loop, run_id=run_id, due=due, trigger=APPROVAL, analysis_id=analysis_id, worker=worker)
        tag_run(context, of_cycle(begun))
        return begun
    begun = loop.ledger.cycles.of_run(run_id)
    if begun is None:
        tag_run(context, by_hand(context, loop, received.analysis_id, "replay"))
        return None
    return cycle.begin(
        loop, run_id=run_id, due=begun.due_at, trigger=begun.trigger, dry_run=begun.dry_run, worker=worker
    )


def _holder(context: dg.AssetExecutionContext) -> Worker:
    """The process that lives as long as the run: where an executor gives each step a process of its own, the one above.

    Not so with our jobs: above their process is the code server, which lives on when a run's process is killed.
    """
    executor = context.job_def.executor_def.name
    execution: Any = context.run.run_config.get("execution") or {}
    chosen = execution.get("config") or {}
    alone = executor == dg.in_process_executor.name or "in_process" in chosen
    return Worker.current() if alone else Worker.above()


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
