"""The commands, as a table of contents. A command's module is imported when it is called: `ooda --help` is quick."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from types import FrameType
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ooda_dagster import __version__

#: Command → module below cli, what to take from it, and the line that `ooda --help` shows (a test compares it).
COMMANDS = {
    "demo": ("demo", "demo", "An embedded database with live traffic and planted problems, and the loop on it."),
    "advise": ("advise", "advise", "Which indexes would pay on this database? It is only read, and nothing is kept."),
    "cycle": ("cycle", "cycle", "One cycle now: observe, hypothesize, decide, act, learn."),
    "analyze": ("cycle", "analyze", "Observe only: what is slow, and what could not be seen."),
    "verify-due": ("cycle", "verify_due", "Look at the open verdicts that are due: keep what helped, undo what hurt."),
    "init": ("configure", "init", "Write an ooda.toml to begin with, or print the SQL for the two roles."),
    "doctor": ("doctor", "doctor", "Look at everything that the loop needs, and name what is missing with its remedy."),
    "config": ("configure", "app", "The configuration, ooda.toml."),
    "status": ("status", "status", "Where each target stands: last cycle, next one, what is open, what waits."),
    "improvements": ("status", "improvements", "The improvement history, newest first."),
    "regressions": ("regressions", "regressions", "Statements that became slower, with both plans side by side."),
    "learning": (
        "learning",
        "learning",
        "Predicted against realised gain, by type and rung of evidence, and what the failure memory holds.",
    ),
    "concepts": ("concepts", "app", "Concepts in a target's embeddings: what they are, and what became of them."),
    "history": ("history", "history", "Past days: what each target did, and what the loop would have proposed."),
    "actions": ("actions", "app", "What was proposed, done and undone."),
    "approvals": ("approvals", "app", "What waits for a person: approve it or reject it."),
    "policy": ("policy", "app", "What may act, and why not."),
    "audit": ("audit", "app", "Who did what, when; and whether the record of it is as it was written."),
    "verify": ("verify", "verify", "Compute a verdict again from an exported evidence file alone; is it equal?"),
    "audit-verdicts": (
        "audit_verdicts",
        "audit_verdicts_command",
        "How often would a verdict be wrong here? Judges moments of the past at which nothing was done.",
    ),
    "queues": ("queues", "app", "The message bus: queues, conversations, dead letters."),
    "pause": ("approvals", "pause", "Begin no new action on a target; what is live is still judged and undone."),
    "resume": ("approvals", "resume", "Let a paused target be acted on again."),
    "recover": ("actions", "recover", "Finish or take back what a killed worker left."),
    "sample": ("sample", "sample", "Sample a target's statement statistics into the ledger; starts no cycle."),
    "dev": ("serve", "dev", "Start the Dagster UI and daemon; schedules and sensors run."),
}  # fmt: skip


class _Lazy(TyperGroup):
    """Lists the commands without importing them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_, _, text) in COMMANDS.items():
            self.commands.setdefault(name, TyperCommand(name, help=text))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, (load(name) if name is not None else listed), rest


def load(name: str) -> Any:
    """The command itself."""
    module, attribute, _ = COMMANDS[name]
    found = getattr(import_module(f"ooda_dagster.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        command = typer.main.get_group(found)
    else:
        alone = typer.Typer(add_completion=False)
        alone.command(name)(found)
        command = typer.main.get_command(alone)
    command.name = name
    return command


app = typer.Typer(
    cls=_Lazy,
    help="A database that tunes itself, with receipts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and end.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run a command. Whatever ends it, the servers that it started are stopped."""
    signal.signal(signal.SIGTERM, _ended)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")  # a terminal without UTF-8 gets a question mark, not a traceback
    try:
        app()
    finally:
        # A second Ctrl-C must not leave a server behind.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        if embedded := sys.modules.get("ooda_dagster.embedded"):
            embedded.stop_started()
        signal.signal(signal.SIGINT, previous)


def _ended(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


__all__ = ["COMMANDS", "app", "load", "main"]
