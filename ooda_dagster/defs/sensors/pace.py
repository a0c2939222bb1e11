"""Which targets does a tick leave out? Those that do not answer, longer each time, and those still being asked.

Kept in the process: after a restart each dead target is tried once more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: After the first failure the next tick tries again; then it waits.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 60.0, 600.0
#: Waits are a little shorter than whole ticks, so that the tick at their end is not missed.
_EARLY_S = 5.0


@dataclass(frozen=True)
class _Failed:
    times: int
    error: str
    not_before: float


@dataclass
class Pace:
    """Of all targets of a process. `clock` counts seconds."""

    clock: Callable[[], float] = time.monotonic
    _failed: dict[str, _Failed] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def why_not(self, name: str) -> str | None:
        """Why the target is left out now; None where it is to be asked, which `ended` must be told the end of."""
        with self._lock:
            if name in self._busy:
                return "it is still being asked"
            failed = self._failed.get(name)
            if failed and failed.not_before > self.clock():
                again_s = failed.not_before - self.clock()
                return f"{failed.error}; failed {failed.times} times, asked again in {again_s:.0f} s"
            self._busy.add(name)
            return None

    def ended(self, name: str, error: str | None = None) -> None:
        """The target was asked; error: what stood in the way."""
        with self._lock:
            self._busy.discard(name)
            before = self._failed.pop(name, None)
            if error is None:
                return
            times = before.times + 1 if before else 1
            wait_s = min(_FIRST_WAIT_S * 2 ** min(times - 2, 10), _LONGEST_WAIT_S) - _EARLY_S if times > 1 else 0.0
            self._failed[name] = _Failed(times, error, self.clock() + wait_s)
