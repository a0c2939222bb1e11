"""`ooda dev`: the Dagster UI and daemon on the embedded default, with schedules and sensors running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated

import typer

from ooda_dagster.cli.output import Exit, errors, fail, out
from ooda_dagster.cli.session import ConfigOption, with_dagster
from ooda_dagster.config import Config, load_config
from ooda_dagster.config.servers import start_target

_MODULE = ["-m", "ooda_dagster.definitions"]
_STOP_S = 20


def dev(
    config: ConfigOption = None,
    port: Annotated[int, typer.Option("--port", "-p", help="Of the Dagster UI.")] = 3000,
    host: Annotated[str, typer.Option("--host", help="Address that the UI listens on.")] = "127.0.0.1",
    no_daemon: Annotated[bool, typer.Option("--no-daemon", help="UI only: nothing runs by itself.")] = False,
) -> None:
    """Start the Dagster UI and daemon; schedules and sensors run. Ctrl-C stops everything that this started."""
    with errors():
        loaded = with_dagster(load_config(config))
        start_target(loaded)
        serve(loaded, host, port, daemon=not no_daemon)


def serve(config: Config, host: str, port: int, *, daemon: bool = True) -> None:
    """Run the UI, and the daemon, until one of them ends or Ctrl-C."""
    # Late: they import Dagster.
    from ooda_dagster.defs.instance import open_instance, use_instance
    from ooda_dagster.defs.partitions import ensure

    environment = use_instance(config, running=daemon)
    with open_instance(config, running=daemon) as instance:
        ensure(instance, config.targets)
    programs = [["dagster_webserver", "-h", host, "-p", str(port), *_MODULE]]
    if daemon:
        programs.append(["dagster._daemon", "run", *_MODULE])
    with _children(programs) as children:
        out.print(f"Dagster UI: http://{host}:{port}  (instance {environment}); Ctrl-C ends it")
        while all(child.poll() is None for child in children):
            time.sleep(0.5)
        ended = next(i for i, child in enumerate(children) if child.poll() is not None)
        fail(f"{programs[ended][0]} ended with status {children[ended].returncode}", Exit.FAILED)


@contextmanager
def _children(programs: Sequence[Sequence[str]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Programs that end with us, each with all that it started: code servers and the workers of runs.

    Each leads a process group of its own, so Ctrl-C reaches only us, and nothing of theirs outlives us.
    """
    # A file in the working directory must not stand in for a module of Dagster's.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    started: list[subprocess.Popen[bytes]] = []
    try:
        for program in programs:
            argv = [sys.executable, "-m", *program]
            started.append(subprocess.Popen(argv, env=environment, start_new_session=True))
        yield started
    finally:
        # A second Ctrl-C must not leave half of them behind.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        _end(started)
        signal.signal(signal.SIGINT, previous)


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.terminate()
    deadline = time.monotonic() + _STOP_S
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(0.1, deadline - time.monotonic()))
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
