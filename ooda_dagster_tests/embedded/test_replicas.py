"""Is a clone a replica that streams, and after promotion a server of its own?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ooda_dagster.embedded import Cluster, ClusterError
from ooda_dagster_tests.embedded.ground import ask, value
from ooda_dagster_tests.support import wait_until


@pytest.fixture
def primary(made: Cluster) -> Iterator[Cluster]:
    made.start()
    ask(made.dsn(), "create table t (x int); insert into t values (1)")
    yield made
    made.stop()


def rows(cluster: Cluster) -> int:
    return value(cluster.dsn(), "select count(*) from t")


def test_a_clone_streams_refuses_writes_and_takes_them_once_promoted(primary: Cluster) -> None:
    with primary.clone("copy", settings={"work_mem": "5MB"}) as copy:
        assert (rows(copy), value(copy.dsn(), "show work_mem")) == (1, "5MB")
        assert copy.port != primary.port
        ask(primary.dsn(), "insert into t values (2)")
        wait_until(lambda: rows(copy) == 2, what="streaming")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            ask(copy.dsn(), "insert into t values (3)")
        copy.promote()
        ask(copy.dsn(), "insert into t values (3); create index on t (x)")
        assert (rows(copy), rows(primary)) == (3, 2)
        with pytest.raises(ClusterError, match="runs; stop it"):
            primary.clone("copy")
    copy.start()
    assert rows(copy) == 3
    copy.destroy()
    assert not copy.files.directory.exists()


def test_a_clone_that_cannot_be_made_is_an_error_and_no_empty_cluster(primary: Cluster) -> None:
    primary.stop()
    with pytest.raises(ClusterError, match=r"(?s)cloning cluster 'copy' failed:.*(refused|No such file)"):
        primary.clone("copy")
    copy = Cluster(primary.home, "copy")
    assert not copy.exists
    assert not [p for p in copy.files.real.iterdir() if "data" in p.name]


def test_a_clone_of_a_cluster_that_was_never_started_is_refused(room: Path) -> None:
    with pytest.raises(ClusterError, match="was never started"):
        Cluster(room, "nothing").clone("copy")
