"""Which process is above a worker, and does it live?"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from ooda_dagster.ledger.worker import Worker


def test_above_a_process_of_a_pool_is_who_made_the_pool() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        held, itself = pool.submit(Worker.above).result(), pool.submit(Worker.current).result()
    assert held == Worker.current()
    assert held.alive()
    assert itself != held


def test_above_a_process_that_nobody_made_is_itself() -> None:
    assert Worker.above() == Worker.current()
