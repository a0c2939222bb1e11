"""Is a dead loop reported where no run could report it, and does a person hear of a run that really failed?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from ooda_dagster.config import Alerts, Config, Reference
from ooda_dagster.defs.build import build_definitions
from ooda_dagster.defs.partitions import ensure
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.context import utc_now
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.defs.ground import NAME, QUIET, key, records, tick_sensor, unreachable
from ooda_dagster_tests.loop.hook import SECRET, Hook, hook

VARIABLE = "OODA_TEST_WEBHOOK"
OTHER = "other"


class Watch:
    """The sensors of two targets that nobody can connect to, ticked by hand."""

    def __init__(self, ledger: Ledger, instance: dg.DagsterInstance, alerts: Alerts) -> None:
        base = unreachable(ledger)
        other = replace(base.targets[NAME], name=OTHER)
        self.config = Config(base.ledger, {NAME: base.targets[NAME], OTHER: other}, alerts=alerts)
        self.instance, self.ooda = instance, Ooda(self.config)
        self.definitions = build_definitions(self.config)
        self.cursors: dict[str, str | None] = {}
        for name in self.config.targets:
            self.ooda.loop(name)
            self.due(name, minutes=10)

    def due(self, name: str = NAME, *, minutes: int) -> None:
        self.ooda.ledger.cycles.request(name, utc_now() + timedelta(minutes=minutes), "a test wants it")

    def tick(self, sensor: str = "ooda_alerts") -> dg.SensorExecutionData:
        """As the daemon does it, with the cursor of the last tick."""
        repository = self.definitions.get_repository_def()
        options = {"cursor": self.cursors.get(sensor), "repository_def": repository, "sensor_name": sensor}
        data = tick_sensor(repository.get_sensor_def(sensor), self.ooda, self.instance, **options)
        self.cursors[sensor] = data.cursor
        return data

    def said(self) -> str:
        return self.tick().skip_message or ""

    @property
    def reported(self) -> list[tuple[str | None, bool]]:
        """Events of the check, oldest first: partition, passed."""
        records = self.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(key("learning_deltas"), "loop_is_alive"), limit=50
        )
        found = [r.evaluation for r in records]
        return [(e.partition, e.passed) for e in reversed(found) if e is not None]

    def run(self, **tags: str) -> str:
        """A cycle that fails, as the target does not answer."""
        ensure(self.instance, self.config.targets)
        job = self.definitions.resolve_job_def("ooda_cycle")
        options: dict[str, Any] = {"raise_on_error": False, "run_config": QUIET, "tags": tags}
        result = job.execute_in_process(instance=self.instance, partition_key=NAME, **options)
        assert not result.success
        return result.run_id


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with hook() as made:
        monkeypatch.setenv(VARIABLE, made.url)
        yield made


@pytest.fixture
def watch(ledger: Ledger, instance: dg.DagsterInstance, server: Hook) -> Iterator[Watch]:
    made = Watch(ledger, instance, Alerts(Reference("env", VARIABLE)))
    opened = made.ooda.ledger
    yield made
    opened.close()


def test_life_is_reported_for_each_target_without_a_run_and_again_when_it_changes(watch: Watch) -> None:
    assert "reported loop_is_alive of 2" in watch.said()
    assert watch.reported == [(OTHER, True), (NAME, True)]
    assert watch.said() == "nothing new"
    watch.due(minutes=-20)
    assert watch.said().startswith(f"new: {NAME}: the loop is not alive: next cycle due: ")
    assert watch.reported[2:] == [(NAME, False)]
    watch.due(minutes=5)
    assert watch.said().startswith(f"over: {NAME}: the loop is not alive")
    assert watch.reported[3:] == [(NAME, True)]
    assert watch.instance.get_runs_count() == 0


def test_life_is_reported_once_a_day_at_least(watch: Watch) -> None:
    watch.tick()
    cursor = watch.cursors["ooda_alerts"] or ""
    watch.cursors["ooda_alerts"] = cursor.replace(f"{utc_now():%Y-%m-%d}", "2026-01-01")
    assert "reported loop_is_alive of 2" in watch.said()


def test_life_is_reported_again_after_each_cycle_once_its_events_are_there(watch: Watch) -> None:
    """A check that is older than its asset counts as not evaluated in the UI."""
    watch.tick()
    ledger = watch.ooda.ledger
    for run, ago in (("settled", timedelta(minutes=1)), ("just now", timedelta(0))):
        then = utc_now() - ago
        begun = ledger.cycles.begin(NAME, due_at=then, run_id=run, trigger="hand", mode="propose", now=then)
        ledger.cycles.finish(begun.analysis_id, now=then, next_due_at=None, reason="test")
        if run == "settled":
            assert "reported loop_is_alive of 1" in watch.said()
    assert watch.said() == "nothing new"


def test_the_evidence_of_a_dead_loop_is_a_table_in_the_check(watch: Watch) -> None:
    watch.due(minutes=-20)
    watch.tick()
    check_key = dg.AssetCheckKey(key("learning_deltas"), "loop_is_alive")
    told = watch.instance.event_log_storage.get_asset_check_execution_history(check_key, limit=50)
    (failed,) = [r.evaluation for r in told if r.evaluation and not r.evaluation.passed]
    assert (failed.severity, failed.blocking) == (dg.AssetCheckSeverity.WARN, False)
    assert "ooda_adaptive_delay" in (failed.description or "")
    assert [r["what"] for r in records(failed.metadata["evidence"]) if not r["ok"]] == ["next cycle due"]


def test_what_is_raised_is_told_and_what_was_not_told_is_told_at_the_next_tick(
    watch: Watch, server: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ooda_dagster.ledger.alerts._TRY", timedelta(0))
    server.answers = [503]
    watch.due(minutes=-20)
    first = watch.said()
    assert "not told: " in first
    assert "HTTP 503" in first
    assert server.bodies == []
    assert "told: " in watch.said()
    assert watch.said() == "nothing new"
    (text,) = server.texts
    assert text.startswith(f"ooda: {NAME}: the loop is not alive")


def test_a_run_that_failed_is_told_once_with_all_that_is_asked_for(watch: Watch, server: Hook) -> None:
    watch.tick("ooda_failures")  # begins now: what failed before is old
    watch.run()
    watch.tick("ooda_failures")
    (body,) = server.bodies
    text, detail = body["text"], body["detail"]
    assert text.startswith(f"ooda: {NAME}: ooda_cycle failed: TargetUnreachableError: ")
    assert f"`ooda status --target {NAME}` shows where it stands; next cycle due 20" in text
    assert "\n" not in text
    (cycle,) = watch.ooda.ledger.cycles.latest(NAME)
    assert (detail["job"], detail["analysis_id"], detail["run_id"]) == ("ooda_cycle", cycle.analysis_id, cycle.run_id)
    watch.tick("ooda_failures")
    assert len(server.bodies) == 1


def test_a_failure_of_somebody_else_s_job_is_not_ours_to_tell(watch: Watch, server: Hook) -> None:
    @dg.op
    def breaks() -> None:
        raise ValueError("theirs")

    @dg.job
    def their_job() -> None:
        breaks()

    watch.definitions = dg.Definitions.merge(watch.definitions, dg.Definitions(jobs=[their_job]))
    watch.tick("ooda_failures")
    their_job.execute_in_process(instance=watch.instance, raise_on_error=False, run_config=QUIET)
    watch.tick("ooda_failures")
    assert server.bodies == []
    assert watch.ooda.ledger.alerts.news(utc_now()) == []


def test_a_ledger_that_is_gone_is_told_all_the_same(watch: Watch, server: Hook) -> None:
    watch.tick("ooda_failures")
    watch.run()
    gone = Config(Reference.literal("postgresql://u:s3cret@127.0.0.1:1/none"), watch.config.targets)
    watch.ooda = Ooda(replace(gone, alerts=watch.config.alerts))
    watch.tick("ooda_failures")
    (text,) = server.texts
    assert "ooda_cycle failed, and the ledger postgresql+psycopg://u:***@127.0.0.1:1/none does not answer" in text
    assert "s3cret" not in text


def test_without_a_channel_a_warning_is_logged_and_the_row_is_there(
    ledger: Ledger, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    made = Watch(ledger, instance, Alerts())
    made.due(minutes=-20)
    made.tick()
    (alert,) = ledger.alerts.news(utc_now())
    assert (alert.kind, alert.target, alert.delivered_at) == ("loop_not_alive", NAME, None)
    made.ooda.ledger.close()
    assert "no channel is configured: set webhook or command in [alerts] of ooda.toml" in capfd.readouterr().err


def test_the_secret_of_the_webhook_is_in_no_log_no_event_and_no_row(
    watch: Watch, server: Hook, capfd: pytest.CaptureFixture[str]
) -> None:
    server.answers = [500]
    watch.tick("ooda_failures")
    run_id = watch.run()
    watch.due(minutes=-20)
    watch.tick("ooda_failures")
    said = watch.said()
    with watch.ooda.ledger.engine.connect() as connection:
        rows = connection.exec_driver_sql("select row_to_json(a)::text from ooda.alert a").scalars().all()
    events = str(list(watch.instance.all_logs(run_id)))
    assert rows
    logged = "".join(capfd.readouterr())
    assert "not told: " in logged
    for text in (logged, said, events, *rows, *filter(None, watch.cursors.values())):
        assert SECRET not in text
    assert SECRET in server.paths[0]
