"""`ooda queues list|reset`: what waits where, which conversations are open, what died."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ooda_dagster.cli.output import Exit, emit, errors, fail, out, table
from ooda_dagster.cli.session import ConfigOption, JsonOption, TargetOption, with_ledger
from ooda_dagster.config import load_config
from ooda_dagster.core.wire import iso
from ooda_dagster.ledger import Cycle, Ledger
from ooda_dagster.ledger.store import os_user
from ooda_dagster.loop.ooda import Ooda

app = typer.Typer(help="The message bus: queues, conversations, dead letters.", no_args_is_help=True)


@app.command("list")
def list_queues(config: ConfigOption = None, target: TargetOption = None, as_json: JsonOption = False) -> None:
    """What waits in each queue, the timer of each target, open conversations, dead letters."""
    with errors():
        ledger = _ledger(config, target)
        depths = ledger.queues.depths(target)
        timers = ledger.cycles.queue([target] if target else None)
        open_ = ledger.queues.conversations(target)
        dead = ledger.queues.dead_letters(target)
    if as_json:
        emit(
            {
                "queues": [asdict(d) for d in depths],
                "timers": [asdict(t) for t in timers],
                "conversations": [_conversation(c) for c in open_],
                "dead_letters": list(dead),
            }
        )
        return
    table(
        "Queues",
        ["queue", "messages", "conversations", "oldest", "newest", "most attempts", "dead letters"],
        [
            (
                str(d.queue),
                d.messages,
                d.conversations,
                _when(d.oldest_at),
                _when(d.last_message_at),
                d.most_attempts,
                d.dead_letters,
            )
            for d in depths
        ],
    )
    if timers:
        table(
            "The timer", ["target", "next cycle", "why then"], [(t.target, iso(t.deliver_at), t.reason) for t in timers]
        )
    if open_:
        table(
            "Open conversations",
            ["analysis", "target", "state", "began", "ends at the latest", "error"],
            [
                (c.analysis_id, c.target, c.state, _when(c.started_at), _when(c.expires_at), c.error or "")
                for c in open_
            ],
        )
    if dead:
        table(
            "Dead letters",
            ["died", "target", "queue", "message of", "attempts", "analysis", "error"],
            [
                (_when(d["died_at"]), d["target"], d["queue"], d["phase"], d["attempts"], d["analysis_id"], d["error"])
                for d in dead
            ],
            below=["error"],
        )
        out.print("`ooda queues reset` clears them once their cause is mended; the loop goes on meanwhile.")


@app.command("reset")
def reset(
    config: ConfigOption = None,
    target: TargetOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Of all targets.")] = False,
    why: Annotated[str, typer.Option("--why", help="For the audit.")] = "",
    as_json: JsonOption = False,
) -> None:
    """End open conversations and clear dead letters. A cycle that a living process works on goes on."""
    with errors():
        if (target is None) != everything:
            fail("give --target, or --all", Exit.CONFIG)
        ledger = _ledger(config, target)
        ended, held, cleared = ledger.queues.reset(target, by=os_user(), now=datetime.now(UTC), why=why)
    if as_json:
        emit({"ended": ended, "still_running": held, "cleared_dead_letters": cleared})
        return
    out.print(f"{len(ended)} conversations ended, {cleared} dead letters cleared.")
    for analysis_id in held:
        out.print(f"{analysis_id} goes on: its process lives. Cancel its run in Dagster to stop it.", markup=False)


def _ledger(config: Any, target: str | None) -> Ledger:
    ooda = Ooda(with_ledger(load_config(config)))
    if target is not None and ooda.ledger.cycles.registered(target) is None:
        ooda.config.target(target)  # says which name is near
    return ooda.ledger


def _conversation(cycle: Cycle) -> dict[str, Any]:
    return {field: getattr(cycle, field) for field in Cycle.__dataclass_fields__}


def _when(moment: datetime | None) -> str:
    return iso(moment) if moment else ""
