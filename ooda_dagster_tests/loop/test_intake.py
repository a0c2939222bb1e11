"""Is each completed inference request counted once - late, out of order, changed again, or after a crash?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from ooda_dagster.ledger import requests as book
from ooda_dagster.loop.context import utc_now
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.loop.requests import Service


def test_what_is_complete_is_counted_once_and_what_is_pending_later(service: Service) -> None:
    service.done(1, 2, 3)
    service.run("insert into inference_requests (inference_id) values (4), (5)")
    assert [service.rows(), service.rows()] == [3, 0]
    service.complete(4)
    assert [service.rows(), service.rows()] == [1, 0]
    assert service.rolled_up == 4
    assert [b[:3] for b in service.batches] == [(3, 1, 3), (1, 4, 4)]


def test_a_row_that_is_changed_after_its_completion_is_not_counted_again(service: Service) -> None:
    service.done(1, 2, 3)
    assert service.rows() == 3
    service.run("update inference_requests set user_rating = 5")
    service.run("delete from inference_requests where inference_id = 2")
    assert service.rows() == 0


def test_a_transaction_that_began_first_and_commits_last_is_not_lost(service: Service) -> None:
    with service.transaction() as late:
        late.execute("insert into inference_requests (inference_id, total_duration_ms, status) values (1, 9, 'ok')")
        service.done(2, 3)
        assert service.rows() == 2
        late.commit()
    assert [service.rows(), service.rows()] == [1, 0]


def test_rows_of_a_savepoint_are_seen_when_its_transaction_commits(service: Service) -> None:
    with service.transaction() as late:
        late.execute("select 1")  # so that what follows are savepoints
        for n in range(1, 6):
            with late.transaction():
                late.execute(
                    "insert into inference_requests (inference_id, total_duration_ms, status) values (%s, 9, 'ok')",
                    (n,),
                )
            service.done(100 + n)
            assert service.rows() == 1
        late.commit()
    assert [service.rows(), service.rows()] == [5, 0]


def test_ids_that_come_in_reverse_are_all_counted(service: Service) -> None:
    for n in range(20, 0, -1):
        service.done(n)
        assert service.rows() == 1
    assert service.rolled_up == 20


def test_a_read_is_bounded_and_the_rest_is_read_the_next_time(service: Service) -> None:
    service.set(max_rows=40)
    service.done(*range(1, 101))
    taken = [service.read() for _ in range(4)]
    assert [(t.rows, t.behind) for t in taken] == [(40, True), (40, True), (20, False), (0, False)]


def test_a_catch_up_that_takes_longer_than_rows_may_be_late_loses_none(service: Service) -> None:
    service.set(max_rows=10, late_s=60)
    service.done(*range(1, 101))
    began, taken = utc_now(), []
    for n in range(12):
        service.at(began + timedelta(seconds=40 * n))
        taken.append(service.rows())
    assert taken == [10] * 10 + [0, 0]


def test_the_first_read_begins_at_the_lookback(service: Service) -> None:
    service.done(*range(1, 1001), ago="3 days")
    service.run("delete from inference_requests where inference_id % 7 = 0")
    service.done(*range(2001, 2011), ago="10 minutes")
    assert [service.rows(), service.rows()] == [10, 0]


def test_a_window_whose_sums_are_dropped_in_part_is_not_known_whole(service: Service) -> None:
    service.set(keep_d=1)
    service.done(1)
    assert service.rows() == 1
    book, name, began = service.loop.ledger.requests, service.loop.name, utc_now()
    later = began + timedelta(hours=50)
    assert book.totals(name, began - timedelta(hours=1), began) == (1, 200)
    service.at(later)
    assert service.rows() == 0
    assert book.totals(name, began - timedelta(hours=1), later) is None
    assert book.totals(name, later - timedelta(hours=23), later) == (0, None)


def test_a_row_is_looked_for_until_it_is_too_late(service: Service) -> None:
    service.set(late_s=3600)
    service.run("insert into inference_requests (inference_id) values (1), (2)")
    began = utc_now()
    for minutes in (0, 10, 59):
        service.at(began + timedelta(minutes=minutes))
        assert service.rows() == 0
    service.complete(1)
    assert service.rows() == 1
    service.at(began + timedelta(minutes=61))
    assert service.rows() == 0
    service.complete(2)
    assert service.rows() == 0


def test_what_is_remembered_stays_small_on_a_busy_table(service: Service) -> None:
    service.set(late_s=600)
    began = utc_now()
    for n in range(40):
        service.at(began + timedelta(minutes=n))
        service.done(*range(n * 10 + 1, n * 10 + 11))
        assert service.rows() == 10
    progress = service.loop.ledger.requests.progress(service.loop.name)
    assert progress is not None
    assert progress.mark is not None
    assert 270 <= progress.mark <= 300
    assert len(progress.marks) <= 13
    assert service.loop.ledger.requests.seen(service.loop.name) == f"{{[{progress.mark + 1},401)}}"


def test_ids_with_holes_are_forgotten_by_name_where_there_are_too_many(service: Service) -> None:
    service.set(max_remembered=1000)
    service.done(*range(1, 4001, 2))
    taken = service.read()
    assert taken.rows == 2000
    assert "requests.max_remembered" in taken.notes[0]
    service.done(*range(2, 4001, 2))
    assert 0 < service.rows() <= 1000
    service.done(*range(5001, 5101, 2))
    assert service.rows() == 50


def test_bad_rows_are_counted_by_reason_and_stop_nobody(service: Service) -> None:
    service.run("alter table inference_requests alter request_timestamp drop not null")
    service.run("alter table inference_requests alter status drop not null")
    service.run("alter table inference_requests alter total_duration_ms type float8")
    service.done(1, 2)
    service.done(3, ms=-5)
    service.done(4, status="bizarre")
    service.done(5, ago="-1 hour")
    service.run(
        "insert into inference_requests values (6, null, 5, 'ok'), (7, now(), 'nan', 'ok'), (8, now(), 5, null)"
    )
    service.run("insert into inference_requests values (9, 'infinity', 5, 'ok'), (10, '-infinity', 5, 'ok')")
    service.run(f"insert into inference_requests values ({2**63 - 1}, now(), 5, 'ok'), ({2**63 - 2}, now(), 5, 'ok')")
    taken = service.read()
    assert taken.error is None
    assert taken.rows == 3
    assert dict(taken.rejected) == {
        "no time of the request": 3,
        "requested in the future": 1,
        "negative duration": 1,
        "no usable duration": 1,
        "unknown status": 2,
    }
    assert service.rows() == 0


def test_failures_zeros_tokens_and_sums_are_as_the_table_says(service: Service) -> None:
    service.done(1, 2, ms=100)
    service.done(3, ms=0)
    service.done(4, ms=400, status="FAILED")
    assert service.rows() == 4
    columns = "sum(n), sum(n_zero), sum(failed), sum(sum_ms), max(max_ms), sum(tokens), sum(sum_ms_sq)"
    (found,) = ask(
        service.loop.ledger, f"select {columns} from ooda.request_rollup where target = '{service.loop.name}'"
    )
    assert tuple(map(float, found)) == (4, 1, 1, 600, 400, 40, 180_000)


def test_latency_over_time_is_a_geometric_mean_with_the_slowest(service: Service) -> None:
    service.done(1, ms=100, ago="40 min")
    service.done(2, ms=400, ago="40 min")
    service.done(3, ms=0, ago="40 min")
    service.done(4, ms=7, ago="5 min", model=2)
    assert service.rows() == 4
    now = service.loop.clock()
    found = service.loop.ledger.requests.latency(service.loop.name, now - timedelta(hours=24), now, points=96)
    assert [(p.requests, round(p.typical_ms, 6), p.max_ms) for p in found] == [(3, 200, 400), (1, 7, 7)]
    ago = [(now - p.at).total_seconds() / 60 for p in found]
    assert 40 <= ago[0] <= 56  # stretches of 15 minutes
    assert 5 <= ago[1] <= 21
    whole = service.loop.ledger.requests.latency(service.loop.name, now - timedelta(hours=24), now, points=1)
    assert sum(p.requests for p in whole) == 4
    assert len(whole) <= 2


def test_a_mapping_of_too_many_groups_is_folded(service: Service) -> None:
    service.set(model="inference_id", max_groups=5)
    service.done(*range(1, 101))
    assert service.rows() == 100
    groups = ask(service.loop.ledger, f"select model, n from ooda.request_rollup where target = '{service.loop.name}'")
    assert len(groups) == 6
    assert ("(others)", 95) in groups


def test_a_crash_before_the_commit_consumes_nothing_and_one_after_it_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.done(1, 2, 3)
    with monkeypatch.context() as patched:
        patched.setattr(book, "_add", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            service.read()
    assert service.batches == []
    assert [service.rows(), service.rows()] == [3, 0]
    assert service.rolled_up == 3
