"""Is a cycle held by the process that lives as long as its run?"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from ooda_dagster.ledger.worker import Worker


def test_a_step_with_a_process_of_its_own_counts_as_the_run_above_it() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        held, itself = pool.submit(Worker.of_run).result(), pool.submit(Worker.current).result()
    assert held == Worker.current()
    assert held.alive()
    assert itself != held


def test_a_run_in_one_process_is_that_process() -> None:
    assert Worker.of_run() == Worker.current()
