"""What does the Dagster instance give the loop, and what is missing? Reads it; starts and changes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType

from ooda_dagster.config import home_directory
from ooda_dagster.config.servers import dagster_dsn
from ooda_dagster.defs.jobs import make_jobs
from ooda_dagster.defs.names import Names
from ooda_dagster.defs.schedules import SCHEDULES
from ooda_dagster.defs.sensors import make_sensors

_FAMILY = ("dagster", "dagster-webserver", "dagster-postgres")
_PASSWORD = re.compile(r"(://[^:/@\s]+):[^@\s]+@")
_LIMIT = "{ key: dagster/partition, value: { applyLimitPerUniqueValue: true }, limit: 1 }"
_URL_VARIABLE = "OODA_DAGSTER_PG_URL"


@dataclass(frozen=True)
class Finding:
    """state: ok, warn (works, does less), fail (does not work). remedy: often lines of dagster.yaml."""

    what: str
    state: str
    found: str
    remedy: str = ""


def inspect_instance() -> Iterator[Finding]:
    """The instance of $DAGSTER_HOME, else ours, where there is one. Never raises: what is broken is a finding."""
    yield from _guarded("packages", _packages)
    theirs = os.environ.get("DAGSTER_HOME")
    home = Path(theirs) if theirs else home_directory() / "dagster"
    try:
        settings = _settings(home)
    except (OSError, yaml.YAMLError, ValueError) as error:
        yield Finding("dagster.yaml", "fail", _words(error), f"mend {home / 'dagster.yaml'}")
        return
    if settings is None and not theirs:
        yield Finding("instance", "ok", "none yet: `ooda dev` and `ooda cycle` make one; or set DAGSTER_HOME")
        return
    if not (settings or {}).get("storage") and not (home / "history" / "runs.db").exists():
        yield Finding("instance", "ok", f"{home}, where nothing ran yet")
        # Opening it would make its files.
        yield from _guarded("dagster.yaml", lambda: _lines(settings or {}))
        return
    before = os.environ.get(_URL_VARIABLE)
    try:
        if not theirs and not before:
            os.environ[_URL_VARIABLE] = dagster_dsn()
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield Finding("instance", "ok", str(home))
            yield _storage(instance)
            yield from _guarded("dagster.yaml", lambda: _lines(settings or {}))
            yield from _guarded("daemons", lambda: _daemons(instance))
            yield from _guarded("schedules and sensors", lambda: _instigators(instance))
    except Exception as error:  # whatever a storage or a class of theirs raises
        where = "is its server running?" if theirs else "its server runs with `ooda dev`"
        yield Finding("instance", "fail" if theirs else "warn", f"{home} cannot be opened: {_words(error)}", where)
    finally:
        if before is None:
            os.environ.pop(_URL_VARIABLE, None)


def _packages() -> Iterator[Finding]:
    """Dagster's packages are released together, and a mixture fails in odd ways."""
    found = {}
    for name in _FAMILY:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    words = ", ".join(f"{name} {number}" for name, number in found.items())
    core = found["dagster"].split(".")
    library = ["0", str(int(core[1]) + 16), *core[2:]]
    same = found["dagster-webserver"] in ("none", found["dagster"])
    if same and found["dagster-postgres"] in ("none", ".".join(library)):
        yield Finding("packages", "ok", words + "; webserver and daemon should have the same")
        return
    wanted = f"dagster-webserver=={found['dagster']} dagster-postgres=={'.'.join(library)}"
    yield Finding("packages", "warn", f"of different releases: {words}", f"pip install {wanted}")


def _settings(home: Path) -> dict[str, Any] | None:
    """What dagster.yaml says; None where there is none."""
    path = home / "dagster.yaml"
    if not path.exists():
        return None
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds no table")
    return settings


def _storage(instance: dg.DagsterInstance) -> Finding:
    name = type(instance.run_storage).__name__
    instance.get_runs_count()  # it answers
    if "Sqlite" in name:
        found = "SQLite: fine for one machine. Use PostgreSQL where several machines or many targets share it"
        return Finding("storage", "ok", found)
    return Finding("storage", "ok", name.removesuffix("RunStorage"))


def _lines(settings: dict[str, Any]) -> Iterator[Finding]:
    """What dagster.yaml asks for."""
    coordinator = (settings.get("run_coordinator") or {}).get("class", "QueuedRunCoordinator")
    if coordinator == "QueuedRunCoordinator":
        yield Finding("run coordinator", "ok", "runs are queued")
    else:
        remedy = "run_coordinator: { module: dagster.core.run_coordinator, class: QueuedRunCoordinator }"
        yield Finding("run coordinator", "warn", f"{coordinator}: runs start at once, no limit counts", remedy)
    yield _limit(settings)
    monitoring = settings.get("run_monitoring") or {}
    if monitoring.get("enabled"):
        yield Finding("run monitoring", "ok", "on")
    else:
        remedy = "run_monitoring: { enabled: true, max_runtime_seconds: 21600 }"
        yield Finding("run monitoring", "warn", "off: a run whose worker died stays STARTED", remedy)
    longest = monitoring.get("max_runtime_seconds")
    found = f"{longest} s" if longest else "set by our jobs' tags alone"
    yield Finding("longest run", "ok", found)
    if (settings.get("run_retries") or {}).get("enabled"):
        yield Finding("run retries", "ok", "on")
    else:
        remedy = "run_retries: { enabled: true, max_retries: 1, retry_on_asset_or_op_failure: false }"
        found = "off: a crashed run is not tried again; the next cycle goes on with what it left"
        yield Finding("run retries", "warn", found, remedy)
    yield _retention(settings)
    if (settings.get("telemetry") or {}).get("enabled", True):
        found = "on: Dagster tells its makers about the use of this instance"
        yield Finding("telemetry", "warn", found, "telemetry: { enabled: false }")
    else:
        yield Finding("telemetry", "ok", "off")


def _limit(settings: dict[str, Any]) -> Finding:
    """One run a target at a time."""
    newer = ((settings.get("concurrency") or {}).get("runs") or {}).get("tag_concurrency_limits") or []
    # Limits may stand in either of two places of old, and both forms together are refused.
    queue = settings.get("run_queue") or {}
    coordinator = (settings.get("run_coordinator") or {}).get("config") or {}
    older = [*(queue.get("tag_concurrency_limits") or []), *(coordinator.get("tag_concurrency_limits") or [])]
    if any(limit.get("key") == "dagster/partition" for limit in (*newer, *older)):
        return Finding("one run a target", "ok", "limited by dagster/partition")
    remedy = f"concurrency: {{ runs: {{ tag_concurrency_limits: [{_LIMIT}] }} }}"
    if queue or coordinator:
        where = "run_queue" if queue else "run_coordinator, config"
        remedy = f"{where}: {{ tag_concurrency_limits: [{_LIMIT}] }}"
    found = "not limited: politeness only, correctness does not depend on it (a second run is skipped by name)"
    return Finding("one run a target", "warn", found, remedy)


def _retention(settings: dict[str, Any]) -> Finding:
    kept = settings.get("retention") or {}
    missing = [kind for kind in ("schedule", "sensor") if not kept.get(kind)]
    if not missing:
        return Finding("old ticks", "ok", "are purged")
    days = "{ purge_after_days: { skipped: 1, failure: 30, success: 30 } }"
    found = f"of {' and '.join(missing)}s: kept as long as Dagster's defaults say; ours tick every minute"
    return Finding("old ticks", "warn", found, f"retention: {{ schedule: {days}, sensor: {days} }}")


def _daemons(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Does a daemon live, and which part of it does not?"""
    statuses = instance.get_daemon_statuses()
    beats = {name: s.last_heartbeat.timestamp for name, s in statuses.items() if s.last_heartbeat}
    needed = {name: s for name, s in statuses.items() if s.required}
    silent = sorted(name for name, s in needed.items() if not s.healthy)
    newest = f", last heard {_ago(max(beats.values()))}" if beats else ""
    if not silent:
        yield Finding("daemon", "ok", f"alive{newest}")
        return
    heard = {name: beat for name in silent if (beat := needed[name].last_heartbeat)}
    words = "; ".join(f"{n}: {_words(beat.errors[0].message)}" for n, beat in heard.items() if beat.errors)
    found = f"silent: {', '.join(silent)}{newest}" if beats else "none was ever heard: nothing starts by itself"
    yield Finding(
        "daemon", "warn", f"{found}. {words}" if words else found, "dagster-daemon run, with this DAGSTER_HOME"
    )


def _instigators(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Our schedules and sensors: on or off, and how their last tick ended."""
    for kind, ours in (
        (InstigatorType.SCHEDULE, SCHEDULES),
        (InstigatorType.SENSOR, make_sensors(Names(), make_jobs(Names()))),
    ):
        states: dict[str, list[Any]] = {}
        for state in instance.all_instigator_state(instigator_type=kind):
            states.setdefault(state.instigator_name, []).append(state)
        word = kind.value.lower()
        for name in sorted(s.name for s in ours):
            remedy = f"dagster {word} start {name}, or the switch in the UI"
            found = states.get(name, [])
            # A state of an earlier place of the code location stays: the one that is on counts.
            on = [s for s in found if s.status != InstigatorStatus.STOPPED]
            if not on:
                yield Finding(f"{word} {name}", "warn", "off", remedy)
            for state in on:
                yield _tick(instance, f"{word} {name}", state)


def _tick(instance: dg.DagsterInstance, what: str, state: Any) -> Finding:
    where = state.origin.repository_origin.code_location_origin.location_name
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    if not ticks:
        return Finding(what, "ok", f"on in {where}, no tick yet")
    last = ticks[0]
    when = f"on in {where}, last tick {_ago(last.timestamp)}"
    if last.error is not None:
        return Finding(what, "warn", f"{when} failed: {_words(last.error.message)}", "the tick in the UI has the trace")
    return Finding(what, "ok", f"{when}: {last.status.value.lower()}")


def _guarded(what: str, read: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What one part of the instance cannot tell must not hide the others."""
    try:
        yield from list(read())
    except Exception as error:
        yield Finding(what, "warn", f"cannot be read: {_words(error)}")


def _words(error: object) -> str:
    """The first lines of an error, without a password."""
    return _PASSWORD.sub(r"\1:***@", " ".join(str(error).split()))[:300] or type(error).__name__


def _ago(timestamp: float) -> str:
    seconds = max(0.0, datetime.now(UTC).timestamp() - timestamp)
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
