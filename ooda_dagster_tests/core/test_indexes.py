"""Is an index, as a value, written as the server reads it, and does it know when another makes it pointless?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ooda_dagster.core.indexes import IndexColumn, IndexSpec
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import Database


def _on(*columns: str | IndexColumn, **fields: object) -> IndexSpec:
    keys = tuple(c if isinstance(c, IndexColumn) else IndexColumn(c) for c in columns)
    return replace(IndexSpec("public", "t", keys), **fields)  # type: ignore[arg-type]


def _desc(name: str, *, nulls_first: bool | None = None) -> IndexColumn:
    return IndexColumn(name, descending=True, nulls_first=nulls_first)


A, AB = _on("a"), _on("a", "b")
A_NULLS_FIRST = IndexColumn("a", nulls_first=True)
LOWER, LOWER_C = IndexColumn(expression="lower(a)"), IndexColumn("a", collation='"C"')
PATTERN = IndexColumn("a", opclass="text_pattern_ops")

SERVES = {
    "the same": (AB, AB),
    "a leading part": (AB, A),
    "read backwards": (_on(_desc("a"), _desc("b")), AB),
    "read backwards, mixed": (_on("a", _desc("b")), _on(_desc("a"), "b")),
    "one key read backwards": (A, _on(_desc("a"))),
    "nulls first is the mirror of descending nulls last": (_on(A_NULLS_FIRST), _on(_desc("a", nulls_first=False))),
    "a leading part, the rest in any order": (_on("a", _desc("b")), A),
    "all columns, keys or included": (_on("a", "b", include=("c",)), _on("a", include=("b", "c"))),
    "a unique one does what a plain one does": (_on("a", unique=True), A),
    "a whole one does what a partial one does": (A, _on("a", where="b > 0")),
    "the same predicate": (_on("a", "b", where="b > 0"), _on("a", where="b > 0")),
    "the same expression": (_on(LOWER, "b"), _on(LOWER)),
    "a btree does what a hash does": (A, _on("a", method="hash")),
    "the same hash": (_on("a", method="hash"), _on("a", method="hash")),
    "unique in the same keys": (_on("a", "b", unique=True), _on("a", "b", unique=True)),
    "unique over more rows": (_on("a", unique=True), _on("a", unique=True, where="b > 0")),
}
DOES_NOT_SERVE = {
    "another order of columns": (_on("b", "a"), AB),
    "not a leading part": (AB, _on("b")),
    "fewer keys": (A, AB),
    "half backwards": (_on("a", _desc("b")), AB),
    "nulls on the other side": (_on(A_NULLS_FIRST), A),
    "nulls on the other side, backwards": (A, _on(_desc("a", nulls_first=False))),
    "another table": (replace(A, table="s"), A),
    "another schema": (replace(A, schema="s"), A),
    "a missing included column": (AB, _on("a", include=("c",))),
    "a plain one is not unique": (A, _on("a", unique=True)),
    "unique in more keys is less": (_on("a", "b", unique=True), _on("a", unique=True)),
    "unique over fewer rows is less": (_on("a", unique=True, where="b > 0"), _on("a", unique=True)),
    "a partial one holds too little": (_on("a", where="b > 0"), A),
    "another predicate": (_on("a", where="b > 0"), _on("a", where="b > 1")),
    "a hash has no order": (_on("a", method="hash"), A),
    "a brin is no hash": (_on("a", method="brin"), _on("a", method="hash")),
    "a gin is no btree": (_on("a", method="gin"), A),
    "a btree is no gin": (A, _on("a", method="gin")),
    "an expression is no column": (_on(LOWER), A),
    "a column is no expression": (A, _on(LOWER)),
    "another operator class": (_on(PATTERN), A),
    "another collation": (_on(LOWER_C), A),
}


@pytest.mark.parametrize("name", SERVES)
def test_an_index_serves(name: str) -> None:
    existing, wanted = SERVES[name]
    assert existing.serves(wanted)


@pytest.mark.parametrize("name", DOES_NOT_SERVE)
def test_an_index_does_not_serve(name: str) -> None:
    existing, wanted = DOES_NOT_SERVE[name]
    assert not existing.serves(wanted)


SPECS = (
    A,
    _on("a", "b", include=("c",)),
    _on(_desc("a"), "b"),
    _on(A_NULLS_FIRST, _desc("b", nulls_first=False)),
    _on(LOWER, IndexColumn("b")),
    _on(PATTERN),
    _on(IndexColumn("a", collation='"C"', opclass="text_pattern_ops", descending=True)),
    _on("a", "b", unique=True),
    _on("a", where="(b > 0)"),
    _on("b", method="hash"),
    _on("b", method="brin"),
    _on("Größe", include=("select",)),
)


@pytest.mark.parametrize("concurrently", [False, True])
def test_the_server_reads_a_definition_as_it_was_meant(database: Database, concurrently: bool) -> None:
    """Each is built, read back from the catalogue, found equal, and dropped by its own undo."""
    database.execute('create table t (a text, b int, c int, "Größe" int, "select" int)', dsn=database.app)
    target = PostgresTarget("t", database.observe)
    for spec in SPECS:
        database.execute(spec.ddl(concurrently=concurrently), dsn=database.app)
        with target.observing("test") as session:
            built = session.index("public", spec.name)
        assert built is not None, spec
        assert built.spec is not None, spec
        assert built.spec.serves(spec), spec
        assert spec.serves(built.spec), spec
        assert built.spec.identity.replace("pg_catalog.", "") == spec.identity
        database.execute(spec.drop(concurrently=concurrently), dsn=database.app)
    assert database.indexes() == {}


def test_ddl_and_its_inverse_name_the_same_index() -> None:
    assert A.ddl() == f"CREATE INDEX CONCURRENTLY {A.name} ON public.t USING btree (a)"
    assert A.drop() == f"DROP INDEX CONCURRENTLY public.{A.name}"
    assert A.ddl(name="My idx", concurrently=False) == 'CREATE INDEX "My idx" ON public.t USING btree (a)'
    assert A.drop(name="My idx", concurrently=False) == 'DROP INDEX public."My idx"'


def test_every_part_of_a_definition_is_part_of_its_identity() -> None:
    assert len({spec.identity for spec in SPECS}) == len({spec.name for spec in SPECS}) == len(SPECS)


def test_a_spelled_out_default_of_the_nulls_is_the_same_index() -> None:
    assert _on(_desc("a", nulls_first=True)).identity == _on(_desc("a")).identity


def test_widening_adds_a_key_at_the_end() -> None:
    assert A.widened(IndexColumn("b")) == AB
    assert AB.column_names == ("a", "b")
    assert _on(LOWER, "b").column_names == ("b",)
