"""Is each batch told once, and does an alarm start one cycle early - not two, and not too soon?"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

import dagster as dg
import pytest

from ooda_dagster.config import Config, Reference, TargetConfig
from ooda_dagster.core.settings import Settings
from ooda_dagster.defs.build import build_definitions
from ooda_dagster.defs.names import Names
from ooda_dagster.defs.schedules import ooda_adaptive_delay
from ooda_dagster.defs.sensors import new_inferences
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.defs.ground import NAME, config_of
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.loop.requests import DDL
from ooda_dagster_tests.support import Database

SOURCE = dg.AssetKey(["target", "inference_requests"])


class Ticks:
    """The sensor, ticked by hand."""

    def __init__(self, database: Database, ooda: Ooda, instance: dg.DagsterInstance, names: Names) -> None:
        self.database, self.ooda, self.instance = database, ooda, instance
        self.sensor = new_inferences.make_new_inferences(names)

    @cached_property
    def repository(self) -> dg.RepositoryDefinition:
        return build_definitions(self.ooda.config).get_repository_def()

    @property
    def ledger(self) -> Ledger:
        return self.ooda.ledger

    def tick(self) -> list[dg.RunRequest]:
        context = dg.build_sensor_context(
            instance=self.instance, resources={"ooda": self.ooda}, repository_def=self.repository
        )
        with dg.partition_loading_context(dynamic_partitions_store=self.instance):
            data = self.sensor.evaluate_tick(context)
        self.said = data.skip_message or ""
        return list(data.run_requests or [])

    def set(self, **requests: object) -> None:
        targets = {}
        for name, target in self.ooda.config.targets.items():
            values = target.settings.model_dump()
            settings = Settings.model_validate({**values, "requests": {**values["requests"], **requests}})
            targets[name] = replace(target, settings=settings)
        self.ooda.config = Config(self.ooda.config.ledger, targets)

    def done(self, *ids: int, ms: int = 200, status: str = "completed") -> None:
        self.database.execute(
            "insert into inference_requests (inference_id, total_duration_ms, status) "
            "select i, %s, %s from unnest(%s::bigint[]) i",
            ms, status, list(ids), dsn=self.database.app,
        )  # fmt: skip

    def usual(self, count: int = 200) -> None:
        """A past, so that something can stand out; then the timer is far away."""
        self.database.execute(
            "insert into inference_requests (inference_id, total_duration_ms, status) "
            f"select g, 150 + mod(g, 100), 'ok' from generate_series(1, {count}) g",
            dsn=self.database.app,
        )
        assert self.tick() == []
        self.later()

    def later(self) -> datetime:
        at = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=30)
        self.ledger.cycles.request(NAME, at, "nothing changed")
        return at

    def run(self, request: dg.RunRequest) -> None:
        """The run that the daemon would make."""
        run = dg.DagsterRun("ooda_cycle", run_id=str(uuid.uuid4()), tags=dict(request.tags))
        self.instance.add_run(run)

    def began(self, ago_s: float, state: str = "finished") -> None:
        started = datetime.now(UTC) - timedelta(seconds=ago_s)
        self.ledger.cycles.begin(
            NAME, due_at=started, run_id=str(time.monotonic()), trigger="t", mode="propose", now=started
        )
        if state != "running":
            ask(self.ledger, "update ooda.cycle set state = 'finished'")

    @property
    def timer(self) -> datetime:
        return self.ledger.cycles.queue([NAME])[0].deliver_at

    @property
    def reports(self) -> list[dict[str, object]]:
        wanted = dg.AssetRecordsFilter(SOURCE, asset_partitions=[NAME])
        records = self.instance.fetch_materializations(wanted, limit=100).records
        found = [r.asset_materialization for r in reversed(records)]
        return [{k: v.value for k, v in m.metadata.items()} for m in found if m]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    home = str(tmp_path_factory.mktemp("new_inferences"))
    with dg.DagsterInstance.local_temp(home, overrides={"telemetry": {"enabled": False}}) as made:
        yield made


@pytest.fixture
def make(database: Database, ledger: Ledger, instance: dg.DagsterInstance) -> Iterator[Callable[..., Ticks]]:
    instance.wipe()
    database.execute(DDL.format(id="bigint"), dsn=database.app)
    opened: list[Ooda] = []

    def ticks(names: Names | None = None) -> Ticks:
        opened.append(Ooda(config_of(database, ledger)))
        return Ticks(database, opened[-1], instance, names or Names())

    yield ticks
    for ooda in opened:
        ooda.ledger.close()


@pytest.fixture
def ticks(make: Callable[..., Ticks]) -> Ticks:
    return make()


# ---------------------------------------------------------------------- reports


def test_a_batch_becomes_one_materialization_of_the_source_asset(ticks: Ticks) -> None:
    ticks.done(1, 2, 3)
    ticks.done(4, status="odd")
    assert ticks.tick() == []
    assert ticks.said == f"{NAME}: 3 requests; 1 left out: unknown status"
    assert ticks.tick() == []
    (report,) = ticks.reports
    assert (report["rows"], report["first_id"], report["last_id"], report["alarm"]) == (3, 1, 4, "none")
    assert (report["batches"], report["rejected"], report["target"]) == (1, {"unknown status": 1}, NAME)
    assert {"window_start", "window_end", "batch_id"} <= set(report)
    assert ticks.instance.get_runs_count() == 0


def test_reports_are_debounced_and_nothing_is_left_out_of_them(ticks: Ticks) -> None:
    ticks.done(1)
    ticks.tick()
    for n in range(2, 6):
        ticks.done(n)
        ticks.tick()
    assert [r["rows"] for r in ticks.reports] == [1]
    ticks.set(report_every_s=0.001)
    ticks.tick()
    assert [(r["rows"], r["batches"], r["first_id"], r["last_id"]) for r in ticks.reports] == [
        (1, 1, 1, 1),
        (4, 4, 2, 5),
    ]


@pytest.mark.parametrize("before_the_event", [True, False])
def test_a_crash_while_reporting_reports_once(
    ticks: Ticks, monkeypatch: pytest.MonkeyPatch, before_the_event: bool
) -> None:
    ticks.done(1, 2)
    report = ticks.instance.report_runless_asset_event

    def crash(event: dg.AssetMaterialization) -> None:
        if not before_the_event:
            report(event)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ticks.instance, "report_runless_asset_event", crash)
        with pytest.raises(KeyboardInterrupt):
            ticks.tick()
    ticks.done(3)
    ticks.set(report_every_s=0.001)
    ticks.tick()
    ticks.tick()
    assert [(r["rows"], r["first_id"], r["last_id"]) for r in ticks.reports] == [(2, 1, 2), (1, 3, 3)]
    assert ask(ticks.ledger, "select sum(n) from ooda.request_rollup") == [(3,)]


def test_below_prefixes_the_report_goes_to_the_asset_of_these_names(make: Callable[..., Ticks]) -> None:
    ticks = make(Names(key_prefix=("db",)))
    ticks.done(1)
    ticks.tick()
    assert ticks.instance.get_latest_materialization_event(dg.AssetKey(["db", "target", "inference_requests"]))
    assert ticks.reports == []


def test_somebody_else_s_asset_is_observed_and_not_materialized(make: Callable[..., Ticks]) -> None:
    theirs = dg.AssetKey("their_requests")
    ticks = make(Names(sources={"inference_requests": theirs}))
    ticks.done(1)
    ticks.tick()
    assert ticks.instance.get_latest_materialization_event(theirs) is None
    (seen,) = ticks.instance.fetch_observations(theirs, limit=5).records
    assert seen.asset_observation is not None
    assert seen.asset_observation.metadata["rows"].value == 1


# ---------------------------------------------------------------------- early cycles


def test_quiet_data_leaves_the_timer_alone(ticks: Ticks) -> None:
    ticks.usual()
    due = ticks.timer
    ticks.done(1001, 1002, ms=300)
    assert ticks.tick() == []
    assert ticks.timer == due


def test_an_alarm_pulls_the_timer_to_now_and_starts_one_run(ticks: Ticks) -> None:
    ticks.usual()
    ticks.done(1001, ms=30_000)
    before = datetime.now(UTC)
    (request,) = ticks.tick()
    assert before <= ticks.timer <= datetime.now(UTC)
    assert request.partition_key == NAME
    assert request.tags["ooda/due_key"] == f"{NAME}@{ticks.timer.isoformat()}"
    assert request.tags["ooda/trigger"] == "alarm"
    assert "30,000 ms" in str(ticks.reports[-1]["alarm"])
    pulled = ticks.timer
    ticks.run(request)
    assert ticks.tick() == []
    context = dg.build_schedule_context(
        instance=ticks.instance, scheduled_execution_time=datetime.now(UTC) + timedelta(minutes=1)
    )
    assert isinstance(ooda_adaptive_delay(context, ooda=ticks.ooda), dg.SkipReason)
    assert ticks.timer == pulled


def test_a_tick_that_died_before_its_run_was_made_leaves_it_to_the_schedule(ticks: Ticks) -> None:
    ticks.usual()
    ticks.done(1001, ms=30_000)
    (lost,) = ticks.tick()
    context = dg.build_schedule_context(
        instance=ticks.instance, scheduled_execution_time=datetime.now(UTC) + timedelta(minutes=1)
    )
    found = ooda_adaptive_delay(context, ooda=ticks.ooda)
    assert isinstance(found, list)
    (request,) = found
    assert request.tags["ooda/due_key"] == lost.tags["ooda/due_key"]


def test_an_alarm_waits_for_the_floor_and_is_not_forgotten(ticks: Ticks) -> None:
    ticks.usual()
    ticks.began(60)
    due = ticks.timer
    ticks.done(1001, ms=30_000)
    assert ticks.tick() == []
    assert "an early cycle waits, as a cycle began 60 s ago" in ticks.said
    assert ticks.timer == due
    ticks.set(alarm_floor_s=30)
    assert len(ticks.tick()) == 1


def test_an_alarm_never_starts_a_cycle_beside_one_that_runs(ticks: Ticks) -> None:
    ticks.usual()
    ticks.set(alarm_floor_s=0)
    ticks.began(600, "running")
    due = ticks.timer
    ticks.done(1001, ms=30_000)
    assert ticks.tick() == []
    assert "an early cycle waits, as a cycle runs" in ticks.said
    assert not ticks.ledger.cycles.pull_forward(NAME, datetime.now(UTC), "now!")
    assert ticks.timer == due


def test_an_alarm_that_a_cycle_began_after_is_old_news(ticks: Ticks) -> None:
    ticks.usual()
    ticks.set(alarm_floor_s=0)
    ticks.done(1001, ms=30_000)
    assert len(ticks.tick()) == 1
    ticks.began(0)
    ticks.later()
    assert ticks.tick() == []


# ---------------------------------------------------------------------- many targets


def test_a_dead_target_is_named_backed_off_and_stops_nobody(ticks: Ticks) -> None:
    dead = Reference.literal("postgresql://nobody@127.0.0.1:1/none")
    unset = Reference("env", "OODA_TEST_NOT_SET")
    more = {"dead": TargetConfig("dead", dead), "unset": TargetConfig("unset", unset)}
    ticks.ooda.config = Config(ticks.ooda.config.ledger, {**ticks.ooda.config.targets, **more})
    ticks.done(1)
    ticks.tick()
    assert f"{NAME}: 1 requests" in ticks.said
    assert "dead: 127.0.0.1:1/none does not answer" in ticks.said
    assert "unset: the environment variable OODA_TEST_NOT_SET is not set" in ticks.said
    ticks.tick()
    assert "asked again in" in ticks.said
