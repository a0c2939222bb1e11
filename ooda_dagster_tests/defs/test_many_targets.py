"""Forty targets, one dead and one that hangs: is nobody starved, does nothing write, and are ticks short?"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import event

from ooda_dagster.config import Config, Reference, TargetConfig
from ooda_dagster.core.settings import Settings, with_profile
from ooda_dagster.defs.runner import Runner
from ooda_dagster.defs.schedules import ooda_adaptive_delay
from ooda_dagster.defs.sensors.sample_statements import make_sample_statements
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.context import utc_now
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.defs.ground import QUIET
from ooda_dagster_tests.loop.ground import Statements
from ooda_dagster_tests.support import Database, dsn_of, make_orders, work

COUNT = 40
DEAD, HANGING = "t07-dead", "t21-hanging"
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@dataclass
class Fleet:
    """Targets of one server, and two that do not answer."""

    databases: dict[str, Database]
    config: Config

    @property
    def live(self) -> list[str]:
        return sorted(self.databases)


def settings() -> Settings:
    return with_profile("short", {"advice": {"min_statement_total_ms": 0}})


def config_of(ledger: Ledger, connections: dict[str, str]) -> Config:
    targets = {n: TargetConfig(n, Reference.literal(dsn), settings=settings()) for n, dsn in connections.items()}
    return Config(Reference.literal(dsn_of(ledger)), targets)


@contextmanager
def never_answering() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield listening.getsockname()[1]


@pytest.fixture(scope="module")
def databases(target_server: Cluster) -> Iterator[dict[str, Database]]:
    """38 tiny databases with a little work each, and more rows in the first."""
    made = {}
    template = Database(target_server, f"test_{uuid.uuid4().hex[:12]}")
    template.create()
    make_orders(template, 300)
    for n in range(COUNT):
        name = f"t{n:02}"
        if name in (DEAD[:3], HANGING[:3]):
            continue
        made[name] = Database(target_server, f"{template.name}_{n}")
        target_server.create_database(made[name].name, template=template.name)
    made["t00"].execute(
        "insert into orders select g, g % 5000, 'done', now(), repeat('x', 80) from generate_series(301, 60000) g; "
        "analyze orders",
        dsn=made["t00"].app,
    )
    yield made
    for database in (*made.values(), template):
        database.drop()


@pytest.fixture
def fleet(databases: dict[str, Database], ledger: Ledger) -> Iterator[Fleet]:
    with never_answering() as port:
        dead = {
            DEAD: "postgresql://nobody@127.0.0.1:1/none",
            HANGING: f"postgresql://nobody@127.0.0.1:{port}/none",
        }
        yield Fleet(databases, config_of(ledger, {**{n: d.observe for n, d in databases.items()}, **dead}))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"telemetry": {"enabled": False}}) as made:
        yield made


def sampled(ooda: Ooda) -> set[str]:
    return {row["name"] for row in ooda.ledger.cycles.targets() if row["last_sampled_at"]}


def sample_tick(sensor: dg.SensorDefinition, ooda: Ooda, instance: dg.DagsterInstance) -> tuple[str, float]:
    """What a tick said, and how long it took."""
    began = time.monotonic()
    context = dg.build_sensor_context(instance=instance, resources={"ooda": ooda})
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        done = sensor.evaluate_tick(context)
    return done.skip_message or "", time.monotonic() - began


def sessions(database: Database) -> int:
    return database.execute("select count(*) from pg_stat_activity where application_name like 'ooda/%%'")[0][0]


@pytest.mark.slow
def test_every_live_target_is_sampled_in_one_tick_and_the_dead_ones_are_named(
    fleet: Fleet, instance: dg.DagsterInstance
) -> None:
    ooda, sensor = Ooda(fleet.config), make_sample_statements()
    words, took_s = sample_tick(sensor, ooda, instance)
    assert sampled(ooda) == set(fleet.live)
    assert f"{DEAD}: 127.0.0.1:1/none does not answer" in words
    assert f"{HANGING}: 127.0.0.1:" in words
    assert took_s < 20  # the one that hangs has 3 s to answer

    words, took_s = sample_tick(sensor, ooda, instance)
    assert words.count("asked again in") == 2
    assert took_s < 8
    assert "is used up" not in words
    assert instance.get_runs_count() == 0
    assert sessions(fleet.databases["t00"]) == 0
    ooda.ledger.close()


@pytest.mark.slow
def test_a_tick_goes_on_while_more_targets_hang_than_it_asks_at_once(
    database: Database, ledger: Ledger, instance: dg.DagsterInstance
) -> None:
    make_orders(database, 100)
    with never_answering() as port:
        hanging = {f"h{n:02}": f"postgresql://nobody@127.0.0.1:{port}/none" for n in range(20)}
        config = config_of(ledger, {**hanging, "z": database.observe})
        values = settings().model_dump()
        quick = Settings.model_validate({**values, "sampling": {"bucket_s": 2, "tick_budget_s": 0.5}})
        targets = {n: TargetConfig(n, t.observe, settings=quick) for n, t in config.targets.items()}
        ooda = Ooda(Config(config.ledger, targets))
        sensor, ticks = make_sample_statements(), 0
        while "z" not in sampled(ooda):
            _, took_s = sample_tick(sensor, ooda, instance)
            ticks += 1
            assert took_s < 15
            assert ticks <= 4
    ooda.ledger.close()


class Counted:
    """Statements that a ledger is asked."""

    def __init__(self, ledger: Ledger) -> None:
        self.count = 0
        event.listen(ledger.engine, "before_cursor_execute", self._one_more)

    def _one_more(self, *_: object) -> None:
        self.count += 1


@pytest.mark.parametrize("count", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_the_schedules_tick_asks_the_ledger_no_more_for_many_targets(
    ledger: Ledger, instance: dg.DagsterInstance, count: int
) -> None:
    ooda = Ooda(config_of(ledger, {f"t{n:03}": "postgresql://nobody@127.0.0.1:1/none" for n in range(count)}))

    def tick(at: datetime) -> tuple[object, float, int]:
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
        counted, began = Counted(ooda.ledger), time.monotonic()
        found = ooda_adaptive_delay(context, ooda=ooda)
        return found, time.monotonic() - began, counted.count

    first, first_s, _ = tick(NOON)  # all are new, and due
    assert isinstance(first, list)
    assert len(first) == count
    for name in ooda.config.targets:
        ooda.ledger.cycles.request(name, NOON + timedelta(hours=1), "a test")
    waiting, waiting_s, queries = tick(NOON)
    assert isinstance(waiting, dg.SkipReason)
    assert queries <= 3
    print(f"{count} targets: all new {first_s:.2f} s, all waiting {waiting_s:.3f} s")
    assert max(first_s, waiting_s) < 30  # half of what Dagster gives a tick
    ooda.ledger.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_targets_materialised_in_propose_write_to_none(fleet: Fleet, instance: dg.DagsterInstance) -> None:
    """As "materialize all" starts it: one run a partition, each on its own."""
    for name in ("t00", "t01"):
        work(fleet.databases[name])
    server = fleet.databases["t00"].cluster
    runner = Runner(fleet.config, instance)
    job = runner._definitions.resolve_job_def("ooda_cycle")
    superuser = fleet.databases["t00"]
    superuser.execute("alter system set log_statement = 'all'")
    superuser.execute("select pg_reload_conf()")
    ended = {}
    try:
        log = Statements(superuser, server.log_file.stat().st_size)
        for name in fleet.config.targets:
            ended[name] = job.execute_in_process(
                instance=instance, partition_key=name, run_config=QUIET, raise_on_error=False
            )
        lines, writes = log.lines, log.writes
    finally:
        superuser.execute("alter system reset log_statement")
        superuser.execute("select pg_reload_conf()")
    assert len(lines) > 10 * len(fleet.live)
    assert writes == []
    assert sorted(n for n, result in ended.items() if not result.success) == [DEAD, HANGING]
    for name in (DEAD, HANGING):
        (failure,) = ended[name].get_step_failure_events()
        assert "does not answer" in str(failure.step_failure_data.error)
    found = [a for name in fleet.live for a in runner.ooda.ledger.actions.list(name)]
    assert {a.state for a in found} == {"proposed"}
    assert {a.target for a in found} >= {"t00"}


@pytest.mark.slow
def test_status_and_doctor_tell_of_each(fleet: Fleet) -> None:
    from ooda_dagster.cli.doctor import _target as examine
    from ooda_dagster.cli.status import _target as standing

    ooda = Ooda(fleet.config)
    for name in fleet.config.targets:
        ooda.ledger.cycles.register(name, kind="postgres", mode="propose", now=utc_now())
    began = time.monotonic()
    rows = [standing(ooda.ledger, name) for name in sorted(fleet.config.targets)]
    took_s = time.monotonic() - began
    assert [row["target"] for row in rows] == sorted(fleet.config.targets)
    assert took_s < 3
    (failed,) = [row for row in examine(fleet.config.target(DEAD)) if row.state == "fail"]
    assert "does not answer" in failed.found
    ooda.ledger.close()
