"""Does the specification that is read of an index build an equal index again?"""

from __future__ import annotations

import pytest

from ooda_dagster.core.catalogue import Index
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import Database

SETUP = (
    'create table t (a int, b text, c text collate "C", "Weird ""col" int, ünï text, d varchar(20), e char(5), '
    "js jsonb, during tsrange, at timestamptz, arr int[]); create extension pg_trgm; create extension btree_gist"
)

DEFINITIONS = (
    "(a)",
    "(a, b, c)",
    "(a desc)",
    "(a desc nulls last)",
    "(a nulls first)",
    "(a, b desc, c nulls first)",
    '("Weird ""col", ünï)',
    "(a) include (b, c)",
    "(a) where b = 'it''s'",
    "(a) where b is not null and at > '2026-01-01'",
    "(lower(b))",
    "((a + 1), b)",
    "((a % 10) desc nulls last, lower(b))",
    "(((js ->> 'it''s')))",
    '(b collate "C")',
    '(c collate "default")',
    '(lower(b) collate "C")',
    "(lower(c))",
    '(lower(c) collate "POSIX" desc)',
    '((b || c collate "C"))',
    "(b text_pattern_ops)",
    "(d text_pattern_ops, a)",
    "(d varchar_pattern_ops)",
    "(e)",
    "(lower(b) text_pattern_ops)",
    "using hash (b)",
    "using gin (js jsonb_path_ops)",
    "using gin (b gin_trgm_ops)",
    "using gin (arr)",
    "using gist (during, a)",
    "using brin (at)",
    "using spgist (b)",
    "using btree (date_trunc('day', at at time zone 'UTC')) where a > 0",
    "using btree (coalesce(b, 'none'), a) include (d)",
)


def _index(database: Database, name: str) -> Index:
    with PostgresTarget("t", database.observe).observing("test") as session:
        found = session.index("public", name)
    assert found is not None
    return found


def _indexes(database: Database) -> dict[str, Index]:
    with PostgresTarget("t", database.observe).observing("test") as session:
        return {index.name: index for index in session.catalogue().indexes}


@pytest.mark.parametrize("unique", ["", "unique "])
def test_every_kind_of_index_can_be_built_again_from_what_is_read(database: Database, unique: str) -> None:
    database.execute(SETUP)
    definitions = [d for d in DEFINITIONS if not unique or "using" not in d]
    database.execute("; ".join(f"create {unique}index original{n} on t {d}" for n, d in enumerate(definitions)))
    read = {name: index.spec for name, index in _indexes(database).items() if index.spec}
    database.execute("; ".join(spec.ddl(name=f"again_{name}", concurrently=False) for name, spec in read.items()))
    found = _indexes(database)
    assert len(found) == 2 * len(definitions)
    for name, spec in read.items():
        again = found[f"again_{name}"]
        assert again.spec == spec
        assert again.definition.replace("again_", "") == found[name].definition


@pytest.mark.parametrize("key", ["using gin (a s.gin_trgm_ops)", '(a collate s."My")'])
def test_a_name_that_is_not_on_the_search_path_stays_resolvable(database: Database, key: str) -> None:
    database.execute('create schema s; create extension pg_trgm schema s; create collation s."My" from "C"')
    database.execute(f"create table t (a text); create index original on t {key}")
    original = _index(database, "original")
    assert original.spec is not None
    database.execute(original.spec.ddl(name="again", concurrently=False))
    assert _index(database, "again").spec == original.spec


def test_an_operator_class_with_options_is_not_told_as_something_simpler(database: Database) -> None:
    database.execute(SETUP)
    database.execute("create index original on t using gist (b gist_trgm_ops (siglen = 32))")
    index = _index(database, "original")
    assert index.spec is None
    assert "siglen" in index.definition


def test_an_index_that_is_not_there_is_none(database: Database) -> None:
    with PostgresTarget("t", database.observe).observing("test") as session:
        assert session.index("public", "nothing") is None
