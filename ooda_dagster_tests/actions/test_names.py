"""Do quoted, unicode and 63-byte names go through propose, apply and rollback?"""

from __future__ import annotations

import pytest
from psycopg import sql

from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.journal import State
from ooda_dagster_tests.actions.stage import Stage

LONG = "l" * 63
NAMES = [
    ("public", "Order Lines", 'he said "no"'),
    ("public", "заказы", "größe"),
    ("public", LONG, "c" * 63),
    ("public", "ü" * 31, "ß" * 31),
    ("public", "select", "user"),
    ("public", "dotted.table", "semi;colon--"),
    ("public", "back\\slash", "it's"),
]


@pytest.mark.parametrize(("schema", "table", "column"), NAMES)
@pytest.mark.parametrize("own_name", [None, pytest.param('My "Index".1', marks=pytest.mark.slow)])
def test_a_name_survives_the_whole_life_of_an_action(
    stage: Stage, schema: str, table: str, column: str, own_name: str | None
) -> None:
    made = sql.SQL("create table {} ({} int)").format(sql.Identifier(schema, table), sql.Identifier(column))
    stage.database.execute(made.as_string(), dsn=stage.database.app)
    before = stage.definitions()
    action = stage.built(IndexSpec.on(schema, table, column), name=own_name)
    assert action.object_name is not None
    assert len(action.object_name.encode()) <= 63
    assert stage.database.indexes()[action.object_name] is True
    assert stage.disagreements() == []
    assert stage.recover() == []
    assert stage.rollback(action).action.state == State.REVERTED
    assert stage.definitions() == before
