"""Started by root, does the server run as nobody, reach its files, and leave users and permissions as they were?"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ooda_dagster.embedded import Cluster, find_binaries
from ooda_dagster.embedded.binaries import Binaries
from ooda_dagster.embedded.server_user import ServerUser, ServerUserError, runnable
from ooda_dagster_tests.embedded.ground import ROOT, ask, line, modes, python, value, working_in

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can switch users")

_PLACES = (Path("/var/lib"), Path("/var/tmp"))


def places() -> set[Path]:
    """Directories that stand for homes which the server user cannot reach."""
    return {p for base in _PLACES for p in base.glob("ooda-0-*")}


@pytest.fixture
def private(room: Path) -> Iterator[Path]:
    """A directory that only root can enter, as /root is."""
    directory = room / "private"
    directory.mkdir(mode=0o700)
    before = places()
    yield directory
    for link in [p for p in room.rglob("*") if p.is_symlink() and p.exists()]:
        Cluster(link.parent, link.name).destroy()
    for left in places() - before:
        shutil.rmtree(left)


def put(template: Path, home: Path) -> Cluster:
    """A cluster that was made in `home` while its server could be reached there."""
    home.mkdir(parents=True)
    subprocess.run(["cp", "-a", str(template), str(home / "c")], check=True)
    return Cluster(home, "c", durable=False)


def test_it_runs_as_nobody_and_no_user_or_permission_changes(made: Cluster, private: Path) -> None:
    above = modes(made.home, private, find_binaries().directory, ROOT)
    users = Path("/etc/passwd").read_bytes(), Path("/etc/group").read_bytes()
    with made:
        assert os.stat(f"/proc/{made.pid}").st_uid == pwd.getpwnam("nobody").pw_uid
    assert modes(made.home, private, find_binaries().directory, ROOT) == above
    assert (Path("/etc/passwd").read_bytes(), Path("/etc/group").read_bytes()) == users


def test_a_home_under_a_private_directory_works_and_destroy_leaves_nothing(private: Path) -> None:
    home = private / "project" / ".ooda"
    home.mkdir(parents=True)
    above, before = modes(home), places()
    cluster = Cluster(home, "c", durable=False)
    cluster.start()
    assert value(cluster.socket_dsn(), "select 1") == 1
    ask(cluster.dsn(), "create table t as select 5 as x")
    cluster.restart()
    assert value(cluster.dsn(), "select x from t") == 5
    assert modes(home) == above
    assert len(places() - before) == 1
    cluster.destroy()
    assert places() == before
    assert list(home.iterdir()) == []


@pytest.mark.slow
def test_a_second_cluster_keeps_the_place_of_a_private_home(private: Path, template: Path) -> None:
    before = places()
    one, two = (Cluster(private, name, durable=False) for name in ("one", "two"))
    for cluster in (one, two):
        subprocess.run(["cp", "-a", str(template), str(cluster.files.directory)], check=True)
        cluster.start()
    one.destroy()
    assert value(two.dsn(), "select 1") == 1
    two.destroy()
    assert places() == before


def test_data_is_kept_when_its_directory_becomes_private(private: Path, template: Path, room: Path) -> None:
    cluster = put(template, room / "open" / "home")
    with cluster:
        ask(cluster.dsn(), "create table t as select 6 as x")
    (room / "open").chmod(0o700)
    with cluster:
        assert value(cluster.dsn(), "select x from t") == 6
        assert cluster.files.directory.is_symlink()


@pytest.mark.slow
def test_a_running_server_is_adopted_where_it_is_when_its_directory_becomes_private(template: Path, room: Path) -> None:
    with put(template, room / "open" / "home") as cluster:
        (room / "open").chmod(0o700)
        assert not Cluster(cluster.home, "c").start()
        assert not cluster.files.directory.is_symlink()
        (room / "open").chmod(0o755)


def test_data_is_kept_when_a_private_project_is_moved(private: Path, template: Path) -> None:
    before = places()
    with put(template, private / "here") as cluster:
        ask(cluster.dsn(), "create table t as select 7 as x")
    (private / "here").rename(private / "there")
    with Cluster(private / "there", "c", durable=False) as moved:
        assert value(moved.dsn(), "select x from t") == 7
    moved.destroy()
    assert places() == before


@pytest.mark.slow
def test_a_copy_of_a_private_project_does_not_share_its_data(private: Path, template: Path) -> None:
    with put(template, private / "here") as cluster:
        ask(cluster.dsn(), "create table t as select 8 as x")
        subprocess.run(["cp", "-a", str(private / "here"), str(private / "copy")], check=True)
        with Cluster(private / "copy", "c", durable=False) as copy:
            assert copy.pid != cluster.pid
            assert ask(copy.dsn(), "select to_regclass('t')") == [(None,)]
        assert value(cluster.dsn(), "select x from t") == 8


@pytest.mark.slow
def test_a_private_home_that_was_removed_begins_anew(private: Path, template: Path) -> None:
    with put(template, private / "home") as cluster:
        ask(cluster.dsn(), "create table t ()")
    shutil.rmtree(private / "home")
    with Cluster(private / "home", "c", durable=False) as again:
        assert ask(again.dsn(), "select to_regclass('t')") == [(None,)]


def test_programs_that_nobody_can_run_are_copied_with_their_libraries(private: Path, template: Path) -> None:
    package = find_binaries().directory.parents[1]
    site = private / "venv" / "site-packages"
    site.mkdir(parents=True)
    for directory in (package, package.parent / f"{package.name}.libs"):
        shutil.copytree(directory, site / directory.name, symlinks=True)
    hidden = Binaries(site / package.name / "pginstall" / "bin", find_binaries().version, "hidden")
    above, before = modes(hidden.directory), places()
    cluster = Cluster(put(template, private / "home").home, "c", durable=False, binaries=hidden)
    cluster.start()
    assert value(cluster.dsn(), "select 1") == 1
    assert Path(f"/proc/{cluster.pid}/exe").resolve().is_relative_to(next(iter(places() - before)))
    assert modes(hidden.directory) == above
    cluster.destroy()
    assert places() == before


@pytest.mark.parametrize(("user", "why"), [("root", "must not be root"), ("no_such_user_", "there is no user")])
def test_a_server_user_that_cannot_serve_is_refused(
    room: Path, monkeypatch: pytest.MonkeyPatch, user: str, why: str
) -> None:
    monkeypatch.setenv("OODA_PG_USER", user)
    with pytest.raises(ServerUserError, match=why):
        Cluster(room, "c").start()
    assert not (room / "c").exists()


def test_a_link_that_the_server_user_planted_is_not_written_through(made: Cluster, private: Path) -> None:
    precious = private / "precious"
    precious.write_text("untouched")
    for name in ("data/ooda.conf", "cluster.json"):
        path = made.files.real / name
        path.unlink()
        path.symlink_to(precious)
    with made:
        assert value(made.dsn(), "select 1") == 1
    assert precious.read_text() == "untouched"


_WITHOUT_PTRACE = """
import ctypes, os, sys
assert ctypes.CDLL(None).prctl(24, 19, 0, 0, 0) == 0  # PR_CAPBSET_DROP, CAP_SYS_PTRACE
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], *sys.argv[2:]])
"""
_LIFE = """
import pathlib, psutil, sys
from ooda_dagster.embedded import Cluster
cluster = Cluster(pathlib.Path(sys.argv[1]), "c", durable=False)
answers = [cluster.start(), cluster.start(), cluster.running]
try:
    psutil.Process(cluster.pid).cwd()
except psutil.AccessDenied:
    answers.append("hidden")
cluster.kill()
answers += [cluster.running, cluster.start()]
cluster.stop()
print(*answers, cluster.running, flush=True)
"""


def test_root_that_may_not_trace_other_users_processes_can_manage_it(made: Cluster) -> None:
    with python(_WITHOUT_PTRACE, _LIFE, made.home) as process:
        assert line(process) == "True False True hidden False True False"


_AS_NOBODY = """
import os, pathlib, pwd, sys
import psycopg, filelock
from ooda_dagster.embedded import Cluster, ClusterError
nobody = pwd.getpwnam("nobody")
os.setgroups([])
os.setgid(nobody.pw_gid)
os.setuid(nobody.pw_uid)
cluster = Cluster(pathlib.Path(sys.argv[1]), sys.argv[2], durable=False)
try:
    print(cluster.start(), flush=True)
    print(*psycopg.connect(cluster.dsn()).execute("select count(*) from pg_database").fetchone(), flush=True)
    print(*psycopg.connect(cluster.socket_dsn()).execute("select 1").fetchone(), flush=True)
except ClusterError as error:
    print(error, flush=True)
"""


def test_an_ordinary_user_can_start_and_stop_one(room: Path) -> None:
    programs = runnable(find_binaries(), ServerUser.choose(), room)  # copied, if they are out of reach
    own = room / "home"
    own.mkdir()
    shutil.chown(own, "nobody")
    environment = {"OODA_PG_BIN": str(programs.directory)}
    with python(_AS_NOBODY, own, "c", environment=environment) as process:
        assert [line(process), line(process), line(process)] == ["True", "3", "1"]
        process.wait(20)
    assert working_in(own) == []
    assert {p.owner() for p in own.rglob("*")} == {"nobody"}


def test_an_ordinary_user_is_told_that_the_cluster_is_anothers(made: Cluster) -> None:
    with made, python(_AS_NOBODY, made.home, "c") as process:
        assert "may belong to another user who started it; remove it as that user, or set OODA_HOME" in line(process)
