"""Asks many targets within one tick: several at a time, and those that did not answer less and less often."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

#: An unreachable host costs a thread so long; a server that is only busy has answered by then.
CONNECT_TIMEOUT_S = 3
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 300.0

T = TypeVar("T")

#: Sensors of one process take turns at a target: each may be seen there once, beside a cycle.
_TURNS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


@dataclass
class _State:
    failures: int = 0
    not_before: float = 0.0
    asked: float = 0.0
    why: str = ""


@dataclass
class Fleet(Generic[T]):
    """Remembers, in this process, who did not answer. A process that starts anew asks everybody once."""

    threads: int = 8
    clock: Callable[[], float] = time.monotonic
    _states: dict[str, _State] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(
        self, names: Iterable[str], work: Callable[[str], T], budget_s: float
    ) -> tuple[dict[str, T], dict[str, str]]:
        """Answers by name, and why the others gave none. `work` may raise; what outlasts the budget goes on."""
        now = self.clock()
        answers: dict[str, T] = {}
        silent: dict[str, str] = {}
        todo = []
        for name in names:
            state = self._states.setdefault(name, _State())
            if name in self._busy:
                silent[name] = "it is still being asked"
            elif now < state.not_before:
                silent[name] = f"{state.why}; asked again in {state.not_before - now:.0f} s"
            else:
                todo.append(name)
        # Those that failed last, and among the others the one that waits longest first.
        todo.sort(key=lambda n: (self._states[n].failures > 0, self._states[n].asked))
        if not todo:
            return answers, silent
        pool = ThreadPoolExecutor(min(self.threads, len(todo)), thread_name_prefix="ooda-fleet")
        futures: dict[str, Future[T]] = {name: pool.submit(self._one, name, work) for name in todo}
        wait(futures.values(), timeout=budget_s)
        pool.shutdown(wait=False, cancel_futures=True)
        for name, future in futures.items():
            if future.cancelled():
                silent[name] = "the tick's time is used up; it is first in the next"
            elif not future.done():
                silent[name] = "it is still being asked"
            elif error := future.exception():
                silent[name] = str(error) or type(error).__name__
            else:
                answers[name] = future.result()
        return answers, silent

    def _one(self, name: str, work: Callable[[str], T]) -> T:
        state = self._states[name]
        with self._lock:
            self._busy.add(name)
        try:
            with _TURNS[name]:
                answer = work(name)
        except Exception as error:
            state.failures += 1
            pause_s = min(_FIRST_PAUSE_S * 2 ** (state.failures - 1), _LONGEST_PAUSE_S)
            state.not_before, state.why = self.clock() + pause_s, str(error) or type(error).__name__
            raise
        else:
            state.failures, state.not_before = 0, 0.0
            return answer
        finally:
            state.asked = self.clock()
            with self._lock:
                self._busy.discard(name)

    def rest(self, name: str, seconds: float, why: str) -> None:
        """Do not ask `name` for a while."""
        state = self._states.setdefault(name, _State())
        state.not_before, state.why = self.clock() + seconds, why
