"""Does the loop keep its word with the real daemon and webserver: whatever is killed, canceled, deleted or poisoned?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from ooda_dagster.core.messages import Analyze
from ooda_dagster.ledger import Cycle, Ledger
from ooda_dagster_tests.e2e.cycles import CONFIG, NAME, ask, cycles, due_key, ended, make_due, next_cycle
from ooda_dagster_tests.e2e.dev import Dev, started
from ooda_dagster_tests.support import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

#: Two tries of a run, and the next run in the next minute: five attempts in minutes instead of an hour.
MESSAGES = "messages = { resume_s = 1, retry_s = 1 }"


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    """One start for all tests here, in the order of this file."""
    with started(CONFIG + MESSAGES) as made:
        yield made


@contextmanager
def held(ledger: Ledger, phase: str) -> Iterator[tuple[datetime, Cycle]]:
    """A due time and its cycle, whose run waits for a long time where it stores the output of a phase."""
    before = cycles(ledger)
    ask(
        ledger,
        "create function ooda.hold() returns trigger language plpgsql as "
        "'begin perform pg_sleep(600); return new; end'",
        f"create trigger hold before insert on ooda.message for each row when (new.phase = '{phase}') "
        "execute function ooda.hold()",
    )
    try:
        due = make_due(ledger)
        cycle = next_cycle(ledger, before)
        wait_until(lambda: waits(ledger), timeout_s=60, what=f"the run at the end of {phase}")
        yield due, cycle
    finally:
        let_go(ledger)
        ask(ledger, "drop function if exists ooda.hold() cascade")


def let_go(ledger: Ledger) -> None:
    ask(ledger, "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'")


def waits(ledger: Ledger) -> bool:
    with ledger.engine.connect() as conn:
        query = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
        return conn.exec_driver_sql(query).scalar_one() > 0


def worker(ledger: Ledger, cycle: Cycle) -> psutil.Process:
    """The process of a cycle's run."""
    with ledger.engine.connect() as conn:
        query = "select pid from ooda.cycle where analysis_id = %s"
        return psutil.Process(conn.exec_driver_sql(query, (cycle.analysis_id,)).scalar_one())


def stored(ledger: Ledger, cycle: Cycle) -> dict[str, int]:
    """How often each phase's output is stored."""
    with ledger.engine.connect() as conn:
        query = "select phase, count(*) from ooda.message where analysis_id = %s group by phase"
        return {row[0]: row[1] for row in conn.exec_driver_sql(query, (cycle.analysis_id,))}


def test_a_run_killed_between_phases_is_gone_on_with(dev: Dev, ledger: Ledger) -> None:
    before = cycles(ledger)
    with held(ledger, "decide") as (due, cycle):
        worker(ledger, cycle).kill()
    after = ended(ledger, cycle, timeout_s=400)
    assert (after.analysis_id, after.state) == (cycle.analysis_id, "finished")
    assert set(stored(ledger, cycle).values()) == {1}
    assert len(cycles(ledger)) == len(before) + 1
    assert len(dev.families(due_key(due))) == 1
    assert len(dev.runs(ooda__analysis_id=cycle.analysis_id)) > 1, "the run that went on with it carries its id too"


def test_a_run_that_a_person_cancels_is_over_and_its_due_time_with_it(dev: Dev, ledger: Ledger) -> None:
    with held(ledger, "hypothesize") as (due, cycle):
        (run,) = dev.runs(ooda__analysis_id=cycle.analysis_id)
        dev.cancel(run["id"])
        let_go(ledger)
        wait_until(lambda: dev.status(run["id"]) == "CANCELED", timeout_s=120, what="the end of the run")
        over = ended(ledger, cycle)
    assert (over.state, over.error) == ("failed", "its run was canceled")
    (timer,) = ledger.cycles.queue([NAME])
    assert timer.reason == "cycle ended with an error: its run was canceled"
    assert timedelta(minutes=50) < timer.deliver_at - datetime.now(UTC) <= timedelta(minutes=61)
    assert len(dev.families(due_key(due))) == 1


def test_a_run_that_was_deleted_is_not_run_again_and_quiet_minutes_start_none(dev: Dev, ledger: Ledger) -> None:
    before = cycles(ledger)
    make_due(ledger)
    cycle = ended(ledger, next_cycle(ledger, before))
    (run,) = dev.runs(ooda__analysis_id=cycle.analysis_id)
    wait_until(lambda: dev.status(run["id"]) == "SUCCESS", timeout_s=60, what="the end of the run")
    dev.delete(run["id"])
    left = {r["id"] for r in dev.runs()}
    time.sleep(150)  # two ticks of the schedule at least
    assert {r["id"] for r in dev.runs()} == left
    assert len(cycles(ledger)) == len(before) + 1


def test_a_poisoned_message_ends_in_the_dead_letters_and_the_loop_goes_on(dev: Dev, ledger: Ledger) -> None:
    before = cycles(ledger)
    make_due(ledger)
    ask(ledger, "alter table ooda.sampled_text rename to poisoned")
    try:
        cycle = next_cycle(ledger, before)
        over = ended(ledger, cycle, timeout_s=500)
    finally:
        ask(ledger, "alter table ooda.poisoned rename to sampled_text")
    assert over.state == "failed"
    (letter,) = ledger.queues.dead_letters(NAME)
    assert (letter["analysis_id"], letter["phase"], letter["attempts"]) == (cycle.analysis_id, Analyze.phase, 5)
    assert "sampled_text" in letter["error"]
    assert len(dev.runs(ooda__analysis_id=cycle.analysis_id)) == 3  # two attempts, two, and the last
    (timer,) = ledger.cycles.queue([NAME])
    assert "dead after 5 attempts" in timer.reason
    assert timer.deliver_at > datetime.now(UTC) + timedelta(minutes=50)

    known = cycles(ledger)
    make_due(ledger)
    after = ended(ledger, next_cycle(ledger, known))
    assert after.state == "finished"


def test_no_schedule_and_no_sensor_of_ours_failed_meanwhile(dev: Dev, ledger: Ledger) -> None:
    """The ledger's table was taken away for the test of poison: sampling alone may have missed it."""
    (repository,) = dev.ask(_REPOSITORIES)["repositoriesOrError"]["nodes"]
    names = {"repositoryName": repository["name"], "repositoryLocationName": repository["location"]["name"]}
    answer = dev.ask(_TICKS, repository=names)
    ticks = {s["name"]: s["scheduleState"]["ticks"] for s in answer["schedulesOrError"]["results"]}
    ticks |= {s["name"]: s["sensorState"]["ticks"] for s in answer["sensorsOrError"]["results"]}
    assert {"ooda_adaptive_delay", "ooda_due_looks", "ooda_sample_statements", "ooda_requests"} <= ticks.keys()
    assert all(ticks[name] for name in ("ooda_adaptive_delay", "ooda_alerts"))
    failed = {name: t["error"] for name, of in ticks.items() for t in of if t["status"] == "FAILURE"}
    assert {name for name in failed if name != "ooda_sample_statements"} == set()


_REPOSITORIES = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
_TICKS = """query ($repository: RepositorySelector!) {
    schedulesOrError(repositorySelector: $repository) { ... on Schedules {
        results { name scheduleState { ticks(limit: 40) { status error { message } } } } } }
    sensorsOrError(repositorySelector: $repository) { ... on Sensors {
        results { name sensorState { ticks(limit: 40) { status error { message } } } } } } }"""
