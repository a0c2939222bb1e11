"""Does `make clean` leave nothing of the embedded clusters, wherever their data is?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ooda_dagster.embedded import Cluster
from ooda_dagster.embedded.remove import remove_clusters
from ooda_dagster_tests.embedded.ground import ROOT, value, working_in


def put(template: Path, home: Path) -> Cluster:
    """A cluster that runs, made from a template."""
    home.mkdir(parents=True)
    subprocess.run(["cp", "-a", str(template), str(home / "c")], check=True)
    cluster = Cluster(home, "c", durable=False)
    cluster.start()
    return cluster


def clean(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), "clean"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_clean_stops_the_servers_and_removes_their_data(room: Path, template: Path, mode: int) -> None:
    project = room / "project"
    project.mkdir(mode=mode)
    program = project / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    cluster = put(template, project / ".ooda" / "clusters")
    data = cluster.files.real
    assert data.is_relative_to(project) == (mode == 0o755 or os.geteuid() != 0)
    done = clean(project)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(project.iterdir()) == []
    assert not data.exists()
    assert not data.parent.exists()
    cluster.stop()  # lets go of the guard, which is ours and not the server's
    assert working_in(data) == []


def test_clean_needs_no_environment(room: Path) -> None:
    (room / ".ooda" / "clusters").mkdir(parents=True)
    done = clean(room)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(room.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can switch users")
def test_the_data_of_the_project_that_this_one_was_copied_from_stays(room: Path, template: Path) -> None:
    (room / "private").mkdir(mode=0o700)
    cluster = put(template, room / "private" / "here")
    subprocess.run(["cp", "-a", str(cluster.home), str(room / "private" / "copy")], check=True)
    remove_clusters(room / "private" / "copy")
    assert value(cluster.dsn(), "select 1") == 1
    remove_clusters(cluster.home)
    assert not cluster.files.real.exists()
