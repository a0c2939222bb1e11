"""How far is the statement that runs, and what does it wait for? A second session looks five times a second."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from ooda_dagster.actions.base import Say
from ooda_dagster.targets.base import Target, TargetError

_POLL_S = 0.2
_SAY_EVERY_S = 5.0


class Watch:
    """Watches a backend while the block runs; measures how long it waited for locks. Never fails the block."""

    def __init__(self, target: Target, pid: int, say: Say) -> None:
        self._target = target
        self._pid = pid
        self._say = say
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ooda-watch", daemon=True)
        self.phases_ms: dict[str, float] = {}
        self.lock_wait_ms: float | None = None

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            with self._target.primary("watch") as session:
                self.lock_wait_ms = 0.0
                told = last = time.monotonic()
                while not self._stop.wait(_POLL_S):
                    progress = session.progress(self._pid)
                    now = time.monotonic()
                    passed_ms, last = (now - last) * 1000, now
                    if progress.waiting:
                        self.lock_wait_ms += passed_ms
                    if progress.phase:
                        self.phases_ms[progress.phase] = self.phases_ms.get(progress.phase, 0.0) + passed_ms
                        if now - told >= _SAY_EVERY_S:
                            done = f", {progress.share:.0%}" if progress.share is not None else ""
                            self._say(f"  {progress.phase}{done}")
                            told = now
        except TargetError as error:
            self._say(f"progress cannot be watched: {error}")
