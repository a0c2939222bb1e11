"""Tools of the tests of embedded servers: other processes, what runs where, what a directory looked like."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import psutil
import psycopg

from ooda_dagster.embedded import Cluster
from ooda_dagster.targets.postgres.queries import trusted

ROOT = Path(__file__).resolve().parents[2]


def ask(dsn: str, text: str) -> list[Any]:
    """Run a statement; its rows."""
    with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as connection:
        cursor = connection.execute(trusted(text))
        return cursor.fetchall() if cursor.description else []


def value(dsn: str, text: str) -> Any:
    """The first value of a statement's first row."""
    return ask(dsn, text)[0][0]


def working_in(directory: Path) -> list[psutil.Process]:
    """Live processes whose working directory or command line lies in `directory`."""
    found = []
    for process in psutil.process_iter(["cwd", "cmdline", "status"]):
        if process.info["status"] == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
            continue
        if str(directory) in " ".join([process.info["cwd"] or "", *(process.info["cmdline"] or [])]):
            found.append(process)
    return found


def stop_all(directory: Path) -> None:
    """Stop the clusters of a directory, whoever started them."""
    for state in directory.rglob("cluster.json"):
        Cluster(state.parent.parent, state.parent.name).stop("immediate")


@contextmanager
def python(
    code: str, *argv: object, environment: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """A real Python process of its own, with pipes; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, argv)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    return cast(IO[str], process.stdout).readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    """Let a process that reads a line go on."""
    stdin = cast(IO[str], process.stdin)
    stdin.write("\n")
    stdin.flush()


def modes(*paths: Path) -> dict[Path, tuple[int, int, int]]:
    """Mode, owner and group of paths and all that is above them."""
    every = {p for path in paths for p in (path, *path.parents)}
    return {p: (s.st_mode, s.st_uid, s.st_gid) for p in sorted(every) if (s := p.lstat())}
