"""Is any table read as its owner maps it, never from end to end, and what do a cycle and an alarm make of it?"""

from __future__ import annotations

from typing import Any

import pytest

from ooda_dagster.loop.observe import observe
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.loop.ground import begun
from ooda_dagster_tests.loop.requests import Make, Service


def test_uuids_are_bounded_by_time_and_counted_once(make: Make) -> None:
    service = make("uuid default gen_random_uuid()")
    service.run("create index on inference_requests (request_timestamp)")
    insert = (
        "insert into inference_requests (request_timestamp, total_duration_ms, status) select now() - g * interval "
    )
    service.run(insert + "'1 s', 5, 'ok' from generate_series(1, 500) g")
    service.set(max_rows=200, late_s=60)
    assert [service.rows() for _ in range(4)] == [200, 200, 100, 0]
    with service.transaction() as late:
        late.execute(insert.encode() + b"'25 s', 5, 'ok' from generate_series(1, 3) g")
        service.run(insert + "'1 s', 5, 'ok' from generate_series(1, 3) g")
        assert service.rows() == 3
        late.commit()
    assert [service.rows(), service.rows()] == [2, 0]  # the third, 75 s old, is too late
    service.run("update inference_requests set user_rating = 1")
    assert service.rows() == 0


def test_uuids_are_remembered_within_bounds(make: Make) -> None:
    service = make("uuid default gen_random_uuid()")
    service.set(max_remembered=1000)
    service.run(
        "insert into inference_requests (request_timestamp, total_duration_ms, status) "
        "select now() - g * interval '1 s', 5, 'ok' from generate_series(1, 2000) g"
    )
    taken = service.read()
    assert taken.rows == 2000
    assert "max_remembered" in taken.notes[0]
    assert service.rows() == 0


def test_a_table_of_other_names_is_read_by_the_owner_s_expressions(service: Service) -> None:
    service.run(
        "alter table inference_requests rename to calls; alter table calls rename total_duration_ms to seconds; "
        "alter table calls alter request_timestamp type timestamp"
    )
    try:
        service.set(
            table="public.calls",
            duration_ms="seconds * 1000 -- as they are seconds",
            operation="case when task_type like 'class%' and inference_id % 2 = 1 then 'c' else 'x' end",
            tokens_out="null",
            requested_at="request_timestamp",
        )
        service.run(
            "insert into calls (inference_id, seconds, status, request_timestamp) "
            "values (1, 2, 'ok', now() at time zone 'UTC')"
        )
        assert service.rows() == 1
        columns = "operation, sum_ms"
        found = ask(
            service.loop.ledger, f"select {columns} from ooda.request_rollup where target = '{service.loop.name}'"
        )
        assert found == [("c", 2000)]
    finally:
        service.run("drop table calls")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"model": "no_such_column"}, "no_such_column"),
        ({"requested_at": "inference_id"}, "is no time"),
        ({"model": "1); drop table inference_requests; --"}, "syntax error"),
    ],
)
def test_a_wrong_mapping_is_named_and_changes_nothing(service: Service, setting: dict[str, str], words: str) -> None:
    service.set(**setting)
    service.done(1)
    taken = service.read()
    assert taken.error is not None
    assert words in taken.error
    assert service.run("select count(*) from inference_requests") == [(1,)]


def test_an_expression_cannot_write(service: Service) -> None:
    service.database.execute(
        "create function evil() returns text language sql as 'delete from public.inference_requests; select 1::text'"
    )
    try:
        service.set(model="public.evil()")
        service.done(1)
        taken = service.read()
        assert taken.error is not None
        assert "25006" in taken.error  # read_only_sql_transaction
        assert service.run("select count(*) from inference_requests") == [(1,)]
    finally:
        service.database.execute("drop function evil()")


def test_a_failing_expression_is_told_without_the_value(service: Service) -> None:
    service.run("alter table inference_requests add note text default 's3cret'")
    service.set(tokens_in="note::int")
    service.done(1)
    taken = service.read()
    assert taken.error is not None
    assert "22P02" in taken.error
    assert "s3cret" not in taken.error


def test_no_table_and_a_switched_off_one_are_no_mistakes(service: Service) -> None:
    service.set(enabled=False)
    assert service.read().table is None
    service.set(table="elsewhere.requests")
    assert service.read().table is None


# ---------------------------------------------------------------------- what a cycle sees


def test_a_cycle_reads_by_itself_and_counts_from_the_rollups(service: Service) -> None:
    service.done(*range(1, 11), ms=100)
    service.done(11, ms=0)
    first = observe(service.loop, begun(service.loop))
    assert (first.total_inferences, first.avg_duration_ms) == (11, 100)
    service.run("truncate inference_requests")  # the rollups know still
    service.done(12, ms=100)
    loop = service.loop
    ask(loop.ledger, f"update ooda.cycle set state = 'finished' where target = '{loop.name}'")
    second = observe(loop, begun(loop))
    assert (second.total_inferences, second.avg_duration_ms) == (12, 100)


def test_a_longer_lookback_than_the_rollups_cover_is_counted_in_the_table_by_the_mapping(service: Service) -> None:
    service.set(duration_ms="1000 * total_duration_ms", requested_at="request_timestamp - interval '1 hour'")
    service.done(1, ms=2)
    service.done(2, ms=1, ago="46 hours")
    service.done(3, ms=0)
    service.done(4, ms=None)
    service.done(5, ms=9, ago="48 hours")
    observed = observe(service.loop, begun(service.loop), lookback_hours=48)
    assert (observed.total_inferences, observed.avg_duration_ms) == (3, 1500)


@pytest.mark.parametrize("setting", [{"enabled": False}, {"model": "no_such_column"}])
def test_requests_that_are_not_wanted_or_not_readable_are_not_counted_in_the_table(
    service: Service, setting: dict[str, Any]
) -> None:
    service.done(1)
    service.set(**setting)
    observed = observe(service.loop, begun(service.loop), lookback_hours=48)
    assert observed.total_inferences is None


def test_a_count_that_would_scan_a_large_table_is_a_blind_spot(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.run(
        "insert into inference_requests (inference_id, total_duration_ms, status) "
        "select g, 5, 'ok' from generate_series(1, 30000) g"
    )
    service.run("analyze inference_requests")
    assert service.rows() == 30_000
    monkeypatch.setattr("ooda_dagster.targets.postgres.requests._MAX_SCAN_COST", 500.0)
    observed = observe(service.loop, begun(service.loop), lookback_hours=48)
    assert observed.total_inferences is None
    (why,) = [spot.why for spot in observed.blind_spots if spot.what.startswith("how many inference requests")]
    assert "would scan the whole table" in why


def test_requests_that_are_much_slower_than_their_group_are_an_alarm(service: Service) -> None:
    service.run(
        "insert into inference_requests (inference_id, total_duration_ms, status) "
        "select g, 150 + g % 100, 'ok' from generate_series(1, 500) g"
    )
    assert service.read().alarm == []
    service.done(501, ms=260)
    assert service.read().alarm == []
    service.done(502, 503, ms=9000)
    assert service.read().alarm == []  # two are no burst
    service.done(504, 505, 506, ms=9000)
    (alarm,) = service.read().alarm
    assert alarm.startswith("classify by model 1: 3 requests took up to 9,000 ms, 4")
    service.done(507, 508, 509, ms=9000, ago="40 minutes")
    assert service.read().alarm == []  # old news


# ---------------------------------------------------------------------- cost


def test_a_hundred_thousand_rows_are_read_by_the_index(service: Service) -> None:
    service.run(
        "insert into inference_requests (inference_id, total_duration_ms, status, request_timestamp) "
        "select g, 200, 'ok', now() - (100000 - g) * interval '1 s' from generate_series(1, 100000) g"
    )
    service.run("analyze inference_requests")
    assert 3590 < service.rows() <= 3600
    service.done(100_001)
    assert service.rows() == 1
    plan = service.database.execute("select seq_scan from pg_stat_user_tables where relname = 'inference_requests'")
    assert plan[0][0] <= 1  # that of ANALYZE or of the bulk load


def test_a_scan_of_a_large_table_is_refused_by_name(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ooda_dagster.targets.postgres.requests._MAX_SCAN_COST", 500.0)
    service = make("uuid default gen_random_uuid()")
    service.run(
        "insert into inference_requests (total_duration_ms, status) select 5, 'ok' from generate_series(1, 30000)"
    )
    service.run("analyze inference_requests")
    taken = service.read()
    assert taken.error is not None
    assert "no index leads with requests.requested_at" in taken.error


def test_a_large_table_without_an_index_on_its_ids_is_never_scanned(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ooda_dagster.targets.postgres.requests._MAX_SCAN_COST", 500.0)
    service.run("alter table inference_requests drop constraint inference_requests_pkey")
    service.run(
        "insert into inference_requests (inference_id, total_duration_ms, status) "
        "select g, 5, 'ok' from generate_series(1, 30000) g"
    )
    service.run("analyze inference_requests")
    scans = "select pg_stat_force_next_flush(), seq_scan from pg_stat_user_tables where relname = 'inference_requests'"
    before = service.database.execute(scans)
    taken = service.read()
    assert taken.error is not None
    assert "no index leads with requests.id" in taken.error
    assert service.database.execute(scans) == before
