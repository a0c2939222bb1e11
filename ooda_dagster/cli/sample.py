"""`ooda sample`"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

import typer

from ooda_dagster.cli.output import Exit, emit, errors, out
from ooda_dagster.cli.session import (
    ConfigOption,
    JsonOption,
    NameOption,
    ProfileOption,
    TargetOption,
    UrlOption,
    configuration,
    with_ledger,
)
from ooda_dagster.collect import Sample
from ooda_dagster.collect import sample as take
from ooda_dagster.loop.ooda import Ooda


def sample(
    config: ConfigOption = None,
    target: TargetOption = None,
    url: UrlOption = None,
    name: NameOption = None,
    profile: ProfileOption = None,
    loop: Annotated[bool, typer.Option("--loop", help="Go on, once every bucket, until interrupted.")] = False,
    every: Annotated[
        float | None, typer.Option("--every", help="Seconds between two samples (default: sampling.bucket_s).", min=0.5)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Sample a target's statement statistics into the ledger; it starts no cycle and changes nothing."""
    with errors():
        loaded, chosen = configuration(config, target, url, profile=profile, name=name)
        ooda = Ooda(with_ledger(loaded))
        opened = ooda.loop(chosen, register="new")
        pause = every or opened.settings.sampling.bucket_s
        if loop:
            # Ctrl-C is how a loop is meant to end.
            with suppress(KeyboardInterrupt):
                while True:
                    _tell(take(opened.target, opened.ledger, opened.settings.sampling), as_json)
                    time.sleep(pause)
            return
        taken = take(opened.target, opened.ledger, opened.settings.sampling)
        _tell(taken, as_json)
    if taken.error:
        raise typer.Exit(Exit.UNREACHABLE)


def _tell(taken: Sample, as_json: bool) -> None:
    if as_json:
        emit(asdict(taken), one_line=True)
        return
    if taken.error:
        out.print(f"{taken.target}: {taken.error}", style="red", markup=False)
    elif taken.first:
        out.print(f"{taken.target}: first sample of {taken.statements} statements; the next one tells what they do")
    else:
        out.print(f"{taken.target}: {taken.calls} calls of {taken.statements} statements")
    for gap in taken.gaps:
        out.print(f"  gap: {gap}", markup=False)
