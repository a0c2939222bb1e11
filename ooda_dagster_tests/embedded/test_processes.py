"""Who stops a server that several processes use? The one that started it, however it ends; and nobody else."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psycopg
import pytest

from ooda_dagster.embedded import Cluster
from ooda_dagster.embedded.clone import clone_cluster
from ooda_dagster_tests.embedded.ground import go_on, line, python, value, working_in
from ooda_dagster_tests.support import wait_until

_START = """
import pathlib, sys
from ooda_dagster.embedded import Cluster
cluster = Cluster(pathlib.Path(sys.argv[1]), "c", durable=False)
print("starts", flush=True)
print(cluster.start(), flush=True)
sys.stdin.readline()
"""


def test_another_process_adopts_a_running_cluster_and_does_not_stop_it(made: Cluster) -> None:
    made.start()
    pid = made.pid
    with python(_START, made.home) as other:
        assert [line(other), line(other)] == ["starts", "False"]
        go_on(other)
        assert other.wait(20) == 0
    assert made.pid == pid
    made.stop()


@pytest.mark.parametrize(
    "end", [None, signal.SIGTERM, signal.SIGINT, signal.SIGKILL, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)]
)
def test_nothing_runs_after_the_process_that_started_it(made: Cluster, end: signal.Signals | None) -> None:
    with python(_START, made.home) as starter:
        assert [line(starter), line(starter)] == ["starts", "True"]
        assert made.running
        if end is None:
            go_on(starter)
        else:
            starter.send_signal(end)
        starter.wait(20)
    wait_until(lambda: not working_in(made.home), timeout_s=10, what="the end of server and guard")
    log = made.log_file.read_text()
    assert "received fast shutdown request" in log
    assert log.rstrip().endswith("database system is shut down")


def test_nothing_runs_after_an_interrupt_in_the_middle_of_a_start(made: Cluster) -> None:
    with python(_START, made.home) as starter:
        line(starter)
        wait_until(lambda: made.files.postmaster_pid())
        starter.send_signal(signal.SIGINT)
        starter.wait(20)
    wait_until(lambda: not working_in(made.home), timeout_s=10, what="the end of the server")
    assert not made.running


@pytest.mark.parametrize("end", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_start_that_is_ended_during_initdb_is_made_anew_at_once(room: Path, end: signal.Signals) -> None:
    cluster = Cluster(room, "c", durable=False)
    with python(_START, room) as starter:
        line(starter)
        wait_until(lambda: list(room.glob("c/data.new-*/base")), what="initdb's start")
        starter.send_signal(end)
        starter.wait(20)
        assert not cluster.exists
        assert cluster.start()  # the killed one's initdb may still be at work
    assert value(cluster.dsn(), "select count(*) from pg_database") == 3
    cluster.stop()
    wait_until(lambda: not working_in(room), timeout_s=10, what="the end of initdb")


def test_of_two_that_start_it_at_once_one_adopts(made: Cluster) -> None:
    with python(_START, made.home) as one, python(_START, made.home) as two:
        answers = {line(p) + line(p) for p in (one, two)}
        assert answers == {"startsTrue", "startsFalse"}
        for process in (one, two):
            go_on(process)
            process.wait(20)
    assert not made.running


def test_the_last_of_its_users_stops_it(made: Cluster) -> None:
    with python(_START, made.home) as starter, python(_START, made.home) as other:
        assert {line(p) + line(p) for p in (starter, other)} == {"startsTrue", "startsFalse"}
        for process, still in ((starter, True), (other, False)):
            go_on(process)
            assert process.wait(20) == 0
            assert made.running == still


def test_the_starter_leaves_a_server_that_another_started_since(made: Cluster) -> None:
    with python(_START, made.home) as starter:
        assert [line(starter), line(starter)] == ["starts", "True"]
        made.stop()
        assert made.start()
        go_on(starter)
        starter.wait(20)
    assert value(made.dsn(), "select 1") == 1
    made.stop()


@pytest.mark.slow
def test_a_forked_child_is_not_the_starter(made: Cluster) -> None:
    forks = _START.replace(
        "sys.stdin.readline()",
        """
import os
if os.fork() == 0:
    sys.exit()
os.wait()
print(cluster.running, flush=True)
""",
    )
    with python(forks, made.home) as starter:
        assert [line(starter), line(starter), line(starter)] == ["starts", "True", "True"]
        starter.wait(20)
    assert not made.running


def test_a_start_while_the_server_is_going_down_waits_and_starts_it_again(made: Cluster) -> None:
    made.start()
    before = made.pid
    session = psycopg.connect(made.dsn())
    assert made.pid is not None
    made._postmaster.signal("smart")  # ends when the session does, and takes no other
    with python(_START, made.home) as other:
        line(other)
        time.sleep(0.5)
        session.close()
        assert line(other) == "True"
        assert made.pid not in (None, before)
        assert value(made.dsn(), "select 1") == 1


@pytest.mark.slow
def test_the_scratch_server_of_clones_outlives_the_process_that_started_it(room: Path, template: Path) -> None:
    del template
    shared = clone_cluster(room)
    code = _START.replace(
        'Cluster(pathlib.Path(sys.argv[1]), "c", durable=False)', "clone_cluster(pathlib.Path(sys.argv[1]))"
    )
    with python(code.replace("embedded import Cluster", "embedded.clone import clone_cluster"), room) as starter:
        assert [line(starter), line(starter)] == ["starts", "True"]
        go_on(starter)
        starter.wait(20)
    assert shared.running
    shared.stop()
