"""A request that is pending, completed later or never, or committed late: is it counted once, with its duration?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from ooda_dagster.core.requests import PENDING
from ooda_dagster.loop.context import utc_now
from ooda_dagster.loop.observe import observe
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.loop.ground import begun
from ooda_dagster_tests.loop.requests import Make, Service


def sums(service: Service) -> tuple[float, ...]:
    """Requests, failures, milliseconds and the longest, as they are kept."""
    columns = "coalesce(sum(n), 0), coalesce(sum(failed), 0), coalesce(sum(sum_ms), 0), coalesce(max(max_ms), 0)"
    (row,) = ask(
        service.loop.ledger, f"select {columns} from ooda.request_rollup where target = :t", t=service.loop.name
    )
    return tuple(map(float, row))


@pytest.fixture(params=["bigint", "uuid default gen_random_uuid()"], ids=["ids", "uuids"])
def any_service(request: pytest.FixtureRequest, make: Make) -> Service:
    """A table that is bounded by its ids, and one that is by the time of the request."""
    service = make(request.param)
    service.run("alter table inference_requests add number int")
    service.run("create index on inference_requests (request_timestamp)")
    return service


def insert(n: int, service: Service, *, ms: int | None, ago: str = "0 s") -> str:
    key = "inference_id, " if "bigint" in _kind(service) else ""
    value = f"{n}, " if key else ""
    done = "null, 'pending'" if ms is None else f"{ms}, 'completed'"
    return (
        f"insert into inference_requests ({key}number, total_duration_ms, status, request_timestamp) "
        f"values ({value}{n}, {done}, now() - interval '{ago}')"
    )


def _kind(service: Service) -> str:
    (row,) = service.run(
        "select pg_typeof(inference_id)::text from (select null::inference_requests as r) n, lateral (select (n.r).*) c"
    )
    return row[0]


def complete(n: int, service: Service, ms: int) -> None:
    text = "update inference_requests set total_duration_ms = %s, status = 'completed' where number = %s"
    service.run(text, ms, n)


def test_one_that_is_pending_is_counted_when_it_completes_within_the_hour(any_service: Service) -> None:
    service = any_service
    service.run(insert(1, service, ms=100))
    service.run(insert(2, service, ms=None))
    service.run(insert(3, service, ms=None))
    began = utc_now()
    assert [service.rows(), service.rows()] == [1, 0]
    assert sums(service) == (1, 0, 100, 100)
    service.at(began + timedelta(minutes=59))
    complete(2, service, 59 * 60_000)
    assert [service.rows(), service.rows()] == [1, 0]
    assert sums(service) == (2, 0, 59 * 60_000 + 100, 59 * 60_000)
    complete(2, service, 5)  # a correction is no other request
    for minutes in (70, 150, 300):
        service.at(began + timedelta(minutes=minutes))
        assert service.rows() == 0
    complete(3, service, 7)
    assert service.rows() == 0  # later than requests.late_s
    assert sums(service) == (2, 0, 59 * 60_000 + 100, 59 * 60_000)


def test_one_that_completes_after_longer_is_counted_where_the_setting_waits_for_it(any_service: Service) -> None:
    service = any_service
    service.set(late_s=3 * 3600)
    service.run(insert(1, service, ms=None))
    began = utc_now()
    assert service.rows() == 0
    service.at(began + timedelta(minutes=61))
    complete(1, service, 61 * 60_000)
    assert [service.rows(), service.rows()] == [1, 0]
    assert sums(service) == (1, 0, 61 * 60_000, 61 * 60_000)


def test_a_transaction_that_commits_late_is_counted_once_with_its_durations(any_service: Service) -> None:
    service = any_service
    with service.transaction() as late:
        for n in (1, 2):
            late.execute(insert(n, service, ms=1000 * n).encode())
        service.run(insert(3, service, ms=10))
        assert [service.rows(), service.rows()] == [1, 0]
        service.at(utc_now() + timedelta(minutes=40))
        assert service.rows() == 0
        late.commit()
    assert [service.rows(), service.rows()] == [2, 0]
    assert sums(service) == (3, 0, 3010, 2000)


def test_a_pending_row_of_an_open_transaction_is_counted_though_it_completes_in_another(any_service: Service) -> None:
    service = any_service
    with service.transaction() as late:
        late.execute(insert(1, service, ms=None).encode())
        service.run(insert(2, service, ms=10))
        assert service.rows() == 1
        late.commit()
    assert service.rows() == 0
    complete(1, service, 30)
    assert [service.rows(), service.rows()] == [1, 0]
    assert sums(service) == (2, 0, 40, 30)


def test_the_observation_says_how_many_are_pending(any_service: Service) -> None:
    service = any_service
    for n in range(1, 6):
        service.run(insert(n, service, ms=None if n > 2 else 50, ago="1 minute"))
    seen = observe(service.loop, begun(service.loop))
    assert seen.total_inferences == 2
    assert seen.irregular == {PENDING: 3}
    assert not [spot for spot in seen.blind_spots if "inference" in spot.what]
