"""Does a cycle start once, in the minute in which it is due, and never twice for one due time?"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property

import dagster as dg
import pytest

from ooda_dagster.config import Config, Reference, TargetConfig
from ooda_dagster.core.cadence import Delay, due_at, jitter_of
from ooda_dagster.core.messages import LearningDelta
from ooda_dagster.core.wire import iso
from ooda_dagster.defs.build import build_definitions
from ooda_dagster.defs.partitions import targets
from ooda_dagster.defs.schedules import ooda_adaptive_delay
from ooda_dagster.ledger import Cycle, Ledger
from ooda_dagster.loop.ooda import Ooda
from ooda_dagster_tests.defs.ground import NAME, one, tick, unreachable
from ooda_dagster_tests.ledger.ground import ask

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
Run = dg.DagsterRunStatus


class Clock:
    """The schedule with its ledger, evaluated at a time of our choice."""

    def __init__(self, ooda: Ooda, instance: dg.DagsterInstance) -> None:
        self.ooda, self.instance = ooda, instance

    def tick(self, at: datetime = NOON) -> list[dg.RunRequest] | str:
        return tick(ooda_adaptive_delay, self.ooda, self.instance, at)

    @cached_property
    def repository(self) -> dg.RepositoryDefinition:
        return build_definitions(self.ooda.config).get_repository_def()

    def restart(self) -> None:
        """As a process that has just started: it knows what the ledger and the instance know."""
        self.ooda.ledger.close()
        self.ooda = Ooda(self.ooda.config)

    def due(self, at: datetime) -> None:
        self.ooda.loop(NAME)
        self.ooda.ledger.cycles.request(NAME, at, "a test wants it")

    def run(self, request: dg.RunRequest, status: Run, **tags: str) -> str:
        """The run that the daemon would make of a request, in a state; its id."""
        run = dg.DagsterRun("ooda_cycle", run_id=str(uuid.uuid4()), status=status, tags={**request.tags, **tags})
        self.instance.add_run(run)
        return run.run_id

    def status(self, run_id: str) -> Run:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    @property
    def timer(self) -> tuple[datetime, str]:
        (due,) = self.ooda.ledger.cycles.queue([NAME])
        return due.deliver_at, due.reason


@pytest.fixture
def clock(ledger: Ledger, instance: dg.DagsterInstance) -> Iterator[Clock]:
    made = Clock(Ooda(unreachable(ledger)), instance)
    yield made
    made.ooda.ledger.close()


def test_a_due_target_gets_one_request_that_says_why(clock: Clock) -> None:
    clock.due(NOON)
    request = one(clock.tick())
    assert request.partition_key == NAME
    assert request.tags["ooda/due_at"] == NOON.isoformat()
    assert (request.tags["ooda/target"], request.tags["ooda/trigger"], request.tags["ooda/mode"]) == (
        NAME,
        "schedule",
        "propose",
    )


def test_a_target_is_not_started_before_its_minute(clock: Clock) -> None:
    clock.due(NOON)
    skipped = clock.tick(NOON - timedelta(minutes=1))
    assert skipped == f"next: {NAME} at {iso(NOON)} (a test wants it)"


def test_after_a_long_outage_one_request_is_made_and_no_storm(clock: Clock) -> None:
    clock.due(NOON - timedelta(days=3))
    request = one(clock.tick())
    clock.run(request, Run.STARTED)
    assert isinstance(clock.tick(NOON + timedelta(minutes=1)), str)


@pytest.mark.parametrize("status", [Run.NOT_STARTED, Run.STARTING, Run.STARTED, Run.CANCELING])
def test_a_run_that_waits_or_works_is_not_doubled(clock: Clock, status: Run) -> None:
    clock.due(NOON)
    clock.run(one(clock.tick()), status)
    assert clock.tick(NOON + timedelta(minutes=1)) == f"running or just ended: {NAME}"
    assert clock.timer == (NOON, "a test wants it")


@pytest.mark.parametrize("status", [Run.SUCCESS, Run.FAILURE, Run.CANCELED])
def test_a_run_that_ended_without_moving_its_due_time_is_re_armed(clock: Clock, status: Run) -> None:
    clock.due(NOON)
    clock.run(one(clock.tick()), status)
    later = NOON + timedelta(minutes=5)
    assert isinstance(clock.tick(later), str)
    assert clock.timer == (later + timedelta(minutes=60), f"cycle ended as {status.value}")
    assert one(clock.tick(later + timedelta(minutes=60))).tags["ooda/due_at"] == clock.timer[0].isoformat()


def test_a_skipped_run_is_re_armed_with_what_stood_in_its_way(clock: Clock) -> None:
    clock.due(NOON)
    clock.run(one(clock.tick()), Run.SUCCESS, **{"ooda/skipped": "a cycle of shop runs since noon"})
    clock.tick(NOON + timedelta(minutes=1))
    assert clock.timer[1] == "cycle ended as a cycle of shop runs since noon"


def begun(clock: Clock, run_id: str) -> Cycle:
    """The cycle that the run of noon began."""
    return clock.ooda.ledger.cycles.begin(
        NAME, due_at=NOON, run_id=run_id, trigger="schedule", mode="propose", now=NOON
    )


def test_the_cycle_of_a_run_that_died_waits_for_the_next_run(clock: Clock) -> None:
    clock.due(NOON)
    cycle = begun(clock, clock.run(one(clock.tick()), Run.FAILURE))
    later = NOON + timedelta(minutes=1)
    clock.tick(later)
    (left,) = clock.ooda.ledger.cycles.latest(NAME)
    assert (left.analysis_id, left.state, left.error) == (cycle.analysis_id, "interrupted", "its run ended as FAILURE")
    assert clock.timer[0] == later + timedelta(minutes=5)
    assert "goes on with a cycle that broke off at attempt 1 of 5" in clock.timer[1]
    assert one(clock.tick(clock.timer[0])).tags["ooda/due_at"] == clock.timer[0].isoformat()


def test_the_cycle_of_a_run_that_a_person_canceled_is_over(clock: Clock) -> None:
    clock.due(NOON)
    begun(clock, clock.run(one(clock.tick()), Run.CANCELED))
    clock.tick(NOON + timedelta(minutes=1))
    (left,) = clock.ooda.ledger.cycles.latest(NAME)
    assert (left.state, left.error) == ("failed", "its run was canceled")
    assert clock.timer[0] == NOON + timedelta(minutes=61)


def test_a_run_whose_machine_went_down_is_told_as_failed_and_its_cycle_gone_on_with(clock: Clock) -> None:
    clock.due(NOON)
    run_id = clock.run(one(clock.tick()), Run.STARTED)
    cycle = begun(clock, run_id)
    assert clock.tick(NOON + timedelta(minutes=1)) == f"running or just ended: {NAME}"
    assert clock.status(run_id) == Run.STARTED
    ask(clock.ooda.ledger, "update ooda.cycle set process_started = process_started - 100")
    clock.tick(NOON + timedelta(minutes=2))
    assert clock.status(run_id) == Run.FAILURE
    clock.tick(NOON + timedelta(minutes=3))
    assert clock.timer[0] == NOON + timedelta(minutes=8)
    assert [(c.analysis_id, c.state) for c in clock.ooda.ledger.cycles.latest(NAME)] == [
        (cycle.analysis_id, "interrupted")
    ]


def test_a_run_that_was_deleted_after_it_began_is_not_started_again(clock: Clock) -> None:
    clock.due(NOON)
    run_id = clock.run(one(clock.tick()), Run.STARTED)
    begun(clock, run_id)
    clock.instance.delete_run(run_id)
    assert isinstance(clock.tick(NOON + timedelta(minutes=1)), str)
    assert clock.timer[1] == "cycle ended as running elsewhere"


def test_a_due_time_that_another_dagster_took_is_re_armed(clock: Clock) -> None:
    clock.due(NOON)
    clock.ooda.ledger.cycles.begin(NAME, due_at=NOON, run_id="theirs", trigger="schedule", mode="propose", now=NOON)
    assert isinstance(clock.tick(), str)
    assert clock.timer == (NOON + timedelta(minutes=60), "cycle ended as running elsewhere")
    (cycle,) = clock.ooda.ledger.cycles.latest(NAME)
    assert cycle.state == "running"


def test_a_new_target_is_due_at_once_and_gets_its_partition(clock: Clock) -> None:
    assert one(clock.tick()).partition_key == NAME
    assert clock.instance.get_dynamic_partitions("ooda_targets") == [NAME]


def test_a_new_target_and_its_mode_are_audited(clock: Clock) -> None:
    clock.tick()
    with clock.ooda.ledger.engine.connect() as connection:
        rows = connection.exec_driver_sql("select event, target, detail->>'after' from ooda.audit_event").all()
    assert [tuple(row) for row in rows] == [("mode", NAME, "propose"), ("policy", NAME, None)]


def test_a_partition_that_was_deleted_comes_back_and_fails_no_tick(clock: Clock) -> None:
    clock.due(NOON)
    clock.tick(NOON - timedelta(minutes=1))
    clock.instance.delete_dynamic_partition("ooda_targets", NAME)
    request = one(clock.tick())
    with dg.partition_loading_context(dynamic_partitions_store=clock.instance):
        assert request.partition_key in targets.get_partition_keys(dynamic_partitions_store=clock.instance)


def test_a_target_that_is_not_configured_any_more_is_left_alone(clock: Clock) -> None:
    clock.ooda.ledger.cycles.register("former", kind="postgres", mode="propose", now=NOON - timedelta(days=1))
    clock.due(NOON)
    assert one(clock.tick()).partition_key == NAME


def test_a_target_whose_connection_leads_nowhere_is_named_and_stops_nobody(clock: Clock) -> None:
    gone = TargetConfig("gone", Reference("env", "OODA_TEST_NOT_SET"))
    clock.ooda.config = Config(clock.ooda.config.ledger, {**clock.ooda.config.targets, "gone": gone})
    assert one(clock.tick()).partition_key == NAME
    clock.due(NOON + timedelta(hours=1))
    skipped = clock.tick()
    assert isinstance(skipped, str)
    assert "gone: the environment variable OODA_TEST_NOT_SET is not set" in skipped
    assert f"next: {NAME}" in skipped


def _evaluate(clock: Clock, at: datetime) -> list[str]:
    """Due times of the runs that the daemon's own evaluation of a tick asks for; they are entered as started."""
    context = dg.build_schedule_context(
        instance=clock.instance,
        scheduled_execution_time=at,
        resources={"ooda": clock.ooda},
        repository_def=clock.repository,
    )
    with dg.partition_loading_context(dynamic_partitions_store=clock.instance):
        requests = ooda_adaptive_delay.evaluate_tick(context).run_requests or []
    for request in requests:
        clock.run(request, Run.STARTED)
    return [f"{r.tags['ooda/target']} {r.tags['ooda/due_at']}" for r in requests]


def test_a_due_time_is_honoured_in_its_minute_by_the_daemons_evaluation_and_by_no_other(clock: Clock) -> None:
    due = due_at(NOON, Delay(30, ""), jitter_of("some analysis", 0.1))
    clock.due(due)
    ticks = [NOON + timedelta(minutes=m) for m in range(25, 36)]
    assert {at: found for at in ticks if (found := _evaluate(clock, at))} == {due: [f"{NAME} {due.isoformat()}"]}


def test_after_downtime_each_target_gets_one_run_and_the_next_delay_counts_from_now(clock: Clock) -> None:
    """The daemon was down for two days, and evaluates some of the ticks that it missed, in a process of its own."""
    names = [NAME, "second", "third"]
    target = clock.ooda.config.targets[NAME]
    made = {name: TargetConfig(name, target.observe) for name in names}
    clock.ooda.config = Config(clock.ooda.config.ledger, made)
    for number, name in enumerate(names):
        clock.ooda.loop(name)
        clock.ooda.ledger.cycles.request(name, NOON + timedelta(minutes=number), "nothing changed")
    up = NOON + timedelta(days=2)
    clock.restart()
    found = [name for minute in range(-4, 10) for name in _evaluate(clock, up + timedelta(minutes=minute))]
    assert sorted(f.split()[0] for f in found) == sorted(names)
    run_id = clock.instance.get_runs(limit=10)[-1].run_id
    cycle = clock.ooda.ledger.cycles.begin(
        NAME, due_at=NOON, run_id=run_id, trigger="schedule", mode="propose", now=up + timedelta(seconds=30)
    )
    delta = LearningDelta(
        analysis_id=cycle.analysis_id,
        target=NAME,
        timestamp=up + timedelta(minutes=3),
        next_due_at=due_at(up + timedelta(minutes=3), Delay(30, "")),
        next_due_reason="nothing changed",
        delay_minutes=30,
    )
    clock.ooda.ledger.messages.store(delta, run_id)
    assert clock.timer == (up + timedelta(minutes=33), "nothing changed")
    assert [_evaluate(clock, up + timedelta(minutes=m)) for m in (10, 32)] == [[], []]
    assert _evaluate(clock, up + timedelta(minutes=33)) == [f"{NAME} {(up + timedelta(minutes=33)).isoformat()}"]


def test_the_whole_tick_works_as_the_daemon_evaluates_it(clock: Clock) -> None:
    clock.due(NOON)
    context = dg.build_schedule_context(
        instance=clock.instance,
        scheduled_execution_time=NOON,
        resources={"ooda": clock.ooda},
        repository_def=clock.repository,
    )
    with dg.partition_loading_context(dynamic_partitions_store=clock.instance):
        data = ooda_adaptive_delay.evaluate_tick(context)
    request = one(list(data.run_requests or []))
    assert request.tags["dagster/partition"] == NAME
