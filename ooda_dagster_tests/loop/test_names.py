"""Do quoted, unicode and 63-byte names go from the server's statistics to a built index and back?"""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.by_hand import rollback
from ooda_dagster_tests.loop.ground import make_loop, turn
from ooda_dagster_tests.support import Database


def make_table(database: Database, schema: str, table: str, column: str) -> None:
    """A table of 50,000 rows under these names, and 60 calls that want an index."""
    names = {"schema": sql.Identifier(schema), "table": sql.Identifier(schema, table), "column": sql.Identifier(column)}
    with psycopg.connect(database.superuser, autocommit=True) as connection:
        connection.execute(sql.SQL("create schema if not exists {schema}").format(**names))
        connection.execute(sql.SQL("grant usage, create on schema {schema} to inference_app").format(**names))
    with psycopg.connect(database.app, autocommit=True) as connection:
        connection.prepare_threshold = None
        rows = "select g % 5000 as {column}, repeat('x', 200) as fill from generate_series(1, 50000) g"
        connection.execute(sql.SQL("create table {table} as " + rows).format(**names))
    with psycopg.connect(database.app, autocommit=True) as connection:
        connection.prepare_threshold = None
        # Of its own: what filled the table has been counted by the end of its session, and is not changed since.
        connection.execute(sql.SQL("analyze {table}").format(**names))
        for n in range(60):
            connection.execute(sql.SQL("select max(fill) from {table} where {column} = %s").format(**names), (n,))


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize(
    ("schema", "table", "column"),
    [
        ("Sales 2", 'Order "Lines"', "заказ.№"),
        pytest.param("schéma", "заказы", "größe", marks=pytest.mark.slow),
        pytest.param("s" * 63, "t" * 63, "c" * 63, marks=pytest.mark.slow),
    ],
)
def test_an_index_is_found_built_and_rolled_back_whatever_its_table_is_called(
    database: Database, books: Ledger, home: Path, schema: str, table: str, column: str
) -> None:
    make_table(database, schema, table, column)
    loop = make_loop(database, books, home, Mode.AUTO)
    (result,) = turn(loop).results.results
    assert (result.action_status, result.note) == ("Executed", "")
    assert list(database.indexes(schema).values()) == [True]
    action = loop.ledger.actions.get(result.action_id)
    assert rollback(loop, action, by="ann").action.state == State.REVERTED
    assert database.indexes(schema) == {}
