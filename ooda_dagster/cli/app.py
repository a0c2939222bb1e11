"""The commands, as a table of contents."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer

from ooda_dagster import __version__
from ooda_dagster.cli import actions, advise, configure, cycle, demo, doctor, sample, serve, status
from ooda_dagster.cli.output import Exit, err
from ooda_dagster.embedded import stop_started

app = typer.Typer(
    help="A database that tunes itself, with receipts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("demo")(demo.demo)
app.command("advise")(advise.advise)
app.command("cycle")(cycle.cycle)
app.command("analyze")(cycle.analyze)
app.command("verify-due")(cycle.verify_due)
app.command("init")(configure.init)
app.command("doctor")(doctor.doctor)
app.add_typer(configure.app, name="config")
app.command("status")(status.status)
app.command("improvements")(status.improvements)
app.add_typer(actions.app, name="actions")
app.command("recover")(actions.recover)
app.command("sample")(sample.sample)
app.command("dev")(serve.dev)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and end.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run a command. Whatever ends it, the servers that it started are stopped."""
    signal.signal(signal.SIGTERM, _ended)
    try:
        app()
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(130)
    finally:
        # A second Ctrl-C must not leave a server behind.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop_started()
        signal.signal(signal.SIGINT, previous)


def _ended(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


__all__ = ["Exit", "main"]
