"""Are embeddings read whatever their type, page by page, evenly sampled, and never by a scan of a large table?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ooda_dagster.core.concept_settings import Concepts
from ooda_dagster.embedded import Cluster
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.embeddings import EmbeddingPage, EmbeddingTable
from ooda_dagster.targets.postgres import PostgresTarget, embeddings
from ooda_dagster_tests.support import Database


@pytest.fixture(scope="module")
def vectors(target_server: Cluster) -> Iterator[Database]:
    """A database with pgvector."""
    made = Database(target_server, "test_vectors")
    made.create()
    made.execute("create schema types; create extension vector schema types")
    yield made
    made.drop()


Fill = Callable[..., None]


@pytest.fixture
def fill(vectors: Database) -> Iterator[Fill]:
    """Makes `atom_embeddings` with a type of vectors and of ids."""

    def make(kind: str, values: str = "", *, id_type: str = "bigint", more: str = "") -> None:
        vectors.execute(
            f"create table atom_embeddings (atom_embedding_id {id_type} primary key, embedding {kind} {more});"
            + (f"insert into atom_embeddings values {values};" if values else "")
            + "grant select on atom_embeddings to public"
        )

    yield make
    vectors.execute("drop view if exists seen; drop table if exists atom_embeddings")


def read(database: Database, look: Callable[[EmbeddingTable], EmbeddingPage], **mapped: str) -> EmbeddingPage:
    with PostgresTarget("t", database.observe).observing("test") as session:
        table = session.embedding_table(Concepts(**mapped))  # type: ignore[arg-type]
        assert table is not None
        return look(table)


def whole(database: Database, **mapped: str) -> EmbeddingPage:
    return read(database, lambda table: table.page(None, limit=1000), **mapped)


KINDS = {
    "types.vector": "'[1,2,-3.5]'",
    "types.halfvec": "'[1,2,-3.5]'",
    "real[]": "array[1,2,-3.5]",
    "double precision[]": "array[1,2,-3.5]",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_of_vector_is_read(kind: str, vectors: Database, fill: Fill) -> None:
    fill(kind, f"(1, {KINDS[kind]}), (2, null), (3, {KINDS[kind]})")
    page = whole(vectors)
    positions, matrix = page.vectors[3]
    assert (page.n, page.last, page.rejected) == (3, "3", {"NULL": [1]})
    assert positions.tolist() == [0, 2]
    assert matrix.tolist() == [[1, 2, -3.5]] * 2


def test_what_is_no_vector_is_told_by_name(vectors: Database, fill: Fill) -> None:
    fill(
        "double precision[]",
        "(1, array[1,2]), (2, array[[1,2],[3,4]]), (3, array[1,null]), (4, '{}'), (5, array[1e300, 1]), "
        "(6, array[1,2,3]), (7, null)",
    )
    page = whole(vectors)
    assert page.rejected == {
        "NULL": [6],
        "an empty array": [3],
        "a nested array": [1],
        "an array with NULL in it": [2],
    }
    assert {d: positions.tolist() for d, (positions, _) in page.vectors.items()} == {2: [0, 4], 3: [5]}
    assert np.isinf(page.vectors[2][1][1, 0])


def test_pages_follow_each_other_to_the_end(vectors: Database, fill: Fill) -> None:
    fill("real[]")
    vectors.execute("insert into atom_embeddings select -g, array[g, 1] from generate_series(1, 25) g")

    def all_pages(table: EmbeddingTable) -> EmbeddingPage:
        seen, mark, sizes = [], None, []
        while True:
            page = table.page(mark, limit=10)
            sizes.append(page.n)
            seen += page.vectors[2][1][:, 0].tolist() if page.n else []
            mark = page.last or mark
            if page.n < 10:
                assert (sizes, sorted(seen), mark) == ([10, 10, 5], list(range(1, 26)), "-1")
                return page

    read(vectors, all_pages)


@pytest.mark.parametrize(("id_type", "value"), [("uuid", "gen_random_uuid()"), ("text", "'a' || g")])
def test_ids_may_be_uuids_or_texts(id_type: str, value: str, vectors: Database, fill: Fill) -> None:
    fill("real[]", id_type=id_type)
    vectors.execute(f"insert into atom_embeddings select {value}, array[g, 1] from generate_series(1, 9) g")

    def two(table: EmbeddingTable) -> EmbeddingPage:
        assert not table.numeric
        first = table.page(None, limit=5)
        rest = table.page(first.last, limit=5)
        numbers = [*first.vectors[2][1][:, 0], *rest.vectors[2][1][:, 0]]
        assert sorted(numbers) == list(range(1, 10))
        return rest

    read(vectors, two)


def test_a_sample_is_even_of_the_wanted_size_and_repeatable(vectors: Database, fill: Fill) -> None:
    fill("real[]")
    vectors.execute("insert into atom_embeddings select g, array[g, 1] from generate_series(1, 20000) g")
    vectors.execute("analyze atom_embeddings")
    a, again, b = (read(vectors, lambda t, s=s: t.sample(1000, seed=s)) for s in (1, 1, 2))
    assert a.n == b.n == 1000
    numbers = a.vectors[2][1][:, 0]
    assert numbers.tolist() == again.vectors[2][1][:, 0].tolist()
    assert numbers.tolist() != b.vectors[2][1][:, 0].tolist()
    quarters = np.histogram(numbers, bins=4, range=(0, 20000))[0]
    assert quarters.min() > 200
    assert len(set(numbers.tolist())) == 1000


def test_a_sample_of_a_table_that_was_never_analysed_or_of_a_view_is_large_enough(
    vectors: Database, fill: Fill
) -> None:
    fill("real[]")
    vectors.execute("insert into atom_embeddings select g, array[g, 1] from generate_series(1, 3000) g")
    vectors.execute("create view seen as select * from atom_embeddings; grant select on seen to public")
    for table in ("atom_embeddings", "seen"):
        page = read(vectors, lambda t: t.sample(1000, seed=1), table=table)
        assert 600 <= page.n <= 1000


def test_models_and_buckets_come_with_a_sample(vectors: Database, fill: Fill) -> None:
    fill("real[]", more=", model text, x int")
    vectors.execute(
        "insert into atom_embeddings select g, array[g, 1], 'm' || g % 2, g / 10 from generate_series(0, 49) g"
    )
    page = read(vectors, lambda t: t.sample(100, seed=1), model="model", bucket="x")
    assert (set(page.models), page.buckets) == ({"m0", "m1"}, 5)
    assert read(vectors, lambda t: t.sample(100, seed=1)).buckets is None


def test_without_an_index_on_the_id_a_large_table_is_not_gone_through(
    vectors: Database, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "_MAX_SCAN_COST", 200)
    fill("real[]", more=", other bigint")
    vectors.execute("insert into atom_embeddings select g, array[g, 1], g from generate_series(1, 20000) g")
    vectors.execute("analyze atom_embeddings")
    assert whole(vectors).n == 1000
    with pytest.raises(TargetError, match="no index leads with"):
        whole(vectors, id="other")


@pytest.mark.parametrize(
    ("mapped", "words"),
    [
        ({"embedding": "note"}, "is of type text"),
        ({"embedding": "nowhere"}, "set concepts.enabled = false"),
        ({"id": "embedding"}, "is no whole number, uuid or text"),
    ],
)
def test_a_wrong_mapping_is_told_with_what_mends_it(
    mapped: dict[str, str], words: str, vectors: Database, fill: Fill
) -> None:
    fill("real[]", more=", note text")
    with pytest.raises(TargetError, match=words):
        whole(vectors, **mapped)


def test_no_table_or_no_wish_is_no_error(vectors: Database, fill: Fill) -> None:
    with PostgresTarget("t", vectors.observe).observing("test") as session:
        assert session.embedding_table(Concepts()) is None
        fill("real[]")
        assert session.embedding_table(Concepts()) is not None
        assert session.embedding_table(Concepts(enabled=False)) is None
        assert session.embedding_table(Concepts(table="a.b.c")) is None


def test_an_expression_cannot_write_and_its_value_is_not_told(vectors: Database, fill: Fill) -> None:
    fill("real[]", "(1, array[1,2])", more=", note text default 'm4rk'")
    vectors.execute(
        "create or replace function dirty(real[]) returns real[] language plpgsql as "
        "$$ begin insert into atom_embeddings values (99, $1); return $1; end $$"
    )
    with pytest.raises(TargetError):
        whole(vectors, embedding="public.dirty(embedding)")
    with pytest.raises(TargetError) as told:
        whole(vectors, embedding="array[note::real]")
    assert "m4rk" not in str(told.value)
    assert vectors.execute("select count(*) from atom_embeddings") == [(1,)]
