"""Is no literal left in a text, and does a normalised text stay as it is?"""

from __future__ import annotations

import pytest

from ooda_dagster.core.fingerprint import fingerprint, is_own
from ooda_dagster.core.scrub import UNREADABLE, scrubbed

WITH_LITERALS = (
    "select * from t where a = 'm4rker' and b = 7077",
    "select * from t where a = $1 and b = E'\\nm4rker'",
    "select U&'m4rker', b'101', $tag$m4rker$tag$",
    "insert into t values (1, 'm4rker'), (2, 'm4rker')",
    "alter role bob password 'm4rker'",
    "create role bob login password 'm4rker'",
    "create user mapping for x server y options (password 'm4rker')",
    "create subscription s connection 'host=h password=m4rker' publication p",
    "do $$ begin perform 'm4rker'; end $$",
    "create function f() returns text language sql as 'select ''m4rker'''",
    "create view v as select 'm4rker' as a, 7077 as b",
    "create table z (a text default 'm4rker', check (a <> 'm4rker'))",
    "create index on t (a) where b = 'm4rker' and c = 7077",
    "comment on table t is 'm4rker'",
    "copy t from '/m4rker' with (format csv)",
    "prepare transaction 'm4rker'",
    "notify ch, 'm4rker'",
    "set a.b = 'm4rker'",
    "call p('m4rker')",
    "declare c cursor for select 'm4rker'",
    "explain select 'm4rker'",
    "select 'm4rker', 7077 from where",  # newer syntax, perhaps
    "select 'm4rker",
    "/* user='m4rker' */ select 1 -- m4rker",
    "select 1; select 'm4rker'",
    "select " + "(" * 20_000 + "'m4rker'" + ")" * 20_000,
    "insert into t values " + ", ".join(["('m4rker', 7077)"] * 8000),
)

NORMALISED = (
    "select * from t where a = $1 order by 2, 1 limit $2",
    "select $1::numeric(10,2), $2::varchar(20), interval $3",
    "select a from t where a in ($1 /*, ... */)",
    "/*+ SeqScan(t) */ select a from t where a = $1",
    "select a from t where a = $1 /* ooda */",
    'select "m4rker" from "7077"',
    "vacuum (analyze) t",
    "begin",
    "",
)


@pytest.mark.parametrize("text", WITH_LITERALS, ids=lambda t: t[:40])
def test_no_literal_is_left(text: str) -> None:
    found = scrubbed(text)
    assert "m4rker" not in found
    assert "7077" not in found


@pytest.mark.parametrize("text", NORMALISED)
def test_a_normalised_text_stays_as_it_is(text: str) -> None:
    assert scrubbed(text) == text


@pytest.mark.parametrize("text", WITH_LITERALS[:4])
def test_a_statement_stays_the_same_statement(text: str) -> None:
    assert fingerprint(scrubbed(text)) == fingerprint(text)


def test_new_parameters_do_not_collide_with_those_that_are_there() -> None:
    assert scrubbed("select a from t where a = $2 and b = 'x' and c = $1") == (
        "select a from t where a = $2 and b = $3 and c = $1"
    )


def test_text_that_is_not_ascii_is_taken_apart_at_the_right_places() -> None:
    assert scrubbed("select 'ä' as ü from 日本 where é = 'm4rker' /* é */") == "select $1 as ü from 日本 where é = $2"


def test_what_cannot_be_taken_apart_is_not_told() -> None:
    assert scrubbed("select 'open") == UNREADABLE


def test_our_mark_stays() -> None:
    assert is_own(scrubbed("select 'x' /* ooda */"))
    assert not is_own(scrubbed("select 'x' /* ooda */ , 1"))
