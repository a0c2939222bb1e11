"""Are candidate indexes there only when they are asked for, are large files sized right, and does nothing stay?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ooda_dagster.core.indexes import IndexColumn, IndexSpec
from ooda_dagster.embedded import Cluster
from ooda_dagster.embedded.clone import StatisticsClone
from ooda_dagster.embedded.clone.files import SEGMENT_PAGES, segments, set_size
from ooda_dagster_tests.embedded.clone.shop import STATEMENTS, plan, watcher
from ooda_dagster_tests.support import Database

_BY_POINTS = IndexSpec.on("public", "customers", "points")


@pytest.fixture
def small(source: Database, scratch: Cluster) -> Iterator[StatisticsClone]:
    with psycopg.connect(watcher(source), autocommit=True) as session:
        made = StatisticsClone.build(
            session, scratch, database="small", relations={("public", "customers"), ("public", "events")}
        )
    yield made
    made.drop()


def databases(scratch: Cluster) -> set[str]:
    with psycopg.connect(scratch.dsn()) as connection:
        return {row[0] for row in connection.execute("select datname from pg_database where datname like 'clone%'")}


def test_a_candidate_is_seen_by_the_one_question_that_shows_it(small: StatisticsClone) -> None:
    small.add_candidates([_BY_POINTS])
    before = small.explain(STATEMENTS["domain"])
    assert small.index_name(_BY_POINTS) in str(small.explain(STATEMENTS["domain"], on=[_BY_POINTS]))
    assert small.explain(STATEMENTS["domain"]) == before


def test_a_statement_that_cannot_be_planned_leaves_the_clone_as_it_was(small: StatisticsClone) -> None:
    small.add_candidates([_BY_POINTS])
    before = small.explain(STATEMENTS["domain"])
    with pytest.raises(psycopg.errors.UndefinedTable):
        small.explain("select * from no_such_table", on=[_BY_POINTS])
    assert small.explain(STATEMENTS["domain"]) == before


def test_a_candidate_that_cannot_be_made_is_named_and_the_others_are_offered(small: StatisticsClone) -> None:
    bad = IndexSpec.on("public", "customers", "no_such_column")
    assert set(small.add_candidates([bad, _BY_POINTS])) == {_BY_POINTS}
    assert small.report.blind[f"candidate {bad.definition}"] == 'column "no_such_column" does not exist'
    second = IndexSpec.on("public", "customers", "joined")
    assert set(small.add_candidates([second])) == {second}
    assert small.index_name(second) != small.index_name(_BY_POINTS)
    assert small.index_name(second) in str(small.explain(STATEMENTS["delete"], on=[second, _BY_POINTS]))


def test_a_candidate_on_a_partitioned_table_is_named(small: StatisticsClone) -> None:
    parent = IndexSpec.on("public", "events", "customer")
    assert small.add_candidates([parent]) == {}
    assert small.report.blind[f"candidate {parent.definition}"] == "the table is partitioned: offer it parts"
    assert small.explain(STATEMENTS["partitions"])["Node Type"] == "Aggregate"


@pytest.mark.parametrize("method", ["hash", "brin", "gin", "gist"])
def test_a_candidate_of_another_access_method_can_be_planned(small: StatisticsClone, method: str) -> None:
    column = {"gin": "tags", "gist": "valid"}.get(method, "joined")
    candidate = IndexSpec("public", "customers", (IndexColumn(column),), method=method)
    assert small.add_candidates([candidate])[candidate].pages > 0
    for sql in (STATEMENTS["delete"], STATEMENTS["array"], STATEMENTS["range"]):
        assert small.explain(sql, on=[candidate])["Total Cost"] > 0


@pytest.mark.parametrize("pages", [0, 1, SEGMENT_PAGES, SEGMENT_PAGES + 1, 2 * SEGMENT_PAGES + 5])
def test_a_file_gets_its_size_in_segments_of_a_gigabyte_and_takes_no_disk(tmp_path: Path, pages: int) -> None:
    file = tmp_path / "1234"
    file.touch()
    (tmp_path / "12345").touch()  # another relation's
    set_size(file, pages)
    found = segments(file)
    assert sum(size for _, size in found) == pages * 8192
    assert all(size == SEGMENT_PAGES * 8192 for _, size in found[:-1])
    assert sum(f.stat().st_blocks for f, _ in found) < 100


def test_a_table_larger_than_a_segment_is_planned_as_on_the_source(source: Database, scratch: Cluster) -> None:
    pages = 2 * SEGMENT_PAGES + 7
    source.execute(
        "create table large (id bigint, x int) with (autovacuum_enabled = off); checkpoint; "
        f"select pg_restore_relation_stats('schemaname', 'public', 'relname', 'large', 'relpages', {pages}, "
        f"'reltuples', {pages * 100}::real)"
    )
    path = source.cluster.data_dir / source.execute("select pg_relation_filepath('large')")[0][0]
    set_size(path, pages)
    try:
        with psycopg.connect(source.superuser, autocommit=True) as session:
            clone = StatisticsClone.build(session, scratch, database="large", relations={("public", "large")})
            real = plan(session, "select * from large where x = 1")
        assert clone.explain("select * from large where x = 1")["Total Cost"] == real["Total Cost"]
        candidate = IndexSpec.on("public", "large", "id")
        size = clone.add_candidates([candidate])[candidate]
        assert size.pages > 50_000
        assert clone.explain("select * from large where x = 1")["Total Cost"] == real["Total Cost"]
        assert clone.explain("select * from large where id = 1", on=[candidate])["Total Cost"] < real["Total Cost"]
        clone.drop()
    finally:
        source.execute("drop table large")


def test_drop_leaves_no_database(source: Database, scratch: Cluster) -> None:
    before = databases(scratch)
    with psycopg.connect(watcher(source), autocommit=True) as session:
        clone = StatisticsClone.build(session, scratch, database="x", relations={("public", "kept")})
        assert len(databases(scratch) - before) == 1
        clone.drop()
        assert databases(scratch) == before


def test_a_build_that_fails_leaves_no_database(source: Database, scratch: Cluster) -> None:
    before = databases(scratch)
    with psycopg.connect(watcher(source), autocommit=True) as session:
        session.execute("select pg_sleep(0)")
        source.execute("select pg_terminate_backend(%s)", session.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            StatisticsClone.build(session, scratch, database="x")
    assert databases(scratch) == before
