"""Reads `ooda.toml`: [ledger], [defaults], [group.NAME] and [target.NAME] inherit in that order."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ooda_dagster.config.references import Reference
from ooda_dagster.core.settings import PROFILES, Mode, Settings

#: A target's name is a partition key, a file name and part of application_name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}\Z")
_CONNECTION_KEYS = ("observe", "act", "group", "kind")
EMBEDDED_TARGET = "embedded"


class ConfigError(ValueError):
    """A configuration that cannot be used; says where and how to mend it."""


@dataclass(frozen=True)
class TargetConfig:
    """One database: how to reach it and how to treat it. Observing and acting are two connections."""

    name: str
    observe: Reference
    act: Reference | None = None
    kind: str = "postgres"
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Config:
    """Everything that `ooda.toml` says. `path` is None for the built-in default."""

    ledger: Reference
    targets: Mapping[str, TargetConfig]
    path: Path | None = None

    def target(self, name: str) -> TargetConfig:
        """Raises ConfigError with the nearest name."""
        if name in self.targets:
            return self.targets[name]
        near = difflib.get_close_matches(name, self.targets, 1)
        known = ", ".join(sorted(self.targets)) or "none"
        raise ConfigError(f"no target {name!r}" + (f"; did you mean {near[0]!r}?" if near else f"; known: {known}"))


def load_config(path: Path | None = None) -> Config:
    """The configuration at `path`, else at `$OODA_CONFIG`, else `ooda.toml`, else the built-in embedded default."""
    explicit = path or (Path(os.environ["OODA_CONFIG"]) if os.environ.get("OODA_CONFIG") else None)
    found = explicit or Path("ooda.toml")
    if not found.exists():
        if explicit:
            raise ConfigError(f"{found} does not exist; `ooda init` writes one")
        return embedded_default()
    try:
        text = found.read_text()
        tables = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{found}: {error}") from error
    return _parse(tables, text, found)


def embedded_default(settings: Settings | None = None) -> Config:
    """The embedded target and ledger, where nothing else is configured."""
    target = TargetConfig(
        EMBEDDED_TARGET,
        observe=Reference("embedded", "ooda_observe@target/inference"),
        act=Reference("embedded", "ooda_act@target/inference"),
        settings=settings or Settings(),
    )
    return Config(Reference("embedded", "ledger/ooda"), {target.name: target})


def single_target(
    name: str,
    observe: str,
    act: str | None,
    *,
    ledger: Reference | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """A configuration for one database that was named on the command line."""
    settings = _settings(dict(overrides or {}), f"target {name}", "")
    target = TargetConfig(name, Reference.literal(observe), Reference.literal(act) if act else None, settings=settings)
    _check_acting(target, "the command line")
    return Config(ledger or Reference("embedded", "ledger/ooda"), {name: target})


def _parse(tables: dict[str, Any], text: str, path: Path) -> Config:
    where = str(path)
    _known(tables, ("ledger", "defaults", "group", "target"), where, text, "")
    ledger_table = tables.get("ledger", {})
    _known(ledger_table, ("url",), where, text, "ledger")
    ledger = _reference(ledger_table.get("url", "embedded:ledger/ooda"), "ledger.url", where, text)
    groups = tables.get("group", {})
    targets: dict[str, TargetConfig] = {}
    for name, own in tables.get("target", {}).items():
        if not _NAME.match(name):
            raise ConfigError(f"{where}: target name {name!r}: letters, digits, _ . - and at most 40 of them")
        group = own.get("group")
        if group is not None and group not in groups:
            near = difflib.get_close_matches(str(group), groups, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{where}:{_line(text, str(group))}: target {name!r}: no [group.{group}]{hint}")
        layers = [tables.get("defaults", {}), groups.get(group, {}), own]
        merged: dict[str, Any] = {}
        for layer in layers:
            merged = _merge(merged, layer)
        targets[name] = _target(name, merged, where, text)
    if not targets:
        raise ConfigError(f"{where}: no [target.NAME] table; `ooda init` writes an example")
    return Config(ledger, targets, path)


def _target(name: str, table: dict[str, Any], where: str, text: str) -> TargetConfig:
    connections = {key: table.pop(key) for key in _CONNECTION_KEYS if key in table}
    if "observe" not in connections:
        raise ConfigError(
            f'{where}: target {name!r} has no `observe` connection, such as observe = "env:SHOP_OBSERVE_URL"'
        )
    kind = connections.get("kind", "postgres")
    if kind != "postgres":
        raise ConfigError(
            f"{where}:{_line(text, kind)}: target {name!r}: kind {kind!r} is not supported; use 'postgres'"
        )
    target = TargetConfig(
        name,
        _reference(connections["observe"], f"target.{name}.observe", where, text),
        _reference(connections["act"], f"target.{name}.act", where, text) if "act" in connections else None,
        kind,
        _settings(table, f"{where}: target {name!r}", text),
    )
    _check_acting(target, where)
    return target


def _check_acting(target: TargetConfig, where: str) -> None:
    if target.settings.mode.acts and target.act is None:
        raise ConfigError(
            f"{where}: target {target.name!r} is in mode {target.settings.mode} but has no `act` connection: "
            "observing and acting need two roles"
        )


def _settings(table: dict[str, Any], where: str, text: str) -> Settings:
    profile = table.get("profile", "production")
    if profile not in PROFILES:
        raise ConfigError(f"{where}: profile {profile!r} is not one of {', '.join(PROFILES)}")
    merged = _merge(PROFILES[profile], table)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(e, where, text) for e in error.errors())) from None


def _explain(error: Any, where: str, text: str) -> str:
    """One line a mistake: where, which key, what is expected."""
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    line = f"line {_line(text, location[-1])}: " if text and _line(text, location[-1]) else ""
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _keys(location[:-1]), 1)
        return f"{where}: {line}unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    if key == "mode":
        return f"{where}: {line}mode must be one of {', '.join(Mode)}"
    return f"{where}: {line}{key}: {error['msg']}"


def _keys(path: list[str]) -> list[str]:
    model: Any = Settings
    for part in path:
        model = model.model_fields[part].annotation
    return [*model.model_fields, *(_CONNECTION_KEYS if not path else ())]


def _known(table: dict[str, Any], keys: tuple[str, ...], where: str, text: str, prefix: str) -> None:
    for key in table:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(keys)}"
            raise ConfigError(f"{where}:{_line(text, key)}: unknown key {(prefix + '.' + key).lstrip('.')!r}{hint}")


def _reference(value: Any, key: str, where: str, text: str) -> Reference:
    try:
        return Reference.parse(str(value))
    except ValueError as error:
        raise ConfigError(f"{where}:{_line(text, str(value))}: {key}: {error}") from None


def _line(text: str, needle: str) -> int:
    """First line that holds `needle`; 0 where none does."""
    return next((n for n, line in enumerate(text.splitlines(), 1) if needle in line), 0)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
