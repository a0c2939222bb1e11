"""Everything that is wrong with requests, in one table: is each counted under its reason, and does the cycle go on?"""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from ooda_dagster.core import requests as core
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.observe import observe
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.loop.ground import begun, make_loop, turn
from ooda_dagster_tests.loop.requests import DDL, Make, Service
from ooda_dagster_tests.support import Database

_BAD = """
alter table inference_requests drop constraint inference_requests_pkey;
create index on inference_requests (inference_id);
alter table inference_requests alter total_duration_ms type float8, alter model_id type text,
    alter status drop not null, alter request_timestamp drop not null, alter input_tokens type float8,
    alter input_tokens drop not null;
insert into inference_requests (inference_id, total_duration_ms, status, request_timestamp, model_id, input_tokens)
select g, 200, 'completed', now() - interval '1 minute', 'same', 10 from generate_series(1, 300) g;
insert into inference_requests (inference_id, total_duration_ms, status, request_timestamp, model_id, input_tokens)
select 1000 + g, 50 + g % 100, 'ok', now() - interval '2 minutes', 'model ' || g, 10 from generate_series(1, 10000) g;
insert into inference_requests (inference_id, total_duration_ms, status, request_timestamp, input_tokens) values
    (20001, null, 'completed', now(), 1), (20002, null, 'pending', now(), 1),
    (20003, -5, 'ok', now(), 1), (20004, '-infinity', 'ok', now(), 1),
    (20005, 'nan', 'ok', now(), 1), (20006, 'infinity', 'ok', now(), 1), (20007, 1e300, 'ok', now(), 1),
    (20008, 5, 'ok', now() + interval '1 day', 1), (20009, 5, 'ok', 'infinity', 1), (20010, 5, 'ok', null, 1),
    (20011, 5, 'ok', now() + interval '4 minutes', 1),
    (20012, 5, 'bizarre', now(), 1), (20013, 5, null, now(), 1), (20014, 5, '', now(), 1),
    (20015, 5, 'ok', now(), 'nan'), (20016, 5, 'ok', now(), -7), (20017, 5, 'ok', now(), null),
    (20018, 0, 'ok', now(), 1),
    (20019, 5, 'ok', now(), 1), (20019, 5, 'ok', now(), 1), (20019, 6, 'ok', now(), 1);
"""


def test_each_is_counted_under_its_reason_and_the_whole_turn_goes_on(service: Service) -> None:
    service.run(_BAD)
    service.run("analyze inference_requests")
    ran = turn(service.loop)
    seen = ran.observation
    assert seen.irregular == {
        core.PENDING: 2,
        core.NEGATIVE: 2,
        core.NO_DURATION: 3,
        core.FUTURE: 1,
        core.NO_TIME: 2,
        core.UNKNOWN: 3,
        core.TWICE: 2,
        core.FOLDED: 9502,
    }
    # 300 alike, 10,000 of a model each, and five of the others; the one ahead of the clock is of a later window.
    assert seen.total_inferences == 10_305
    assert seen.models[0].model_id == core.OTHERS
    assert (seen.models[1].model_id, seen.models[1].requests) == ("same", 300)
    assert seen.models[1].avg_duration_ms == 200
    assert seen.detection is not None
    whys = {spot.why for spot in seen.blind_spots if spot.what.endswith("inference requests")}
    assert whys == set(seen.irregular) - {core.PENDING}
    assert json.loads(json.dumps(seen.body()))["irregular"] == seen.irregular
    assert ran.delta.next_due_at is not None
    assert service.rows() == 0
    groups = ask(service.loop.ledger, "select count(*) from ooda.request_rollup where target = :t", t=service.loop.name)
    assert groups[0][0] < 600


def test_what_the_sensor_read_before_the_cycle_is_in_its_observation_too(service: Service) -> None:
    service.done(1, 2, ms=-5)
    assert service.rows() == 0
    service.done(3, ms=-5)
    assert observe(service.loop, begun(service.loop)).irregular == {core.NEGATIVE: 3}


@pytest.mark.parametrize("n", [0, 1])
def test_no_request_and_a_single_one_are_observed(service: Service, n: int) -> None:
    service.done(*range(1, n + 1), ms=70)
    seen = observe(service.loop, begun(service.loop))
    assert (seen.total_inferences, seen.avg_duration_ms) == (n, 70 if n else None)
    assert (seen.irregular, seen.anomaly_count) == ({}, None)


def test_durations_that_are_all_equal_are_no_anomalies(service: Service) -> None:
    service.done(*range(1, 401), ms=70)
    seen = observe(service.loop, begun(service.loop))
    assert (seen.total_inferences, seen.avg_duration_ms, seen.anomalies) == (400, 70, [])


def test_text_that_is_no_utf8_is_told_with_a_mark_and_counted(
    target_server: Cluster, books: Ledger, home: Path
) -> None:
    database = Database(target_server, "test_raw_requests")
    made = f"create database {database.name} encoding 'SQL_ASCII' template template0 locale_provider libc locale 'C'"
    database.execute(made, dsn=target_server.dsn())
    try:
        database.execute("create extension pg_stat_statements; grant create on schema public to inference_app")
        database.execute(DDL.format(id="bigint"), dsn=database.app)
        service = Service(database, make_loop(database, books, home))
        service.run("alter table inference_requests alter model_id type text")
        service.done(*range(1, 101))
        with psycopg.connect(database.superuser, autocommit=True, client_encoding="SQL_ASCII") as raw:
            for n in (1, 2):
                raw.execute(b"update inference_requests set model_id = '\xff%d' where inference_id = %d" % (n, n))
                raw.execute(b"update inference_requests set model_id = '\xfe' where inference_id = %d" % (n + 2))
        seen = observe(service.loop, begun(service.loop))
        assert seen.total_inferences == 100
        assert {(m.model_id, m.requests) for m in seen.models} == {("1", 96), ("�1", 1), ("�2", 1), ("�", 2)}
        assert seen.detection is not None
        assert seen.detection.requests == 100
    finally:
        database.drop()


def test_a_table_of_uuids_with_bad_times_is_read_too(make: Make) -> None:
    service = make("uuid default gen_random_uuid()")
    service.run("create index on inference_requests (request_timestamp)")
    service.run(
        "insert into inference_requests (request_timestamp, total_duration_ms, status) values (now(), -1, 'ok'), "
        "(now(), 5, 'what'), (now(), 5, 'ok'), ('infinity', 5, 'ok'), (now() + interval '4 minutes', 5, 'ok')"
    )
    seen = observe(service.loop, begun(service.loop))
    assert seen.total_inferences == 1  # and one ahead of the clock, of a later window
    assert service.rolled_up == 2
    assert seen.irregular == {core.NEGATIVE: 1, core.UNKNOWN: 1}
