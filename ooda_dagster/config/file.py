"""Reads `ooda.toml`: [ledger], [alerts], [dagster]; [defaults], [group.N] and [target.N] inherit in that order."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ooda_dagster.config.alerting import WEBHOOK_KINDS, Alerts, is_command
from ooda_dagster.config.deployment import KEYS, SOURCES, Deployment, deployment
from ooda_dagster.config.lines import Lines
from ooda_dagster.config.references import KINDS, Reference
from ooda_dagster.core.settings import PROFILES, Mode, Settings, merge, with_profile

#: A target's name is a partition key, a file name and part of application_name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}\Z")
_CONNECTION_KEYS = ("observe", "act", "group", "kind")
_EMBEDDED_LEDGER = "embedded:ledger/ooda"
_NONE = object()
EMBEDDED_TARGET = "embedded"

#: Tables that inherit, the later over the earlier, each with its path in the file.
_Layers = list[tuple[tuple[str, ...], dict[str, Any]]]


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
    alerts: Alerts = field(default_factory=Alerts)
    deployment: Deployment = field(default_factory=Deployment)

    def target(self, name: str) -> TargetConfig:
        """Raises ConfigError with the nearest name."""
        if name in self.targets:
            return self.targets[name]
        known = ", ".join(sorted(self.targets)) or "none"
        raise ConfigError(f"no target {name!r}{_nearest(name, self.targets) or f'; known: {known}'}")


def load_config(path: Path | None = None) -> Config:
    """The configuration at `path`, else at `$OODA_CONFIG`, else `ooda.toml`, else the built-in embedded default."""
    explicit = path or (Path(os.environ["OODA_CONFIG"]) if os.environ.get("OODA_CONFIG") else None)
    found = explicit or Path("ooda.toml")
    if not found.exists():
        if explicit:
            raise ConfigError(f"{found} does not exist; `ooda init` writes one")
        return embedded_default()
    try:
        text = found.read_text(encoding="utf-8")
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
    return Config(Reference.parse(_EMBEDDED_LEDGER), {target.name: target})


def single_target(
    name: str,
    observe: str,
    act: str | None,
    *,
    ledger: Reference | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """A configuration for one database that was named on the command line."""
    settings = _validated(dict(overrides or {}), lambda _, message: f"target {name}: {message}")
    target = TargetConfig(name, Reference.literal(observe), Reference.literal(act) if act else None, settings=settings)
    _check_acting(target, "the command line")
    return Config(ledger or Reference.parse(_EMBEDDED_LEDGER), {name: target})


def _parse(tables: dict[str, Any], text: str, path: Path) -> Config:
    reader = _Reader(tables, Lines(text), str(path))
    return Config(reader.ledger(), reader.targets(), path, reader.alerts(), reader.deployment())


class _Reader:
    """The tables of one file; every mistake is told with its line."""

    def __init__(self, tables: dict[str, Any], lines: Lines, where: str) -> None:
        self._tables, self._lines, self._where = tables, lines, where
        self._known(("ledger", "alerts", "dagster", "defaults", "group", "target"), ())
        for name in tables:
            self._table(name)

    def ledger(self) -> Reference:
        table = self._table("ledger")
        self._known(("url",), ("ledger",))
        return self._reference(table.get("url", _EMBEDDED_LEDGER), ("ledger", "url"))

    def alerts(self) -> Alerts:
        table = self._table("alerts")
        self._known(("webhook", "command"), ("alerts",))
        webhook = table.get("webhook")
        reference = None if webhook is None else self._reference(webhook, ("alerts", "webhook"), WEBHOOK_KINDS)
        command = table.get("command")
        if command is not None and not is_command(command):
            message = 'alerts.command is a program with its arguments, such as "notify --team data"'
            raise self._error(("alerts", "command"), message)
        return Alerts(reference, command)

    def deployment(self) -> Deployment:
        self._known(KEYS, ("dagster",))
        self._known(SOURCES, ("dagster", "source_assets"))
        return deployment(self._table("dagster"), lambda path, words: self._error(("dagster", *path), words))

    def targets(self) -> dict[str, TargetConfig]:
        for group in self._table("group"):
            self._settings(self._layers((("defaults",), ("group", group))))
        targets = {name: self._target(name) for name in self._table("target")}
        if not targets:
            raise ConfigError(f"{self._where}: no [target.NAME] table; `ooda init` writes an example")
        return targets

    def _target(self, name: str) -> TargetConfig:
        path = ("target", name)
        if not _NAME.match(name):
            raise self._error(path, f"target name {name!r}: letters, digits, _ . - and at most 40 of them")
        layers = self._layers((("defaults",), *self._group_of(name), path))
        merged = _merged(layers)
        if "observe" not in merged:
            hint = 'such as observe = "env:SHOP_OBSERVE_URL"'
            raise self._error(path, f"target {name!r} has no `observe` connection, {hint}")
        if merged.get("kind", "postgres") != "postgres":
            raise self._error(_origin(layers, ["kind"]), f"target {name!r}: this kind is not supported; use 'postgres'")
        target = TargetConfig(
            name,
            self._reference(merged["observe"], _origin(layers, ["observe"])),
            self._reference(merged["act"], _origin(layers, ["act"])) if "act" in merged else None,
            settings=self._settings(layers),
        )
        _check_acting(target, f"{self._where}:{self._lines.of(*_origin(layers, ['mode']))}")
        return target

    def _group_of(self, name: str) -> tuple[tuple[str, str], ...]:
        group = self._table("target", name).get("group")
        if group is None:
            return ()
        groups = self._table("group")
        if not isinstance(group, str) or group not in groups:
            hint = _nearest(str(group), groups) or "; known: " + (", ".join(groups) or "none")
            raise self._error(("target", name, "group"), f"target {name!r}: no [group.{group}]{hint}")
        return (("group", group),)

    def _layers(self, paths: tuple[tuple[str, ...], ...]) -> _Layers:
        layers = [(path, self._table(*path)) for path in paths]
        for path, layer in layers:
            if "group" in layer and path[0] != "target":
                raise self._error((*path, "group"), "only a target can name its group")
        return layers

    def _settings(self, layers: _Layers) -> Settings:
        merged = {key: value for key, value in _merged(layers).items() if key not in _CONNECTION_KEYS}

        def explain(location: list[str], message: str) -> str:
            return str(self._error(_origin(layers, location), message))

        return _validated(merged, explain)

    def _table(self, *path: str) -> dict[str, Any]:
        """The table at `path`, empty where there is none."""
        value: Any = self._tables
        for name in path:
            value = value.get(name, {})
            if not isinstance(value, dict):
                raise self._error(path, f"{'.'.join(path)} must be a table, [{'.'.join(path)}]")
        return value

    def _known(self, keys: tuple[str, ...], path: tuple[str, ...]) -> None:
        for key in self._table(*path):
            if key not in keys:
                hint = _nearest(key, keys) or f"; known: {', '.join(keys)}"
                raise self._error((*path, key), f"unknown key {'.'.join((*path, key))!r}{hint}")

    def _reference(self, value: Any, path: tuple[str, ...], kinds: tuple[str, ...] = KINDS) -> Reference:
        try:
            reference = Reference.parse(str(value))
        except ValueError as error:
            raise self._error(path, f"{'.'.join(path)}: {error}") from None
        if reference.kind not in kinds:
            raise self._error(path, f"{'.'.join(path)} is given as {', '.join(f'{k}:...' for k in kinds)}")
        return reference

    def _error(self, path: tuple[str, ...], message: str) -> ConfigError:
        return ConfigError(f"{self._where}:{self._lines.of(*path)}: {message}")


def _check_acting(target: TargetConfig, where: str) -> None:
    if target.settings.mode.acts and target.act is None:
        raise ConfigError(
            f"{where}: target {target.name!r} is in mode {target.settings.mode} but has no `act` connection: "
            "observing and acting need two roles"
        )


def _validated(table: dict[str, Any], explain: Callable[[list[str], str], str]) -> Settings:
    """The settings of a merged table. explain: the message for a key, with its place."""
    profile = table.get("profile", "production")
    if not isinstance(profile, str) or profile not in PROFILES:
        raise ConfigError(explain(["profile"], f"profile must be one of {', '.join(PROFILES)}"))
    try:
        return with_profile(profile, table)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        raise ConfigError("\n".join(_explain(e, explain) for e in mistakes)) from None


def _explain(error: Any, explain: Callable[[list[str], str], str]) -> str:
    """One line a mistake: where, which key, what is expected."""
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        return explain(location, f"unknown key {key!r}{_nearest(location[-1], _keys(location[:-1]))}")
    if key == "mode":
        return explain(location, f"mode must be one of {', '.join(Mode)}")
    return explain(location, f"{key}: {error['msg']}")


def _keys(path: list[str]) -> list[str]:
    model: Any = Settings
    for part in path:
        model = model.model_fields[part].annotation
    return [*model.model_fields, *(_CONNECTION_KEYS if not path else ())]


def _nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or nothing."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _origin(layers: _Layers, location: list[str]) -> tuple[str, ...]:
    """Path in the file of the value that counts: that of the innermost layer which has it."""
    for path, layer in reversed(layers):
        value: Any = layer
        for part in location:
            value = value.get(part, _NONE) if isinstance(value, Mapping) else _NONE
        if value is not _NONE:
            return (*path, *location)
    return layers[-1][0]


def _merged(layers: _Layers) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for _, layer in layers:
        merged = merge(merged, layer)
    return merged
