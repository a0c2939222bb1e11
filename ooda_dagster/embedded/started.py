"""Which servers does this process use? The last process that uses one stops it.

Each user holds a shared lock on a file beside the cluster, which its end releases, however it ends.
"""

from __future__ import annotations

import atexit
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ooda_dagster.embedded.errors import ClusterError
from ooda_dagster.embedded.postmaster import Guard, release


@dataclass(frozen=True)
class _Used:
    postmaster: int  # another process may have stopped this server and started its own
    process: int  # a forked child inherits the table, and is no user
    lock: int
    guard: Guard | None  # of the process that started it
    stop: Callable[[], None]


_table: dict[Path, _Used] = {}


def use(directory: Path, users: Path, postmaster: int, guard: Guard | None, stop: Callable[[], None]) -> None:
    """Remember the server in `directory`. users: the file to lock; stop: stops it if nobody else uses it."""
    known = _table.get(directory)
    if known is not None and known.process == os.getpid() and known.postmaster == postmaster:
        return
    forget(directory)
    lock = os.open(users, os.O_RDONLY | os.O_CREAT, 0o644)
    fcntl.flock(lock, fcntl.LOCK_SH)
    _table[directory] = _Used(postmaster, os.getpid(), lock, guard, stop)


def forget(directory: Path) -> None:
    """This process does not use the server in `directory` any more."""
    used = _table.pop(directory, None)
    if used is not None and used.process == os.getpid():
        os.close(used.lock)
        if used.guard is not None:
            release(used.guard)


def used_by_us_alone(directory: Path, postmaster: int | None) -> bool:
    """Whether this process, and no other, uses the server that runs in `directory` now."""
    used = _table.get(directory)
    if used is None or used.process != os.getpid() or used.postmaster != postmaster:
        return False
    try:
        fcntl.flock(used.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def stop_started() -> None:
    """Let go of every server that this process uses; those that nobody else uses are stopped."""
    failed: list[ClusterError] = []
    for directory, used in list(_table.items()):
        if used.process != os.getpid():
            continue
        try:
            used.stop()
        except ClusterError as error:
            failed.append(error)
        forget(directory)
    if failed:
        raise failed[0]


atexit.register(stop_started)
