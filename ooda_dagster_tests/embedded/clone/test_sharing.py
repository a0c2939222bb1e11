"""May several processes clone at once, and does what one leaves, or what the source holds, harm nobody?"""

from __future__ import annotations

import signal
from pathlib import Path

import psycopg
import pytest

from ooda_dagster.embedded import Cluster
from ooda_dagster.embedded.clone import StatisticsClone, clone_cluster
from ooda_dagster_tests.embedded.clone.shop import watcher
from ooda_dagster_tests.embedded.clone.test_candidates import databases
from ooda_dagster_tests.embedded.ground import go_on, line, python
from ooda_dagster_tests.support import Database

_KEPT = "{('public', 'kept')}"
_PRICES = f"""
import pathlib, sys
import psycopg
from ooda_dagster.embedded.clone import StatisticsClone
from ooda_dagster.loop.whatif import _clone_server
with _clone_server(pathlib.Path(sys.argv[1])) as cluster:
    with psycopg.connect(sys.argv[2], autocommit=True) as session:
        clone = StatisticsClone.build(session, cluster, database="clone_same_target", relations={_KEPT})
    print(clone.explain("select * from kept")["Plan Rows"], flush=True)
    sys.stdin.readline()
    print(clone.explain("select * from kept")["Plan Rows"], flush=True)
    sys.stdin.readline()
    clone.drop()
"""


def test_two_processes_price_the_same_target_at_once_and_the_last_stops_the_server(
    source: Database, room: Path
) -> None:
    cluster = clone_cluster(room / "clusters")
    with python(_PRICES, room, watcher(source)) as one, python(_PRICES, room, watcher(source)) as two:
        assert (line(one), line(two)) == ("6000", "6000")
        for _ in range(2):
            go_on(one)
        assert (line(one), one.wait(20)) == ("6000", 0)
        assert cluster.running
        go_on(two)
        assert line(two) == "6000"
        go_on(two)
        assert two.wait(20) == 0
    assert not cluster.running


def test_the_clone_of_a_process_that_was_killed_is_cleared_up_by_the_next(
    source: Database, room: Path, scratch: Cluster
) -> None:
    code = _PRICES.replace("with _clone_server(pathlib.Path(sys.argv[1])) as cluster:", "if True:").replace(
        "    with psycopg", "    cluster = clone_cluster(pathlib.Path(sys.argv[1]))\n    with psycopg", 1
    )
    code = code.replace("import StatisticsClone", "import StatisticsClone, clone_cluster")
    del room
    before = databases(scratch)
    with python(code, scratch.home, watcher(source)) as process:
        assert line(process) == "6000"
        (left,) = databases(scratch) - before
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    with psycopg.connect(watcher(source), autocommit=True) as session:
        clone = StatisticsClone.build(session, scratch, database="next", relations={("public", "kept")})
    assert left not in databases(scratch)
    clone.drop()


def test_a_function_of_the_source_can_do_nothing_on_the_machine_that_plans(
    source: Database, scratch: Cluster, room: Path
) -> None:
    """The planner calls immutable functions, and whoever may create one on the source may put anything into it."""
    room.chmod(0o777)
    mark = room / "mark"
    source.execute(
        f"create function run() returns int language plpgsql as "
        f"$$ begin execute 'reset role'; copy (select 1) to program 'touch {mark}'; return 1; end $$; "
        "create function harmless(int) returns int immutable language plpgsql as "
        "$$ begin perform run(); return 1; end $$"
    )
    try:
        with psycopg.connect(watcher(source), autocommit=True) as session:
            clone = StatisticsClone.build(session, scratch, database="harm")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="COPY"):
            clone.explain("select * from kept where length(note) = harmless(1)")
        assert not mark.exists()
        assert clone._clone.execute("select rolsuper from pg_roles where rolname = current_user").fetchone() == (False,)
        clone.drop()
    finally:
        source.execute("drop function harmless; drop function run")
