"""Are days kept once, and are reads of requests handed out at their pace?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta

from ooda_dagster.core.workload_day import WorkloadDay
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.ledger.ground import NOW, ask

DAY = date(2026, 3, 1)
FULL = WorkloadDay("t", DAY, "ledger rollups (hour 24.0 h)", "hour", 24.0, 2, 10, 5.0, 0.5, 0.5, computed_at=NOW)


def test_a_day_comes_back_as_it_was_kept(known: Ledger) -> None:
    whole = replace(FULL, top_statements=[{"fingerprint": "s", "share": 0.5}], decided={"reason": "r"}, notes=["n"])
    assert known.workload_days.store(whole) == whole
    assert list(known.workload_days.list(DAY, DAY)) == [whole]


def test_a_day_is_replaced_but_never_by_no_data(known: Ledger) -> None:
    nothing = WorkloadDay("t", DAY, computed_at=NOW)
    assert known.workload_days.store(nothing) == nothing
    assert known.workload_days.store(FULL) == FULL
    assert known.workload_days.store(replace(FULL, calls=20)).calls == 20
    assert known.workload_days.store(nothing).calls == 20
    assert ask(known, "select count(*) from ooda.workload_day") == [(1,)]


def test_requests_alone_take_the_place_of_no_statements(known: Ledger) -> None:
    nothing = WorkloadDay("t", DAY, computed_at=NOW)
    requests = replace(nothing, source="table calls", requests=7)
    assert [known.workload_days.store(day).source for day in (requests, nothing, FULL, requests, nothing)] == [
        "table calls",
        "table calls",
        FULL.source,
        FULL.source,
        FULL.source,
    ]
    assert known.workload_days.store(replace(FULL, calls=0, source="a quiet day")).source == "a quiet day"


def test_a_day_keeps_its_requests_when_they_are_gone_before_its_statements(known: Ledger) -> None:
    known.workload_days.store(replace(FULL, requests=7, failed=1, avg_ms=3.0))
    again = known.workload_days.store(replace(FULL, calls=20))
    assert (again.calls, again.requests, again.failed, again.avg_ms) == (20, 7, 1, 3.0)


def test_days_are_listed_by_day_and_target_with_both_ends(known: Ledger) -> None:
    for name, back in (("t", 0), ("a", 0), ("t", 1), ("t", 2)):
        known.workload_days.store(replace(FULL, target=name, day=DAY - timedelta(days=back)))
    found = known.workload_days.list(DAY - timedelta(days=1), DAY)
    assert [(d.day, d.target) for d in found] == [(DAY - timedelta(days=1), "t"), (DAY, "a"), (DAY, "t")]
    assert [d.target for d in known.workload_days.list(DAY, DAY, ["a"])] == ["a"]
    known.cycles.forget("a")


def test_a_forgotten_target_leaves_no_day(known: Ledger) -> None:
    known.workload_days.store(FULL)
    known.workload_days.read_slot("t", now=NOW, per_minute=6)
    known.cycles.forget("t")
    assert ask(known, "select (select count(*) from ooda.workload_day), (select count(*) from ooda.request_read)") == [
        (0, 0)
    ]


def test_reads_are_spread_over_the_minute_whoever_asks(known: Ledger) -> None:
    with ThreadPoolExecutor(4) as pool:
        slots = list(pool.map(lambda _: known.workload_days.read_slot("t", now=NOW, per_minute=6), range(12)))
    assert sorted(slots) == [NOW + n * timedelta(seconds=10) for n in range(12)]


def test_a_read_after_a_rest_is_at_once(known: Ledger) -> None:
    known.workload_days.read_slot("t", now=NOW, per_minute=6)
    later = NOW + timedelta(minutes=5)
    assert known.workload_days.read_slot("t", now=later, per_minute=6) == later
    assert known.workload_days.read_slot("t", now=later, per_minute=6) == later + timedelta(seconds=10)


def test_of_a_past_that_left_nothing_nothing_is_known(known: Ledger) -> None:
    assert known.past.calls_per_hour("t", NOW, ["s1"]) is None
    assert known.past.heap_bytes("t", NOW) is None
    assert not known.past.paused("t", NOW)
