"""`ooda init`, `ooda config ...`"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from ooda_dagster.cli.output import Exit, emit, errors, fail, out, table
from ooda_dagster.cli.rights import SET_OPTION_SINCE, Managed, script
from ooda_dagster.cli.session import ConfigOption, JsonOption
from ooda_dagster.config import Config, load_config

app = typer.Typer(help="The configuration, ooda.toml.", no_args_is_help=True)


def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("ooda.toml"),
    print_sql: Annotated[
        bool, typer.Option("--print-sql", help="Print the SQL for our roles, instead of writing a file.")
    ] = False,
    level: Annotated[
        int, typer.Option(min=1, max=4, help="1 statements, 2 and statistics, 3 and the plan log, 4 and writes.")
    ] = 2,
    owner: Annotated[
        list[str] | None, typer.Option(help="A role that owns tables, for ooda_act to become; may be repeated.")
    ] = None,
    schema: Annotated[
        list[str] | None, typer.Option(help="Read the tables of this schema alone; may be repeated.")
    ] = None,
    managed: Annotated[Managed | None, typer.Option(help="The service that runs the server.")] = None,
    postgres: Annotated[int, typer.Option(min=15, help="The server's major version.")] = SET_OPTION_SINCE,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write an ooda.toml to begin with, or print the SQL for our roles."""
    if print_sql:
        typer.echo(
            script(level=level, owners=owner or (), schemas=schema or (), managed=managed, major=postgres), nl=False
        )
        return
    if path.exists() and not force:
        fail(f"{path} exists; --force overwrites it", Exit.CONFIG)
    try:
        path.write_text((files("ooda_dagster.cli") / "templates" / "ooda.toml").read_text())
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}", Exit.CONFIG)
    out.print(f"{path} is written. Set SHOP_OBSERVE_URL, then: ooda doctor", markup=False)


@app.command("check")
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Read the configuration and say what is wrong with it; connects to nothing."""
    with errors():
        loaded = load_config(config)
    found = _effective(loaded)
    if as_json:
        emit({"path": str(loaded.path) if loaded.path else None, "targets": found})
        return
    out.print(f"{loaded.path or 'built-in default'}: ok", markup=False)
    table(
        "Targets",
        ["target", "mode", "observe", "act"],
        [(name, t["mode"], t["observe"], t["act"]) for name, t in found.items()],
    )


@app.command("show")
def show(
    config: ConfigOption = None,
    effective: Annotated[bool, typer.Option("--effective", help="Every setting with what it inherits.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The settings of each target."""
    with errors():
        loaded = load_config(config)
    found = _effective(loaded)
    if as_json:
        emit({"targets": found})
        return
    for name, target in found.items():
        rows = list(_flat(target))
        changed = [r for r in rows if effective or "." not in r[0]]
        table(f"target {name}", ["setting", "value"], changed)


def _effective(config: Config) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "observe": str(target.observe),
            "act": str(target.act) if target.act else None,
            "kind": target.kind,
            **target.settings.model_dump(mode="json"),
        }
        for name, target in config.targets.items()
    }


def _flat(values: dict[str, Any], prefix: str = "") -> Any:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield (f"{prefix}{key}", "" if value is None else str(value))
