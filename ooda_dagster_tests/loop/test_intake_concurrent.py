"""Is each request counted once where many write and read at the same time?"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from ooda_dagster_tests.loop.requests import Service


def test_two_readers_at_once_count_each_row_once(service: Service) -> None:
    service.done(*range(1, 2001))
    taken: list[int] = []
    threads = [threading.Thread(target=lambda: taken.append(service.rows())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == service.rolled_up == 2000


@pytest.mark.slow
def test_many_writers_and_readers_at_once_lose_no_row_and_count_none_twice(service: Service) -> None:
    service.run("create sequence ids cache 20")
    stop = time.monotonic() + 15
    errors: list[BaseException] = []

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with psycopg.connect(service.database.app) as connection:
            mine: list[int] = []
            while time.monotonic() < stop:
                for _ in range(chance.randint(1, 30)):
                    done = chance.random() < 0.4
                    values = (chance.randint(0, 900), "ok") if done else (None, "pending")
                    with connection.transaction(force_rollback=chance.random() < 0.1):
                        row = connection.execute(
                            "insert into inference_requests (inference_id, total_duration_ms, status) "
                            "values (nextval('ids'), %s, %s) returning inference_id",
                            values,
                        ).fetchone()
                    mine += [row[0]] if row else []
                    if mine and chance.random() < 0.7:
                        update = (
                            "update inference_requests set total_duration_ms = 7, status = 'ok' where inference_id = %s"
                        )
                        connection.execute(update, (mine.pop(chance.randrange(len(mine))),))
                if chance.random() < 0.2:
                    time.sleep(chance.random())
                connection.rollback() if chance.random() < 0.1 else connection.commit()

    def read(seed: int) -> None:
        chance = random.Random(seed)
        mine = replace(service)
        while time.monotonic() < stop:
            mine.set(max_rows=chance.choice((50, 500, 50_000)))
            assert mine.read().error is None
            time.sleep(chance.random() / 5)

    def guarded(work: Callable[[int], None], seed: int) -> None:
        try:
            work(seed)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(write, n)) for n in range(6)]
    threads += [threading.Thread(target=guarded, args=(read, n)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    service.run("drop sequence ids")
    assert errors == []
    service.set(max_rows=50_000)
    service.read()
    ((completed,),) = service.run("select count(*) from inference_requests where total_duration_ms is not null")
    assert completed > 1000
    assert service.rolled_up == completed
