"""Is a statement known again whatever its literals, and is no text able to break the sampler?"""

from __future__ import annotations

import random
import re
import subprocess
import sys

import pytest

from ooda_dagster.core.fingerprint import fingerprint, is_own, kind_of, parseable
from ooda_dagster.targets.postgres.queries import MARKER, marked, query


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select * from t where a = 1", "select * from t where a = 2"),
        ("select * from t where a = 1", "select * from t where a = $1"),
        ("select * from t where a = 'x'", "SELECT  *\nFROM t WHERE a='it''s'"),
        ("select * from t where a in (1, 2)", "select * from t where a in ($1, $2, $3, $4)"),
        ("select * from t where a in (1, 2)", "select * from t where a in ($1 /*, ... */)"),  # PostgreSQL 18
        ("select 1 /* request 7 */", "select 1 -- request 8"),
        ("insert into t values (1, 'a')", "insert into t values ($1, $2)"),
        ("select * from t limit 10", "select * from t limit $1"),
        ('select "a".x from "s".t "a" where 1.5 < a.y', "SELECT A.x FROM S.t A WHERE 2.5 < A.y"),
    ],
)
def test_statements_that_differ_in_literals_are_one(one: str, other: str) -> None:
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select * from t where a = 1", "select * from t where b = 1"),
        ("select * from t where a = 1", "select * from s where a = 1"),
        ("select * from t where a = 1", "select * from t where a > 1"),
        ("select * from a.t", "select * from b.t"),
        ("select * from a.t", "select * from t"),
        ('select * from "A".t', "select * from a.t"),
        ("insert into a.t values ($1)", "insert into b.t values ($1)"),
        ("select 1 from a.t join b.s on true", "select 1 from b.t join a.s on true"),
        ("select * from t order by a", "select * from t order by a desc"),
        ("select 'cut", "select 'cut off"),
    ],
)
def test_statements_that_differ_in_more_are_two(one: str, other: str) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_a_fingerprint_is_the_same_in_every_process_and_version() -> None:
    """It is the key of the ledger's history."""
    assert fingerprint("select * from t where a = $1") == "28550ea0fc43bed7"
    assert fingerprint("select 'cut") == fingerprint("select   'cut\n")


HARD = {
    "empty": "",
    "blank": " \n\t ",
    "cut in a string": "select * from t where a = 'abc",
    "cut in a word": "select * from t whe",
    "cut in a comment": "select 1 /* half",
    "NUL": "select 1\0, 2",
    "only NUL": "\0",
    "half a surrogate pair": "select '\ud800'",
    "garbage": "\x01\x02 ][ ;; ''' \\ $$",
    "newer syntax": "select * from t frobnicate by x",
    "two statements": "select 1; select 2",
    "1 MB": "select " + "1," * 500_000 + "1",
    "1 MB cut": "select '" + "x" * 1_000_000,
    "deep brackets": "select " + "(" * 40_000 + "1" + ")" * 40_000,
}


@pytest.mark.parametrize("name", HARD)
def test_no_text_is_too_hard_for_a_fingerprint(name: str) -> None:
    text = HARD[name]
    assert re.fullmatch("[0-9a-f]{16}", fingerprint(text))
    assert kind_of(text) in {"select", "other"}
    assert not is_own(text)


#: Reads statements of 29,000 and of 95,000 characters, as deep as they can be.
DEEP = """
from ooda_dagster.core.fingerprint import fingerprint, kind_of
for level in ("+1", "||a", " and a", " join b on true", " union select 1", "::int", "[1]", " is null"):
    for length in (29_000, 95_000):
        text = ("select 1 from a" if "join" in level else "select a") + level * (length // len(level))
        print(len(fingerprint(text)), kind_of(text))
"""


def test_a_deep_tree_of_terms_does_not_kill_the_process() -> None:
    """pglast's tree is built by recursion in C; a crash there takes the whole worker with it."""
    done = subprocess.run([sys.executable, "-c", DEEP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.returncode
    assert re.fullmatch(r"(16 (select|other)\n){16}", done.stdout)


def test_a_long_list_of_parameters_is_still_parsed() -> None:
    text = f"select * from t where a in ({', '.join(f'${n}' for n in range(1, 9000))})"
    assert len(text) > 50_000
    assert parseable(text)
    assert kind_of(text) == "select"
    assert fingerprint(text) == fingerprint("select * from t where a in (1)")


def test_random_bytes_never_raise() -> None:
    source = random.Random(3)
    for _ in range(500):
        text = source.randbytes(source.randint(0, 60)).decode("latin-1")
        assert len(fingerprint(text)) == 16
        kind_of(text)
        is_own(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("select 1", "select"),
        ("values (1)", "select"),
        ("with x as (select 1) select * from x", "select"),
        ("with x as (select 1) insert into t select * from x", "insert"),
        ("update t set a = 1", "update"),
        ("delete from t", "delete"),
        ("merge into t using s on t.a = s.a when matched then do nothing", "merge"),
        ("create index on t (a)", "other"),
        ("vacuum t", "other"),
        ("UPDATE t SET a = 'cut", "update"),
        ("with x as (select 'cut", "select"),
        ("select 1; delete from t", "other"),
    ],
)
def test_a_statement_is_of_the_kind_of_its_top(text: str, kind: str) -> None:
    assert kind_of(text) == kind


def test_every_statement_of_ours_is_known_as_ours() -> None:
    assert is_own(query("read_counters").as_string(None))
    assert is_own(marked("select 1").as_string(None))
    assert is_own(f"create index x on t (a) {MARKER} \n")
    assert is_own("drop index x /* ooda action 1234 */")


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "select '/* ooda */'",
        "/* ooda */ select 1",
        "select 1 /* oodalisk */",
        "select 1 -- ooda",
        "/* ooda",
    ],
)
def test_a_statement_of_somebody_else_is_not_taken_for_ours(text: str) -> None:
    assert not is_own(text)
