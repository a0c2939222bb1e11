"""A directory for clusters that the test makes itself, where nothing may run or stay afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ooda_dagster.embedded import Cluster
from ooda_dagster_tests import support
from ooda_dagster_tests.embedded.ground import stop_all, working_in


@pytest.fixture
def room(home: Path) -> Iterator[Path]:
    """An empty directory that every user can reach."""
    del home
    with support.room("room") as directory:
        yield directory
        stop_all(directory)
        left = working_in(directory)
    assert not left, f"still running: {left}"


@pytest.fixture(scope="session")
def template(home: Path) -> Iterator[Path]:
    """The files of a cluster that was made and never used: initdb is what takes long."""
    del home
    with support.room("room") as directory:
        with Cluster(directory, "c") as cluster:
            files = cluster.files.real
        yield files
        cluster.destroy()


@pytest.fixture
def made(room: Path, template: Path) -> Cluster:
    """A cluster `c` in `room`, made already and not running."""
    subprocess.run(["cp", "-a", str(template), str(room / "c")], check=True)
    return Cluster(room, "c", durable=False)


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Cluster]:
    """A server that the tests of one file share; each leaves it running."""
    del home
    with support.room("room") as directory:
        cluster = Cluster(directory, "shared", durable=False)
        cluster.start()
        yield cluster
        cluster.destroy()
