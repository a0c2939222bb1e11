"""Are the statements of a binding what PostgreSQL reads, whatever names and ids there are?"""

from __future__ import annotations

from dataclasses import replace

import pglast
import pytest

from ooda_dagster.core.concept_binding import DROP, Binding, array_of, grants, mapping_of
from ooda_dagster.core.concept_settings import Concepts

WANTED = Binding("c0123456789", 1, 'public."odd */ name"', 7, 'Owner"s', "digest", "bigint", 500, 1200)


@pytest.mark.parametrize("id_type", ["bigint", "uuid", "text"])
def test_each_statement_is_one_statement(id_type: str) -> None:
    wanted = replace(WANTED, id_type=id_type)
    texts = [wanted.create, wanted.grant, wanted.insert, wanted.delete, DROP, *grants('a "role"', ["b"])]
    assert [len(pglast.parse_sql(text)) for text in texts] == [1] * len(texts)
    assert wanted.columns == (f"atom_id {id_type}", "concept_id text", "action_id uuid")


def test_another_version_is_another_statement_for_an_approval() -> None:
    assert replace(WANTED, version=2).insert != WANTED.insert
    assert replace(WANTED, version=2).delete == WANTED.delete
    assert replace(WANTED, new_rows=1).insert == WANTED.insert  # what grew is still what was approved


def test_ids_are_quoted_as_elements_of_an_array() -> None:
    assert array_of([1, 22]) == '{"1","22"}'
    assert array_of(['a"b', "c\\d,e}", ""]) == '{"a\\"b","c\\\\d,e}",""}'


def test_the_mapping_is_told_by_what_chooses_rows() -> None:
    assert mapping_of(Concepts()) == mapping_of(Concepts(bucket="7"))
    others = [Concepts(id="x"), Concepts(table="x"), Concepts(embedding="x"), Concepts(model="x")]
    assert len({mapping_of(c) for c in [Concepts(), *others]}) == 5
