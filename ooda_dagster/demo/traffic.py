"""The service's live traffic, from a process of its own, and what each call took.

Arrivals are paced (an open loop): the offered mix is the same whether the database is fast or slow. Each call is timed
by the generator, from sending to the last row.
"""

from __future__ import annotations

import contextlib
import heapq
import multiprocessing
import os
import queue
import random
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
import psycopg
from scipy import stats

from ooda_dagster.demo.planted import Plan, plan
from ooda_dagster.demo.workload import Statement, statements
from ooda_dagster.targets.postgres.queries import trusted

_THREADS = 8
#: Calls that are kept: half an hour at 150 a second.
_CAPACITY = 300_000
_CALL = np.dtype([("ended", "f8"), ("ms", "f4"), ("statement", "i2"), ("ok", "?")])
_HEADER = 8
#: Share of the calls of a statement that is left out at each end: a stall of the machine says nothing of a plan.
TRIM = 0.05
_BACKOFF_S = 0.5


@dataclass(frozen=True)
class Measurement:
    """A window of traffic. ms per call are at the planned mix: each statement's mean, weighted by its rate."""

    seconds: float
    readers_ms_per_call: float
    writers_ms_per_call: float
    calls: int
    errors: int
    statements: dict[str, dict[str, float]] = field(default_factory=dict)


class Traffic:
    """Readers and writers against one database, until stopped. capacity: calls that are kept; later ones are not."""

    def __init__(
        self, dsn: str, seed: int, *, rate: float = 1.0, scale: float = 1.0, capacity: int = _CAPACITY
    ) -> None:
        self._dsn = dsn
        self._seed = seed
        self._rate = rate
        self._scale = scale
        self._capacity = capacity
        self._statements = statements(plan(seed), scale=scale)
        self._memory: SharedMemory | None = None
        self._process: Any = None
        self._stop: Any = None

    def start(self) -> None:
        """Begin. The process ends with this one."""
        self._memory = SharedMemory(create=True, size=_HEADER + self._capacity * _CALL.itemsize)
        np.ndarray((1,), "i8", self._memory.buf)[0] = 0
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._process = context.Process(
            target=_serve,
            args=(self._dsn, self._seed, self._rate, self._scale, self._memory.name, self._stop),
            name="ooda-demo-traffic",
            daemon=True,
        )
        self._process.start()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    @property
    def calls(self) -> int:
        """Calls that ended so far."""
        return 0 if self._memory is None else int(np.ndarray((1,), "i8", self._memory.buf)[0])

    def stop(self) -> None:
        """End it and wait; what was measured is gone then."""
        if self._process is not None:
            self._stop.set()
            self._process.join(5)
            if self._process.is_alive():
                self._process.kill()
                self._process.join(5)
            self._process = None
        if self._memory is not None:
            self._memory.close()
            self._memory.unlink()
            self._memory = None

    @property
    def statements(self) -> Sequence[Statement]:
        """What is called; a call's `statement` is a position in it."""
        return self._statements

    def recorded(self) -> np.ndarray:
        """Calls so far in the order of their ends: `ended` (Unix seconds), `ms`, `statement`, `ok`."""
        assert self._memory is not None
        return np.ndarray((self._capacity,), _CALL, self._memory.buf, offset=_HEADER)[: self.calls].copy()

    def window(self, since: datetime, until: datetime) -> Measurement:
        """What calls that ended in a window took."""
        calls = self.recorded()
        inside = (calls["ended"] >= since.timestamp()) & (calls["ended"] < until.timestamp())
        return _measure(calls[inside], self._statements, (until - since).total_seconds())


def _measure(calls: np.ndarray, all_statements: Sequence[Statement], seconds: float) -> Measurement:
    found: dict[str, dict[str, float]] = {}
    sums = {False: [0.0, 0.0], True: [0.0, 0.0]}
    good = calls[calls["ok"]]
    for number, statement in enumerate(all_statements):
        times = good["ms"][good["statement"] == number].astype(float)
        if not len(times):
            continue
        mean = float(stats.trim_mean(times, TRIM))
        found[statement.name] = {"n": len(times), "mean_ms": mean, "median_ms": float(np.median(times))}
        sums[statement.writes][0] += statement.rate * mean
        sums[statement.writes][1] += statement.rate
    readers, writers = (weighted / rate if rate else 0.0 for weighted, rate in (sums[False], sums[True]))
    return Measurement(seconds, readers, writers, len(calls), int((~calls["ok"]).sum()), found)


# ---------------------------------------------------------------------- in the process of the traffic


class _Recorder:
    """Writes calls into the shared memory."""

    def __init__(self, memory: SharedMemory) -> None:
        self._count = np.ndarray((1,), "i8", memory.buf)
        self._calls = np.ndarray(((memory.size - _HEADER) // _CALL.itemsize,), _CALL, memory.buf, offset=_HEADER)
        self._lock = threading.Lock()

    def record(self, statement: int, ms: float, ok: bool) -> None:
        with self._lock:
            position = int(self._count[0])
            if position < len(self._calls):
                self._calls[position] = (time.time(), ms, statement, ok)
                self._count[0] = position + 1


def _serve(dsn: str, seed: int, rate: float, scale: float, memory_name: str, stop: Any) -> None:
    """Arrivals in this thread, calls in others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = os.getppid()
    memory = SharedMemory(memory_name)
    the_plan: Plan = plan(seed)
    all_statements = statements(the_plan, scale=scale)
    work: queue.Queue[int] = queue.Queue(maxsize=1000)
    recorder = _Recorder(memory)
    for number in range(_THREADS):
        threading.Thread(
            target=_worker, args=(dsn, all_statements, work, recorder, stop, seed * 100 + number), daemon=True
        ).start()
    chance = random.Random(seed)
    now = time.monotonic()
    arrivals = [(now + chance.random() / (s.rate * rate), n) for n, s in enumerate(all_statements)]
    heapq.heapify(arrivals)
    while not stop.is_set() and os.getppid() == parent:
        due, number = heapq.heappop(arrivals)
        wait = due - time.monotonic()
        if wait > 0:
            stop.wait(wait)
        with contextlib.suppress(queue.Full):  # far behind, more waiting calls would only measure the queue
            work.put_nowait(number)
        # Evenly spaced with some jitter: as many calls in each block as the rate says.
        gap = 1 / (all_statements[number].rate * rate)
        heapq.heappush(arrivals, (max(due, time.monotonic() - 1) + gap * chance.uniform(0.7, 1.3), number))
    os._exit(0)  # its threads still write into the memory: it must not be unmapped under them


def _worker(
    dsn: str, all_statements: list[Statement], work: queue.Queue[int], recorder: _Recorder, stop: Any, seed: int
) -> None:
    chance = random.Random(seed)
    texts = [trusted(s.sql) for s in all_statements]
    connection: psycopg.Connection[Any] | None = None
    while not stop.is_set():
        number = work.get()
        parameters = all_statements[number].parameters(chance)
        started = time.perf_counter()
        try:
            if connection is None or connection.closed:
                connection = psycopg.connect(dsn, autocommit=True, application_name="inference", connect_timeout=5)
                connection.prepare_threshold = None
                started = time.perf_counter()
            cursor = connection.execute(texts[number], parameters)
            if cursor.description:
                cursor.fetchall()
            recorder.record(number, (time.perf_counter() - started) * 1000, True)
        except psycopg.Error:
            recorder.record(number, (time.perf_counter() - started) * 1000, False)
            stop.wait(_BACKOFF_S)
