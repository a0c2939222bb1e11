"""Phases hand their messages on through the ledger: one output for each analysis and phase.

An asset that is materialised without its upstream in the same run reads the newest message of its target, as a replay:
what it makes is marked so, stands under an id of its own, and acts on nothing.
"""

from __future__ import annotations

import dagster as dg

from ooda_dagster.core.messages import PHASES, Message, Verdicts
from ooda_dagster.loop.ooda import Ooda

#: Message by asset name.
MESSAGES: dict[str, type[Message]] = {
    "observations": PHASES["observe"],
    "hypotheses": PHASES["hypothesize"],
    "decisions": PHASES["decide"],
    "action_results": PHASES["act"],
    "learning_deltas": PHASES["learn"],
    "verdicts": Verdicts,
}


def root_run_id(run: dg.DagsterRun) -> str:
    """The first run of a family of retries and re-executions: they share one cycle."""
    return run.root_run_id or run.run_id


class MessageIOManager(dg.IOManager):
    """Stores what an asset returns, and loads what its upstream said."""

    def __init__(self, ooda: Ooda) -> None:
        self._ooda = ooda

    def handle_output(self, context: dg.OutputContext, obj: Message) -> None:
        self._ooda.ledger.messages.store(obj, context.run_id)

    def load_input(self, context: dg.InputContext) -> Message:
        kind = MESSAGES[context.asset_key.path[-1]]
        run = context.step_context.dagster_run
        ledger, target = self._ooda.ledger, context.partition_key
        cycle = ledger.cycles.of_run(root_run_id(run))
        if cycle is not None:
            message = ledger.messages.load(kind, cycle.analysis_id)
            if message is not None:
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


def replay_id(run: dg.DagsterRun) -> str:
    """Stands for an analysis in a run that replays."""
    return f"replay-{run.run_id}"
