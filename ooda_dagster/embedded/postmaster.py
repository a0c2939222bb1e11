"""The server's main process: which one it is, how it is ended, and that it ends with the process that started it."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import suppress
from typing import Any

import psutil

from ooda_dagster.embedded.errors import ClusterError
from ooda_dagster.embedded.files import ClusterFiles
from ooda_dagster.embedded.server_user import ServerUser

_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_KILL_TIMEOUT_S, _POLL_S = 10, 0.02
#: Waits for the end of its input, which is the end of whoever holds the pipe, then ends that very server.
#: A line lets it go.
_GUARD = 'read -r _ && exit; [ "$(head -n 1 "$1" 2>/dev/null)" = "$2" ] && kill -INT "$2"'

Guard = subprocess.Popen[Any]


class Postmaster:
    """The server process that works in the data directory of `files`."""

    def __init__(self, files: ClusterFiles) -> None:
        self._files = files

    @property
    def pid(self) -> int | None:
        """None where no server runs, whatever its pid file says."""
        pid = self._files.postmaster_pid()
        if pid is None:
            return None
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE or "postgres" not in process.name():
                return None
            try:
                # Another server may have been given the pid that ours had: a postmaster works in its data directory.
                return pid if process.cwd() == str(self._files.data) else None
            except psutil.AccessDenied:  # root without CAP_SYS_PTRACE, as in many containers
                return pid if process.uids().real == self._files.data.stat().st_uid else None
        except psutil.NoSuchProcess:
            return None

    def end(self, mode: str, timeout_s: float) -> None:
        """Stop it in order; at once where that takes too long. Raises ClusterError if it still runs then."""
        pid = self.pid
        if pid is None:
            return
        for how, patience_s in ((mode, timeout_s), ("immediate", _KILL_TIMEOUT_S)):
            self.signal(how)
            if self._gone(pid, patience_s):
                return
        raise ClusterError(f"server process {pid} does not end")

    def signal(self, mode: str) -> None:
        """Tell it to stop."""
        pid = self.pid
        if pid is None:
            return
        try:
            psutil.Process(pid).send_signal(_SIGNALS[mode])
        except psutil.NoSuchProcess:
            return
        except psutil.AccessDenied:
            raise ClusterError(f"server process {pid} belongs to another user, who must stop it") from None

    def kill(self) -> None:
        """SIGKILL to it and its children, as a crash would."""
        pid = self.pid
        if pid is None:
            return
        postmaster = psutil.Process(pid)
        postmaster.suspend()  # it must neither start another child nor see one die
        family = [*postmaster.children(recursive=True), postmaster]
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        while any(map(_lives, family)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _gone(self, pid: int, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.pid == pid:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def void_recycled_pid(self, user: ServerUser) -> None:
        """Void a pid file whose pid belongs to another program now: PostgreSQL would take that for a postmaster.

        Never while any process works, or might work, in the data directory: the file is what keeps two servers from
        one cluster.
        """
        pid = self._files.postmaster_pid()
        if pid is None or not psutil.pid_exists(pid) or self.pid is not None:
            return
        data = str(self._files.data)
        for process in psutil.process_iter(["cwd", "name", "status"]):
            hidden = process.info["cwd"] is None and process.info["status"] != psutil.STATUS_ZOMBIE
            if process.info["cwd"] == data or (hidden and "postgres" in (process.info["name"] or "")):
                return
        self._files.void_pid_file(user)

    def guard(self, pid: int, user: ServerUser) -> Guard:
        """A small process that stops server `pid` when ours ends, even by SIGKILL. `release` lets it go."""
        pid_file = str(self._files.data / "postmaster.pid")
        return subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", pid_file, str(pid)],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what ends our terminal's processes must not end the guard first
            **user.options(),
        )


def release(guard: Guard) -> None:
    """Let a guard end; its server is stopped already, or somebody else's now."""
    if guard.stdin is not None:
        with suppress(BrokenPipeError):
            guard.stdin.write(b"\n")
            guard.stdin.close()
    guard.wait(_KILL_TIMEOUT_S)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
