"""What does reading cost on a large table, and does a real crash or restart lose or double anything?"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger import requests as book
from ooda_dagster.loop.context import utc_now
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.loop.ground import make_loop
from ooda_dagster_tests.loop.requests import DDL, Service
from ooda_dagster_tests.support import Database, dsn_of
from ooda_dagster_tests.targets.ground import own_cluster


def _scans(service: Service) -> tuple[int, int]:
    """Sequential scans, and rows that were fetched by an index."""
    (row,) = service.database.execute(
        "select pg_stat_force_next_flush(), seq_scan, idx_tup_fetch from pg_stat_user_tables "
        "where relname = 'inference_requests'"
    )
    return row[1], row[2]


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.monotonic()
    result = work()
    return time.monotonic() - began, result


@pytest.mark.slow
def test_a_million_rows_are_read_by_the_index_alone(service: Service) -> None:
    """150 requests a second, so 540,000 within the hour in which a row may be late."""
    service.run(
        "insert into inference_requests (inference_id, total_duration_ms, status, request_timestamp) "
        "select g, 200, 'ok', now() - (1000000 - g) * interval '1 s' / 150 from generate_series(1, 1000000) g"
    )
    service.run("vacuum analyze inference_requests")
    sequential, _ = _scans(service)
    took = []
    while True:
        seconds, taken = _timed(service.read)
        took.append(seconds)
        if not taken.behind:
            break
    assert service.rolled_up == pytest.approx(540_000, rel=0.01)
    _, before = _scans(service)
    idle_s, rows = _timed(service.rows)
    assert rows == 0
    _, after = _scans(service)
    assert after - before < 10
    service.run("insert into inference_requests (inference_id) values (1000001)")
    service.run("update inference_requests set total_duration_ms = null where inference_id = 470000")
    # A gap at the bottom of the hour, so that all of it is looked at.
    name = service.loop.name
    book_s, _ = _timed(lambda: service.loop.ledger.requests.seen(name))
    hole = "update ooda.request_seen set keys = keys - int8multirange(int8range(470000, 470001)) where target = :t"
    ask(service.loop.ledger, hole, t=name)
    gap_s, rows = _timed(service.rows)
    assert rows == 0
    service.complete(470_000)
    assert service.rows() == 1
    assert _scans(service)[0] == sequential
    print(
        f"\nfull reads {max(took):.2f} s each at most; idle {idle_s * 1000:.0f} ms; "
        f"idle over the whole hour {gap_s * 1000:.0f} ms; the keys alone {book_s * 1000:.0f} ms"
    )
    assert idle_s < 1
    assert gap_s < 3


@pytest.mark.slow
def test_many_pending_rows_stay_bounded_and_cheap(service: Service) -> None:
    """One row in twenty never completes."""
    service.run(
        "insert into inference_requests (inference_id, total_duration_ms, status, request_timestamp) "
        "select g, case when g % 20 > 0 then 200 end, 'ok', now() - (500000 - g) * interval '1 s' / 150 "
        "from generate_series(1, 500000) g"
    )
    service.run("vacuum analyze inference_requests")
    while service.read().behind:
        pass
    assert service.rolled_up == 475_000
    idle_s, rows = _timed(service.rows)
    assert rows == 0
    print(f"\nidle with 25,000 rows pending within the hour: {idle_s * 1000:.0f} ms")
    assert idle_s < 3
    service.at(utc_now() + timedelta(hours=2))
    assert service.rows() == 0
    service.at(utc_now() + timedelta(hours=3, minutes=1))
    assert service.rows() == 0
    assert len(service.loop.ledger.requests.seen(service.loop.name)) < 10


@pytest.mark.parametrize("after_the_commit", [False, True])
def test_a_reader_that_is_killed_consumes_all_or_nothing(service: Service, after_the_commit: bool) -> None:
    service.done(1, 2, 3)
    pid = os.fork()
    if pid == 0:
        try:
            ledger = Ledger(dsn_of(service.loop.ledger))
            mine = Service(service.database, replace(service.loop, ledger=ledger))
            if not after_the_commit:
                book._add = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            mine.read()
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert service.rolled_up == (3 if after_the_commit else 0)
    assert service.rows() == (0 if after_the_commit else 3)
    assert service.rolled_up == 3
    assert len(service.batches) == 1


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_loses_and_doubles_nothing(books: Ledger, home: Path) -> None:
    with own_cluster("restarted", settings={"fsync": "on", "full_page_writes": "on"}) as cluster:
        database = Database(cluster, "served")
        cluster.create_database(database.name)
        database = _AsSuperuser(cluster, database.name)
        database.execute(DDL.format(id="bigint generated always as identity"))
        service = Service(database, make_loop(database, books, home))
        insert = "insert into inference_requests (total_duration_ms, status) select 5, 'ok' from generate_series(1, 10)"
        service.run(insert)
        assert service.rows() == 10
        service.run("checkpoint")
        cluster.kill()
        assert service.read().error is not None
        cluster.start()
        assert service.rows() == 0
        service.run(insert)  # its ids begin behind a gap
        assert [service.rows(), service.rows()] == [10, 0]
        assert service.rolled_up == 20


class _AsSuperuser(Database):
    """A database of a server that has no roles but its own."""

    @property
    def app(self) -> str:
        return self.superuser

    @property
    def observe(self) -> str:
        return self.superuser
