"""The bus as Dagster sees it: `handle_output` sends a phase's message, `load_input` receives it.

An asset that is materialised without its upstream in the same run reads the newest message of its target, as a replay:
what it makes is marked so, stands under an id of its own, and acts on nothing.
"""

from __future__ import annotations

import dagster as dg
from pydantic import ValidationError

from ooda_dagster.core.contracts import check_sender, sent_by
from ooda_dagster.core.messages import Message
from ooda_dagster.defs.attempts import reason
from ooda_dagster.defs.jobs import APPROVED_JOB
from ooda_dagster.ledger import Cycle
from ooda_dagster.loop.approved import approved_decisions
from ooda_dagster.loop.context import utc_now
from ooda_dagster.loop.ooda import Ooda


def root_run_id(run: dg.DagsterRun) -> str:
    """The first run of a family of retries and re-executions: they share one cycle."""
    return run.root_run_id or run.run_id


class MessageIOManager(dg.IOManager):
    """Stores what an asset returns, and loads what its upstream said."""

    def __init__(self, ooda: Ooda) -> None:
        self._ooda = ooda

    def handle_output(self, context: dg.OutputContext, obj: Message) -> None:
        check_sender(context.asset_key.path[-1], obj)
        self._ooda.ledger.messages.store(obj, context.run_id)

    def load_input(self, context: dg.InputContext) -> Message:
        kind = sent_by(context.asset_key.path[-1])
        run = context.step_context.dagster_run
        ledger, target = self._ooda.ledger, context.partition_key
        if run.job_name == APPROVED_JOB:
            return approved_decisions(self._ooda.loop(target), approval_id(run))
        cycle = ledger.cycles.of_run(root_run_id(run))
        if cycle is not None and (message := receive(self._ooda, kind, cycle)):
            return message
        if message := ledger.messages.load(kind, replay_id(run)):
            return message  # the upstream was replayed in this run
        latest = ledger.messages.latest(kind, target)
        if latest is None:
            raise dg.Failure(
                f"target {target} has no {context.asset_key.to_user_string()} yet: run the job ooda_cycle first",
                allow_retries=False,
            )
        return latest.model_copy(update={"replayed": True, "analysis_id": replay_id(run)})


def receive(ooda: Ooda, kind: type[Message], cycle: Cycle) -> Message | None:
    """The message of a cycle, with its receipt counted; None where there is none.

    One that was received too often, or that nobody can read, goes to the dead letters, and the run fails for good.
    """
    most = ooda.config.target(cycle.target).settings.messages.max_attempts
    messages = ooda.ledger.messages
    open_ = cycle.state in ("running", "interrupted")
    tried = messages.receive(kind, cycle.analysis_id, now=utc_now()) if open_ else 0
    why = cycle.error or "its worker died each time" if tried > most else ""
    if not why:
        try:
            return messages.load(kind, cycle.analysis_id)
        except ValidationError as error:
            why = reason(error)
    messages.bury(kind, cycle.analysis_id, why, now=utc_now())
    raise dg.Failure(f"{kind.__name__} is among the dead letters: {why}", allow_retries=False)


def replay_id(run: dg.DagsterRun) -> str:
    """Stands for an analysis in a run that replays."""
    return f"replay-{run.run_id}"


def approval_id(run: dg.DagsterRun) -> str:
    """Stands for an analysis in a run that applies what people approved."""
    return f"approved-{root_run_id(run)}"
