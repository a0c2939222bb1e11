"""Which process holds a cycle, and does it still live?"""

from __future__ import annotations

import multiprocessing
import os
import socket
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Worker:
    """A process, told apart from a later one with the same pid by its start time (seconds since the epoch)."""

    host: str
    pid: int
    started: float

    @classmethod
    def current(cls) -> Worker:
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    @classmethod
    def above(cls) -> Worker:
        """The process that started this one as its worker; this one where there is none."""
        parent = multiprocessing.parent_process()
        if parent is None or parent.pid is None:
            return cls.current()
        return cls(socket.gethostname(), parent.pid, psutil.Process(parent.pid).create_time())

    def alive(self) -> bool | None:
        """Whether it still runs; None where only its own host could tell."""
        if self.host != socket.gethostname():
            return None
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
