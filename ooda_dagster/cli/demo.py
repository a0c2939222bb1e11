"""`ooda demo`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ooda_dagster.cli.output import Exit, emit, err, errors, out, say


def demo(
    seed: Annotated[int, typer.Option("--seed", help="Which problems are planted, and where.")] = 1,
    cycles: Annotated[int, typer.Option("--cycles", help="Most cycles of the loop.", min=1, max=20)] = 4,
    no_act: Annotated[
        bool, typer.Option("--no-act", help="The control arm: the loop looks on and changes nothing.")
    ] = False,
    scale: Annotated[
        float,
        typer.Option("--scale", help="Share of the rows; small tables hide what an index is worth.", min=0.01),
    ] = 1.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the report as JSON to this file, - for stdout.")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Then open the Dagster UI on what happened.")] = False,
    port: Annotated[int, typer.Option("--port", "-p", help="Of the UI, with --serve.")] = 3000,
) -> None:
    """An embedded database with live traffic and planted problems, the whole loop, and a report."""
    # Imported late: the other commands need nothing of it.
    from ooda_dagster.cli.serve import serve as serve_ui
    from ooda_dagster.demo.report import render
    from ooda_dagster.demo.run import run_demo

    to_stdout = json_file is not None and str(json_file) == "-"
    with errors():
        report, config = run_demo(seed=seed, most_cycles=cycles, act=not no_act, say=say(to_stdout), scale=scale)
    if to_stdout:
        emit(report)
    elif json_file is not None:
        json_file.write_text(_text(report))
    if not to_stdout:
        render(report, out)
    if serve:
        with errors():
            serve_ui(config, "127.0.0.1", port, daemon=False)
    if not report["ok"]:
        err.print("the demo did not reach its goals: see `not_reached` in the report")
        raise typer.Exit(Exit.FAILED)


def _text(report: dict[str, object]) -> str:
    import json

    return json.dumps({"schema_version": 1, **report}, indent=2) + "\n"
