"""May the observing role write anywhere, when its session's read-only switch is off? By its rights alone it may not."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.support import Database

EVERYTHING = """
create table plain (a int primary key default 1, b text);
insert into plain values (1, 'x');
create unlogged table fast (a int);
create table parted (a int) partition by range (a);
create table parted_1 partition of parted for values from (0) to (10);
create table parent (a int); create table child (b int) inherits (parent);
create view seen as select * from plain;
create materialized view kept as select * from plain;
create sequence numbers;
create table counted (id int generated always as identity, n serial);
create extension file_fdw; create server files foreign data wrapper file_fdw;
create foreign table far (a text) server files options (filename '/dev/null');
create type mood as enum ('ok');
create domain positive as int check (value > 0);
create function adds() returns void language sql as 'insert into public.plain values (2)';
create procedure does() language sql as 'insert into public.plain values (3)';
create schema "Other ""schema"; create table "Other ""schema"."odd ""table" (a int);
select lo_from_bytea(4711, 'x');
"""
#: What one may try with a relation, by its kind.
ON_TABLE = (
    "insert into {0} default values", "update {0} set {1} = null", "delete from {0}", "truncate {0}",
    "select * from {0} for update", "copy {0} from stdin", "lock {0} in access exclusive mode",
    "create index on {0} ({1})", "alter table {0} add column z int", "drop table {0}", "comment on table {0} is 'z'",
    "analyze {0}", "grant select on {0} to public", "create trigger z after insert on {0} execute function adds()",
    "create rule z as on insert to {0} do instead nothing", "create statistics z on {1}, {1} from {0}",
)  # fmt: skip
ON_SEQUENCE = ("select nextval('{0}')", "select setval('{0}', 9)", "alter sequence {0} restart", "drop sequence {0}")
ON_SCHEMA = (
    "create table {0}.z (a int)", "create function {0}.z() returns int language sql as 'select 1'",
    "create sequence {0}.z", "create type {0}.z as enum ()", "drop schema {0} cascade",
    "alter schema {0} rename to z", "create view {0}.z as select 1",
)  # fmt: skip
ELSEWHERE = (
    "select public.adds()", "call public.does()", "select lo_put(4711, 0, 'y')", "select lo_unlink(4711)",
    "alter type mood add value 'z'", "alter domain positive not null", "drop function adds()", "create schema z",
    "create extension hstore", "create role z", "alter system set work_mem = '1MB'", "checkpoint",
    "copy (select 1) to '/tmp/z'", "copy (select 1) to program 'cat'", "select pg_read_file('/etc/passwd')",
    "select lo_import('/etc/passwd')", "create publication z", "alter database {d} set work_mem = '1MB'",
    "reindex system {d}",
    "select pg_reload_conf()", "select pg_stat_reset()", "select pg_switch_wal()", "set role postgres",
    "set session authorization postgres", "security label on table plain is 'z'",
    "create server z foreign data wrapper file_fdw",
)  # fmt: skip


@pytest.fixture
def observer(database: Database) -> Iterator[psycopg.Connection[object]]:
    """The observing role's session, open for writing as far as its rights go."""
    database.execute(EVERYTHING)
    with psycopg.connect(database.observe, autocommit=True) as connection:
        connection.execute("set default_transaction_read_only = off")
        connection.execute("set lock_timeout = '2s'")
        yield connection


def _tries(database: Database) -> Iterator[str]:
    relations = database.execute(
        "select quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text, (select quote_ident(attname) "
        "from pg_attribute where attrelid = c.oid and attnum = 1) from pg_class c join pg_namespace n "
        "on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and n.nspname !~ '^pg_' "
        "and n.nspname <> 'information_schema'"
    )
    assert {kind for _, kind, _ in relations} == set("rpvmfS")
    for name, kind, column in relations:
        for text in ON_SEQUENCE if kind == "S" else ON_TABLE:
            yield text.format(name, column)
    for (schema,) in database.execute(
        "select quote_ident(nspname) from pg_namespace where nspname !~ '^pg_(toast|temp)'"
    ):
        yield from (text.format(schema) for text in ON_SCHEMA)
    yield from (text.format(d=database.name) for text in ELSEWHERE)


def _state(database: Database) -> dict[str, list[object]]:
    """What a write would change: rows, sequences, and how many objects of each catalogue there are."""
    catalogues = "pg_class pg_proc pg_namespace pg_type pg_roles pg_description pg_rewrite pg_trigger pg_statistic_ext"
    found = {name: database.execute(f"select count(*) from {name}") for name in catalogues.split()}
    found["rows"] = database.execute("select array_agg(plain.*::text) from plain")
    found["numbers"] = database.execute("select last_value, is_called from numbers")
    found["large object"] = database.execute("select lo_get(4711)")
    # The server writes the default rights out where a GRANT was in vain.
    found["rights"] = database.execute(
        "select oid::regclass::text, coalesce(relacl, acldefault("
        "(case relkind when 'S' then 's' else 'r' end)::\"char\", relowner))::text from pg_class order by oid"
    )
    return found


def test_the_observing_role_has_no_right_to_write_anything(
    database: Database, observer: psycopg.Connection[object]
) -> None:
    before = _state(database)
    done, tried = [], 0
    for text in _tries(database):
        tried += 1
        try:
            if text.startswith("copy") and text.endswith("stdin"):
                with observer.cursor().copy(trusted(text)) as copy:
                    copy.write_row(("1",))
            else:
                observer.execute(trusted(text))
            done.append(text)
        except psycopg.Error:
            continue
    assert tried > 200
    # ANALYZE and GRANT without the right are warnings, and do nothing.
    assert [text for text in done if not text.startswith(("analyze", "grant"))] == []
    assert database.execute("select count(*) from pg_stats where schemaname = 'public'") == [(0,)]
    after = _state(database)
    assert {n: [r for r in after[n] if r not in before[n]] for n in after if after[n] != before[n]} == {}
