"""Does a name or a literal, however hostile, come back from a real server as it was?"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from pglast import keywords

from ooda_dagster.core.identifiers import own_index_name, parts, qualified, quote_identifier, quote_literal
from ooda_dagster.core.indexes import IndexColumn, IndexSpec
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.support import Database

HOSTILE = (
    "plain",
    "Mixed Case",
    "1st",
    "a$b",
    "two words",
    "select",
    "user",
    "between",
    'quo"te',
    '""',
    "it's",
    "back\\slash",
    "\\",
    "a.b",
    '"; drop table t; --',
    "'; drop table t; --",
    "/* ooda */",
    "$$",
    "$1",
    "%s %(x)s {}",
    "new\nline\ttab\r",
    "Größe",
    "表",
    "🙂",
    "e\u0301",
    "\u202egnp.exe",
    "x" * 63,
    "ü" * 31,
)
ALPHABET = "aZ_0 '\"\\;.-$%{}/*\n\t\x01\x7fü表🙂\u200b"


@pytest.fixture
def session(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.superuser, autocommit=True) as connection:
        yield connection


def _random_strings(seed: int, count: int, max_bytes: int) -> list[str]:
    source = random.Random(seed)
    made = ("".join(source.choices(ALPHABET, k=source.randint(1, 20))) for _ in range(count))
    return [text for text in made if len(text.encode()) <= max_bytes]


def _row(session: psycopg.Connection[Any], text: str) -> tuple[Any, ...]:
    row = session.execute(trusted(text)).fetchone()
    assert row is not None
    return row


def test_any_name_comes_back_from_the_server_as_it_was(session: psycopg.Connection[Any]) -> None:
    names = [*dict.fromkeys((*HOSTILE, *_random_strings(1, 400, 63)))]
    for batch in (names[n : n + 100] for n in range(0, len(names), 100)):
        cursor = session.execute(trusted(f"select {', '.join(f'1 as {quote_identifier(name)}' for name in batch)}"))
        assert [column.name for column in cursor.description or ()] == batch


@pytest.mark.parametrize("conforming", ["on", "off"])
def test_any_literal_comes_back_from_the_server_as_it_was(session: psycopg.Connection[Any], conforming: str) -> None:
    session.execute(trusted(f"set standard_conforming_strings = {conforming}; set escape_string_warning = off"))
    values = ["", *HOSTILE, *_random_strings(2, 400, 1000)]
    assert list(_row(session, f"select {', '.join(quote_literal(value) for value in values)}")) == values


def test_names_are_quoted_as_the_server_quotes_them(session: psycopg.Connection[Any]) -> None:
    words = (
        keywords.RESERVED_KEYWORDS
        | keywords.TYPE_FUNC_NAME_KEYWORDS
        | keywords.COL_NAME_KEYWORDS
        | keywords.UNRESERVED_KEYWORDS
    )
    names = [*sorted(words), *(h for h in HOSTILE if h != "a$b")]
    theirs = [session.execute("select quote_ident(%s)", [name]).fetchone() for name in names]
    assert [(quote_identifier(name),) for name in names] == theirs


def test_a_table_of_hostile_names_gets_its_index_and_loses_nothing_else(session: psycopg.Connection[Any]) -> None:
    session.execute("create table t ()")
    for number, name in enumerate(HOSTILE):
        schema = f"s{number}"
        spec = IndexSpec(schema, name, (IndexColumn(name),))
        session.execute(trusted(f"create schema {schema}; create table {spec.relation} ({quote_identifier(name)} int)"))
        session.execute(trusted(spec.ddl()))
        found = session.execute(
            "select indexname, tablename from pg_indexes where schemaname = %s", [schema]
        ).fetchall()
        assert found == [(spec.name, name)]
        session.execute(trusted(spec.drop()))
        assert _row(session, f"select count(*) from pg_indexes where schemaname = '{schema}'") == (0,)
    assert _row(session, "select to_regclass('t') is not null") == (True,)


@pytest.mark.parametrize("function", [quote_identifier, quote_literal])
def test_a_nul_character_is_refused(function: Any) -> None:
    with pytest.raises(ValueError, match="NUL"):
        function("a\0b")


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_qualified_name_is_taken_apart_into_what_it_was_made_of(name: str) -> None:
    assert parts(qualified(name, "t", name)) == (name, "t", name)


@pytest.mark.parametrize("table", [*HOSTILE, "---"])
def test_our_names_are_plain_and_at_most_63_bytes(table: str) -> None:
    name = own_index_name(table, [table, "id"], "index ON x")
    assert len(name.encode()) <= 63
    assert name.startswith("ooda_")
    assert name.replace("_", "").isalnum()


def test_our_names_tell_table_columns_and_identity() -> None:
    assert own_index_name("orders", ["customer", "placed"], "x") == "ooda_orders_customer_placed_2d7116"


def test_equal_definitions_get_equal_names_on_every_server_and_version() -> None:
    """The names are in databases already: a change of the hash would build every index again."""
    assert IndexSpec.on("public", "orders", "customer").name == "ooda_orders_customer_949b16"


def test_long_names_that_differ_at_their_end_get_different_names() -> None:
    one, other = (IndexSpec.on("public", "t" * 63, "c" * 62 + end).name for end in "ab")
    assert one != other
    assert one[:56] == other[:56]
