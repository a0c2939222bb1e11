"""A database that wants an index, its loop's configuration, and runs of our jobs on an instance."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg

from ooda_dagster.config import Config, Reference, TargetConfig, load_config
from ooda_dagster.core.settings import Mode, merge, with_profile
from ooda_dagster.defs.build import build_definitions
from ooda_dagster.defs.runner import CycleRun, Runner
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Cycle, Ledger
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.support import KEEN, Database, dsn_of, fresh_ledger, make_orders, work

NAME = "shop"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
PHASES = ("observations", "hypotheses", "decisions", "action_results", "learning_deltas")


@dataclass
class Ground:
    """One target with its ledger and a Dagster instance of its own."""

    database: Database
    ledger: Ledger
    config: Config
    instance: dg.DagsterInstance
    runner: Runner
    directory: Path

    @property
    def loop(self) -> Loop:
        return self.runner.ooda.loop(NAME)

    def cycle(self, **options: Any) -> CycleRun:
        return self.runner.cycle(NAME, trigger="hand", **options)

    @property
    def cycles(self) -> list[Cycle]:
        return list(self.ledger.cycles.latest(NAME))

    def run(
        self, selection: list[str] | None = None, tags: dict[str, str] | None = None, *, dry_run: bool = False
    ) -> dg.ExecuteInProcessResult:
        """A run as the UI starts it: no cycle is begun before, an error is an event."""
        definition = self.runner._definitions.resolve_job_def("ooda_cycle")
        return definition.execute_in_process(
            instance=self.instance,
            partition_key=NAME,
            tags=tags,
            run_config={**QUIET, "ops": {"ooda__observations": {"config": {"dry_run": True}}}} if dry_run else QUIET,
            raise_on_error=False,
            asset_selection=[key(name) for name in selection] if selection else None,
        )

    def re_execute(self, run_id: str, assets: list[str] | None = None) -> dg.JobExecutionResult:
        """Re-execute a run, or some assets of it, as the UI and the daemon do: a new run of the same family."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        steps = [f"ooda__{name}" for name in assets] if assets else None
        try:
            return dg.execute_job(
                dg.build_reconstructable_job(__name__, "cycle_job", (self.environment["OODA_CONFIG"],)),
                instance=self.instance,
                tags=self.run_tags(run_id),
                reexecution_options=dg.ReexecutionOptions(parent_run_id=run_id, step_selection=steps or ()),
            )
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    @property
    def environment(self) -> dict[str, str]:
        """What another process needs to load the same configuration."""
        target = self.config.targets[NAME]
        mode = target.settings.mode
        path = self.directory / "ooda.toml"
        path.write_text(
            f'[ledger]\nurl = "env:OODA_TEST_LEDGER"\n[target.{NAME}]\nprofile = "short"\nmode = "{mode}"\n'
            "advice = { min_statement_total_ms = 20 }\n"
            'observe = "env:OODA_TEST_OBSERVE"\n' + ('act = "env:OODA_TEST_ACT"\n' if mode.acts else "")
        )
        return {
            "OODA_CONFIG": str(path),
            "OODA_TEST_LEDGER": dsn_of(self.ledger),
            "OODA_TEST_OBSERVE": self.database.observe,
            "OODA_TEST_ACT": self.database.act,
        }

    def run_tags(self, run_id: str) -> dict[str, str]:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return dict(run.tags)


def key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["ooda", name])


def cycle_job(config: str) -> dg.JobDefinition:
    """The job of a configuration file, in whatever process."""
    return build_definitions(load_config(Path(config))).resolve_job_def("ooda_cycle")


def instance_in(directory: Path) -> dg.DagsterInstance:
    """A Dagster instance in files of a directory; leave its `with` block to close it."""
    return dg.DagsterInstance.local_temp(str(directory), overrides={"telemetry": {"enabled": False}})


def records(value: object) -> list[dict[str, Any]]:
    """The rows of Dagster's own table, with its columns in the order in which they are shown."""
    assert isinstance(value, dg.TableMetadataValue)
    names = [column.name for column in value.schema.columns]
    assert all(record.data.keys() == set(names) for record in value.records)
    return [{name: record.data[name] for name in names} for record in value.records]


def tick(
    schedule: dg.ScheduleDefinition, ooda: Ooda, instance: dg.DagsterInstance, at: datetime
) -> list[dg.RunRequest] | str:
    """Requests of a schedule's tick, or why there are none."""
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
    found = schedule(context, ooda=ooda)
    if isinstance(found, dg.SkipReason):
        return found.skip_message or ""
    assert isinstance(found, list)
    return found


def tick_sensor(
    sensor: dg.SensorDefinition, ooda: Ooda, instance: dg.DagsterInstance, **options: Any
) -> dg.SensorExecutionData:
    """A sensor's tick, as the daemon evaluates it."""
    context = dg.build_sensor_context(instance=instance, resources={"ooda": ooda}, **options)
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        return sensor.evaluate_tick(context)


def one(requests: list[dg.RunRequest] | str) -> dg.RunRequest:
    """The only request of a tick."""
    assert not isinstance(requests, str), requests
    (request,) = requests
    return request


def unreachable(ledger: Ledger) -> Config:
    """A target that nobody connects to, for what reads the ledger alone."""
    target = TargetConfig(NAME, Reference.literal("postgresql://nobody@127.0.0.1:1/none"))
    return Config(Reference.literal(dsn_of(ledger)), {NAME: target})


def config_of(database: Database, ledger: Ledger, mode: Mode = Mode.PROPOSE, **settings: Any) -> Config:
    """The short profile, by connection strings."""
    target = TargetConfig(
        NAME,
        Reference.literal(database.observe),
        Reference.literal(database.act) if mode.acts else None,
        settings=with_profile("short", merge(KEEN, {"mode": mode, **settings})),
    )
    return Config(Reference.literal(dsn_of(ledger)), {NAME: target})


@contextmanager
def ground(
    database: Database, ledger: Ledger, directory: Path, mode: Mode = Mode.PROPOSE, **settings: Any
) -> Iterator[Ground]:
    """Everything, with an instance below `directory`."""
    config = config_of(database, ledger, mode, **settings)
    with instance_in(directory) as instance:
        yield Ground(database, ledger, config, instance, Runner(config, instance), directory)


@contextmanager
def busy_shop(target_server: Cluster, ledger_server: Cluster, directory: Path, mode: Mode) -> Iterator[Ground]:
    """A ground of its own, with orders that were worked on."""
    database = Database(target_server, f"test_{uuid.uuid4().hex[:12]}")
    database.create()
    try:
        make_orders(database, 100_000)
        work(database)
        with fresh_ledger(ledger_server) as ledger, ground(database, ledger, directory, mode) as made:
            yield made
    finally:
        database.drop()
