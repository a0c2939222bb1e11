"""Does an alarm start one cycle early - not two, and not too soon?"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import dagster as dg
import pandas as pd

from ooda_dagster.core.plan_settings import Regressions
from ooda_dagster.defs.schedules import ooda_adaptive_delay
from ooda_dagster.loop.group_changes import find_group_changes
from ooda_dagster_tests.core.request_minutes import END, minutes
from ooda_dagster_tests.defs.ground import NAME
from ooda_dagster_tests.defs.ticks import Ticks
from ooda_dagster_tests.loop.told_days import Rate, always, since, tell_days


def test_quiet_data_leaves_the_timer_alone(ticks: Ticks) -> None:
    ticks.usual()
    due = ticks.timer
    ticks.done(1001, 1002, ms=300)
    assert ticks.tick() == []
    assert ticks.timer == due


def test_an_alarm_pulls_the_timer_to_now_and_starts_one_run(ticks: Ticks) -> None:
    ticks.usual()
    ticks.done(1001, 1002, 1003, ms=30_000)
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
    ticks.done(1001, 1002, 1003, ms=30_000)
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
    ticks.done(1001, 1002, 1003, ms=30_000)
    assert ticks.tick() == []
    assert re.search(r"an early cycle waits, as a cycle began [6-9]\d s ago", ticks.said)
    assert ticks.timer == due
    ticks.set(alarm_floor_s=30)
    assert len(ticks.tick()) == 1


def test_an_alarm_never_starts_a_cycle_beside_one_that_runs(ticks: Ticks) -> None:
    ticks.usual()
    ticks.set(alarm_floor_s=0)
    ticks.began(600, "running")
    due = ticks.timer
    ticks.done(1001, 1002, 1003, ms=30_000)
    assert ticks.tick() == []
    assert "an early cycle waits, as a cycle runs" in ticks.said
    assert not ticks.ledger.cycles.pull_forward(NAME, datetime.now(UTC), "now!")
    assert ticks.timer == due


def test_an_alarm_that_a_cycle_began_after_is_old_news(ticks: Ticks) -> None:
    ticks.usual()
    ticks.set(alarm_floor_s=0)
    ticks.done(1001, 1002, 1003, ms=30_000)
    assert len(ticks.tick()) == 1
    ticks.began(0)
    ticks.later()
    assert ticks.tick() == []


def test_one_slow_request_starts_nothing(ticks: Ticks) -> None:
    ticks.usual()
    due = ticks.timer
    ticks.done(1001, ms=30_000)
    assert ticks.tick() == []
    assert ticks.timer == due


def test_a_group_that_became_slower_as_a_whole_starts_one_cycle(ticks: Ticks) -> None:
    """Nothing stands out by itself; the ledger's sums per minute tell."""
    ticks.usual()
    rows = minutes(6, 3, 1, ratio=1.5)
    rows["minute"] += pd.Timestamp(datetime.now(UTC)).floor("min") - END
    rolled_up = rows.assign(failed=0, sum_ms=0.0, sum_ms_sq=0.0, max_ms=0.0, tokens=0.0, target=NAME)
    with ticks.ledger.engine.begin() as conn:
        rolled_up.to_sql("request_rollup", conn, schema="ooda", if_exists="append", index=False)
    ticks.watch_anew()
    (request,) = ticks.tick()
    assert request.tags["ooda/trigger"] == "alarm"
    (change,) = find_group_changes(ticks.ooda.loop(NAME), now=datetime.now(UTC))
    assert (change.model_id, change.operation, change.state) == ("m0", "o", "open")
    assert change.ratio_low < 1.5 < change.ratio_high
    ticks.run(request)
    assert ticks.tick() == []


def slowed(ticks: Ticks) -> None:
    """A day of statements by the usual settings, one of them slower since 25 minutes; the last cycle began before."""
    assert ticks.tick() == []
    ticks.set("regressions", **Regressions().model_dump())
    ticks.began(2 * 3600)
    ticks.later()
    courses = {"victim": since(1500, Rate(ms=400)), **{f"other{n}": always for n in range(5)}}
    tell_days(ticks.ledger, NAME, courses, datetime.now(UTC))


def test_a_statement_that_became_slower_starts_one_cycle(ticks: Ticks) -> None:
    """Where there are no requests too: pg_stat_statements alone tells."""
    slowed(ticks)
    ticks.set(enabled=False)
    (request,) = ticks.tick()
    assert request.tags["ooda/trigger"] == "alarm"
    assert ticks.ledger.cycles.queue([NAME])[0].reason.startswith("statement victim: a call takes 8")
    ticks.run(request)
    ticks.later()
    assert len(ticks.tick()) == 1, "told until a cycle began"
    ticks.began(0)
    ticks.later()
    assert ticks.tick() == []


def test_no_statement_starts_a_cycle_where_that_is_switched_off_or_one_comes_anyhow(ticks: Ticks) -> None:
    slowed(ticks)
    soon = datetime.now(UTC) + timedelta(minutes=3)
    ticks.ledger.cycles.request(NAME, soon, "nothing changed")
    assert ticks.tick() == []
    ticks.later()
    ticks.set("regressions", alarm=False)
    assert ticks.tick() == []
    ticks.set("regressions", alarm=True)
    assert len(ticks.tick()) == 1
