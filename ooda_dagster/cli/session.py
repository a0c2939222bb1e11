"""What a command works with: the configuration that its options mean, the ledger, and a Dagster instance."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from psycopg.conninfo import conninfo_to_dict

from ooda_dagster.config import Config, ConfigError, embedded_default, load_config, single_target
from ooda_dagster.config.servers import start_ledger
from ooda_dagster.core.settings import Mode

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="ooda.toml to use (default: $OODA_CONFIG, ./ooda.toml, built-in).")
]
TargetOption = Annotated[str | None, typer.Option("--target", "-t", help="A target of ooda.toml.")]
UrlOption = Annotated[
    str | None, typer.Option("--url", help="A PostgreSQL database that is in no ooda.toml: postgresql://user@host/db")
]
ActUrlOption = Annotated[
    str | None,
    typer.Option("--act-url", help="With --url: the connection that may change it, for mode approve or auto."),
]
ModeOption = Annotated[Mode | None, typer.Option("--mode", help="With --url: what may be done to it.")]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", help="With --url: production, or short (windows of seconds, to try things out)."),
]
NameOption = Annotated[str | None, typer.Option("--name", help="With --url: what to call it (default: from the URL).")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout, everything else on stderr.")]


def configuration(
    config: Path | None,
    target: str | None,
    url: str | None,
    *,
    act_url: str | None = None,
    mode: Mode | None = None,
    profile: str | None = None,
    name: str | None = None,
) -> tuple[Config, str]:
    """The configuration that the options mean, and the name of its target. Raises ConfigError."""
    if url is not None:
        if target is not None:
            raise ConfigError("give --target or --url, not both")
        overrides: dict[str, Any] = {}
        if mode is not None:
            overrides["mode"] = mode
        if profile is not None:
            overrides["profile"] = profile
        # The ledger of a configuration that is there serves this target too.
        ledger = load_config(config).ledger if config or Path("ooda.toml").exists() else None
        chosen = name or name_of(url)
        return single_target(chosen, url, act_url, ledger=ledger, overrides=overrides), chosen
    if act_url or mode or profile or name:
        raise ConfigError("--act-url, --mode, --profile and --name go with --url; in ooda.toml they are keys")
    loaded = load_config(config)
    if target is None:
        if len(loaded.targets) != 1:
            raise ConfigError(f"say which target: --target {' | '.join(sorted(loaded.targets))}")
        target = next(iter(loaded.targets))
    loaded.target(target)
    return loaded, target


def name_of(url: str) -> str:
    """A target's name from a connection URL: database and host, without secrets."""
    wanted = "--url is no PostgreSQL connection URL: postgresql://user@host:5432/database"
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error as error:
        raise ConfigError(wanted) from error
    ports = str(parts.get("port") or "").replace(",", "")
    if not url.strip() or not (ports.isdecimal() or not ports):
        raise ConfigError(wanted)
    words = (parts.get("dbname") or parts.get("user") or "postgres", parts.get("host") or "local", parts.get("port"))
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(str(w) for w in words if w)).strip("-.")[:40]


def with_ledger(config: Config) -> Config:
    """Make sure that the ledger's server runs; one that this command starts is stopped at its end."""
    start_ledger(config)
    return config


def with_dagster(config: Config) -> Config:
    """The same, and the server of Dagster's storage: ours, where neither the environment nor the ledger gives one."""
    start_ledger(config)
    if config.ledger.kind != "embedded" and not any(map(os.environ.get, ("DAGSTER_HOME", "OODA_DAGSTER_PG_URL"))):
        start_ledger(embedded_default())
    return config
