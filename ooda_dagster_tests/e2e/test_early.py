"""Does the running loop come early where it is called, and on time whatever else runs?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest

from ooda_dagster.config.servers import APP_ROLE, target_cluster
from ooda_dagster.core.messages import Observation
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.e2e.cycles import CONFIG, NAME, cycles, ended, make_due, next_cycle
from ooda_dagster_tests.e2e.dev import Dev, started
from ooda_dagster_tests.loop.requests import DDL
from ooda_dagster_tests.support import Database, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

#: Floors that would only make the tests wait.
REQUESTS = "requests = { alarm_floor_s = 1, asked_floor_s = 1 }"


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    """One start for all tests here, in the order of this file."""
    with started(CONFIG + REQUESTS) as made:
        yield made


@pytest.fixture(scope="module")
def database(dev: Dev, ledger: Ledger) -> Database:
    """The target, with a table of requests that hold nothing odd; all of them are consumed."""
    made = Database(target_cluster(dev.home / "ooda"), "inference")
    made.execute(f"grant create on schema public to {APP_ROLE}")
    made.execute(DDL.format(id="bigint"), dsn=made.app)
    made.execute(
        "insert into inference_requests (inference_id, total_duration_ms, status, request_timestamp) "
        "select g, 190 + mod(g, 20), 'completed', now() - (601 - g) * interval '5 s' from generate_series(1, 600) g",
        dsn=made.app,
    )
    wait_until(lambda: consumed(ledger) == 600, timeout_s=180, what="the intake of what is there")
    return made


def consumed(ledger: Ledger) -> int:
    with ledger.engine.connect() as conn:
        return conn.exec_driver_sql("select coalesce(sum(n), 0) from ooda.request_rollup").scalar_one()


def due_later(ledger: Ledger) -> None:
    ledger.cycles.request(NAME, datetime.now(UTC) + timedelta(minutes=50), "a test wants to wait")


def test_slow_inference_requests_pull_the_cycle_forward(dev: Dev, ledger: Ledger, database: Database) -> None:
    due_later(ledger)
    before, asked = cycles(ledger), datetime.now(UTC)
    database.execute(
        "insert into inference_requests (inference_id, total_duration_ms, status) "
        "select g, 60000, 'completed' from generate_series(601, 603) g",
        dsn=database.app,
    )
    cycle = next_cycle(ledger, before)
    assert cycle.trigger == "alarm"
    print(f"slow requests: their cycle began {(cycle.started_at - asked).total_seconds():.0f} s later")
    assert cycle.started_at - asked < timedelta(seconds=120)
    assert ended(ledger, cycle).state == "finished"
    assert consumed(ledger) == 603
    (run,) = dev.runs(ooda__analysis_id=cycle.analysis_id)
    assert run["tags"]["ooda/trigger"] == "alarm"
    reports = dev.ask(
        """{ assetOrError(assetKey: {path: ["target", "inference_requests"]}) { ... on Asset {
        assetMaterializations(limit: 10) { partition metadataEntries { label ... on IntMetadataEntry { intValue } } }
        } } }"""
    )["assetOrError"]["assetMaterializations"]
    rows = [e["intValue"] for r in reports for e in r["metadataEntries"] if e["label"] == "rows"]
    assert sum(rows) == 603
    assert {r["partition"] for r in reports} == {NAME}


def test_quiet_requests_pull_nothing(ledger: Ledger, database: Database) -> None:
    due_later(ledger)
    before = cycles(ledger)
    database.execute(
        "insert into inference_requests (inference_id, total_duration_ms, status) "
        "select g, 190 + mod(g, 20), 'completed' from generate_series(1000, 1100) g",
        dsn=database.app,
    )
    wait_until(lambda: consumed(ledger) == 704, timeout_s=120, what="their intake")
    time.sleep(70)
    assert cycles(ledger) == before


def test_an_analysis_can_be_asked_for_inside_the_database(dev: Dev, ledger: Ledger, database: Database) -> None:
    database.execute((files("ooda_dagster.cli") / "templates" / "requests.sql").read_text())
    database.execute(
        f"grant usage on schema ooda to {APP_ROLE}; "
        f"grant execute on function ooda.request_analysis(double precision) to {APP_ROLE}"
    )
    due_later(ledger)
    before, asked = cycles(ledger), datetime.now(UTC)
    database.execute("select ooda.request_analysis(48)", dsn=database.app)
    # The loop looks every few minutes whether the function is there by now.
    cycle = next_cycle(ledger, before, timeout_s=400)
    assert cycle.trigger == "request"
    assert ended(ledger, cycle).state == "finished"
    seen = ledger.messages.load(Observation, cycle.analysis_id)
    assert seen is not None
    assert seen.lookback_hours == 48
    print(f"the first request: its cycle began {(cycle.started_at - asked).total_seconds():.0f} s later")

    due_later(ledger)
    before, asked = cycles(ledger), datetime.now(UTC)
    database.execute("select ooda.request_analysis(12)", dsn=database.app)
    again = next_cycle(ledger, before)
    took_s = (again.started_at - asked).total_seconds()
    print(f"the second one: {took_s:.0f} s later")
    assert took_s < 60
    assert ended(ledger, again).state == "finished"


def test_a_due_cycle_starts_within_a_minute_during_a_backfill_of_a_month(dev: Dev, ledger: Ledger) -> None:
    today = datetime.now(UTC).date()
    days = [(today - timedelta(days=n)).isoformat() for n in range(1, 31)]
    backfill = dev.backfill("ooda/workload_days", days)

    def of_backfill(*states: str) -> int:
        return sum(r["status"] in states for r in dev.runs(dagster__backfill=backfill))

    wait_until(lambda: of_backfill("SUCCESS") >= 1, timeout_s=200, what="the backfill's first day")
    before = cycles(ledger)
    due = make_due(ledger)
    cycle = next_cycle(ledger, before)
    late_s = (cycle.started_at - due).total_seconds()
    print(f"a due cycle during a backfill of 30 days: {late_s:.0f} s late, {of_backfill('SUCCESS')} days were done")
    assert late_s < 60
    assert of_backfill("QUEUED", "NOT_STARTED", "STARTED", "STARTING") > 0
    assert ended(ledger, cycle).state == "finished"
    wait_until(lambda: of_backfill("SUCCESS", "FAILURE") == 30, timeout_s=600, what="the end of the backfill")
    assert of_backfill("SUCCESS") == 30
    kept = ledger.workload_days.list(today - timedelta(days=30), today, [NAME])
    assert len(kept) == 30
