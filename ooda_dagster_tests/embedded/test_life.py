"""Does a cluster start, stop, get adopted, survive a crash, and clear up what a crash left?"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from ooda_dagster.embedded import Cluster, ClusterError
from ooda_dagster.embedded.server_user import ServerUser
from ooda_dagster_tests.embedded.ground import ask, modes, value, working_in
from ooda_dagster_tests.support import wait_until


def small(room: Path, name: str = "c", **options: object) -> Cluster:
    return Cluster(room, name, durable=False, **options)  # type: ignore[arg-type]


def test_start_adopt_stop_and_start_again_with_the_same_data_and_port(room: Path) -> None:
    cluster = small(room)
    assert not cluster.exists
    assert cluster.start()
    ask(cluster.dsn(), "create table t as select 7 as x")
    port = cluster.port
    assert not small(room).start()
    cluster.stop()
    assert not cluster.running
    assert cluster.start()
    assert (cluster.port, value(cluster.dsn(), "select x from t")) == (port, 7)
    cluster.stop()
    cluster.stop()  # nothing happens


def test_the_context_manager_stops_what_it_started_and_leaves_what_it_adopted(room: Path, made: Cluster) -> None:
    with made as first:
        with small(room):
            pass
        assert first.running
    assert not first.running


def test_several_clusters_stand_side_by_side(room: Path, server: Cluster) -> None:
    with small(room, "a") as a:
        ask(a.dsn(), "create table only_in_a ()")
        assert a.port != server.port
        assert a.password != server.password
        with pytest.raises(psycopg.errors.UndefinedTable):
            ask(server.dsn(), "select from only_in_a")
        with pytest.raises(psycopg.OperationalError, match="password"):
            ask(server.dsn(password=a.password), "select 1")


def test_committed_rows_are_there_after_the_whole_family_is_killed(room: Path, made: Cluster) -> None:
    cluster = Cluster(room, made.name)
    cluster.start()
    ask(cluster.dsn(), "create table t (x int)")
    open_transaction = psycopg.connect(cluster.dsn())
    open_transaction.execute("insert into t values (-1)")
    ask(cluster.dsn(), "insert into t select generate_series(1, 20000)")
    cluster.kill()
    open_transaction.close()
    assert working_in(cluster.data_dir) == []
    assert (cluster.data_dir / "postmaster.pid").exists()
    assert cluster.start()
    assert ask(cluster.dsn(), "select count(*), min(x) from t") == [(20000, 1)]
    cluster.stop()


def test_it_starts_after_its_main_process_alone_was_killed_under_load(made: Cluster) -> None:
    cluster = made
    cluster.start()
    pid = cluster.pid
    assert pid is not None
    busy = psycopg.connect(cluster.dsn(), autocommit=True)
    busy.pgconn.send_query(b"select count(*) from generate_series(1, 3000000) a")
    wait_until(lambda: value(cluster.dsn(), "select count(*) from pg_stat_activity where state = 'active'") > 1)
    os.kill(pid, signal.SIGKILL)  # its backend goes on for a while, and holds the shared memory
    wait_until(lambda: not cluster.running)
    assert cluster.start()
    assert value(cluster.dsn(), "select 1") == 1
    busy.close()
    cluster.stop()


def test_half_of_a_cluster_is_made_anew(made: Cluster) -> None:
    cluster = made
    cluster.start()
    cluster.stop()
    (cluster.files.real / "complete").unlink()  # what a killed initdb leaves: files, and no mark
    (cluster.data_dir / "global" / "pg_control").unlink()
    assert not cluster.exists
    assert cluster.start()
    assert value(cluster.dsn(), "select 1") == 1
    cluster.stop()


@pytest.mark.slow
def test_data_removed_by_hand_is_made_anew(made: Cluster) -> None:
    cluster = made
    cluster.start()
    cluster.stop()
    subprocess.run(["rm", "-r", str(cluster.data_dir)], check=True)
    assert cluster.start()
    assert value(cluster.dsn(), "select 1") == 1
    cluster.stop()


def test_a_port_that_somebody_took_since_is_left_to_them(made: Cluster) -> None:
    cluster = made
    cluster.start()
    port = cluster.port
    cluster.stop()
    with socket.create_server(("127.0.0.1", port)):
        cluster.start()
        assert cluster.port != port
        assert value(cluster.dsn(), "show port") == str(cluster.port)
    cluster.stop()


@pytest.mark.parametrize("program", ["sleep", "postgres"])
def test_a_pid_file_whose_pid_another_program_has_does_not_stop_the_start(
    made: Cluster, server: Cluster, program: str
) -> None:
    cluster = made
    cluster.start()
    cluster.kill()
    sleeper = subprocess.Popen(["sleep", "60"], **ServerUser.choose().options())
    try:
        recycled = sleeper.pid if program == "sleep" else server.pid
        pid_file = cluster.data_dir / "postmaster.pid"
        first, *rest = pid_file.read_text().splitlines(keepends=True)
        assert first.strip().isdigit()
        pid_file.write_text("".join([f"{recycled}\n", *rest]))
        assert not cluster.running
        cluster.stop()
        assert psutil.pid_exists(sleeper.pid)
        assert cluster.start()
        assert sleeper.poll() is None
        assert server.running
        cluster.stop()
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_recycled_pid_is_kept_while_an_orphan_of_the_server_works_there(made: Cluster) -> None:
    cluster = made
    cluster.start()
    cluster.kill()
    pid_file = cluster.data_dir / "postmaster.pid"
    recycled = "".join([f"{os.getppid()}\n", *pid_file.read_text().splitlines(keepends=True)[1:]])
    pid_file.write_text(recycled)
    orphan = subprocess.Popen(["sleep", "60"], cwd=cluster.data_dir)
    try:
        cluster._postmaster.void_recycled_pid(ServerUser.choose())
        assert pid_file.read_text() == recycled
    finally:
        orphan.kill()
        orphan.wait()
    cluster._postmaster.void_recycled_pid(ServerUser.choose())
    assert pid_file.read_text().splitlines()[1:] == recycled.splitlines()[1:]
    assert not psutil.pid_exists(int(pid_file.read_text().splitlines()[0]))
    cluster.start()
    assert value(cluster.dsn(), "select 1") == 1
    cluster.stop()


@pytest.mark.parametrize(
    "directory", ["d" * 60 + "/" + "e" * 60, "with space 'quote' straße", pytest.param("a, b", marks=pytest.mark.slow)]
)
def test_it_works_in_a_long_or_an_odd_path(room: Path, directory: str) -> None:
    cluster = small(room / directory)
    cluster.start()
    assert value(cluster.socket_dsn(), "select 1") == 1
    socket_dir = Path(value(cluster.dsn(), "show unix_socket_directories"))
    assert (socket_dir.parent == cluster.files.real) == directory.startswith("with")
    again = small(room / directory)
    cluster.stop()
    assert not socket_dir.exists() or socket_dir.parent == cluster.files.real
    again.start()
    assert value(again.socket_dsn(), "select 1") == 1
    again.destroy()
    assert not socket_dir.exists()


def test_destroy_leaves_nothing_of_a_running_cluster(room: Path, made: Cluster) -> None:
    cluster = made
    cluster.start()
    before = modes(room)
    cluster.destroy()
    assert working_in(room) == []
    # Programs that the server user cannot run in their place are copied, and stay for the other clusters here.
    assert [p.name for p in room.iterdir() if not p.name.startswith(("programs", "postgresql-"))] == []
    assert modes(room) == before


def test_data_of_another_major_version_is_refused_with_the_remedy(made: Cluster) -> None:
    cluster = made
    cluster.start()
    cluster.stop()
    (cluster.data_dir / "PG_VERSION").write_text("15\n")
    with pytest.raises(ClusterError, match=r"made by PostgreSQL 15.*remove .*/c, or set OODA_PG_BIN to version 15"):
        cluster.start()


@pytest.mark.usefixtures("made")
def test_a_setting_that_the_server_refuses_is_quoted_from_its_log(room: Path) -> None:
    cluster = small(room, settings={"shared_buffers": "a lot"})
    started = time.monotonic()
    with pytest.raises(ClusterError, match='invalid value for parameter "shared_buffers"'):
        cluster.start()
    assert time.monotonic() - started < 15
    assert not cluster.running
