"""Is the catalogue read as it is: sizes, use, constraints, statistics, odd names, and tables that vanish meanwhile?"""

from __future__ import annotations

import psycopg
from psycopg.rows import namedtuple_row

from ooda_dagster.core.catalogue import Catalogue, Table
from ooda_dagster.core.identifiers import quote_identifier
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster.targets.postgres.read_catalogue import read_catalogue
from ooda_dagster_tests.support import Database, make_orders, open_transaction


def read(database: Database, *statistics: tuple[str, str]) -> Catalogue:
    with PostgresTarget("t", database.observe).observing("test") as session:
        return session.catalogue(statistics or None)


def table(database: Database, name: str, *, schema: str = "public", statistics: bool = False) -> Table:
    return read(database, *([(schema, name)] if statistics else [])).tables[schema, name]


def test_an_empty_database_has_an_empty_catalogue(database: Database) -> None:
    catalogue = read(database)
    assert catalogue.tables == {}
    assert catalogue.heap_bytes == 0
    assert catalogue.search_path == ("public",)


def test_sizes_and_owner_are_the_server_s(database: Database) -> None:
    make_orders(database, 5000)
    found = table(database, "orders")
    ((oid, heap, total),) = database.execute(
        "select 'orders'::regclass::oid, pg_relation_size('orders'), pg_total_relation_size('orders')"
    )
    assert (found.oid, found.bytes, found.total_bytes, found.owner) == (oid, heap, total, "inference_app")
    assert found.rows == 5000
    assert found.pages == heap // 8192


def test_a_table_that_was_never_analysed_says_so(database: Database) -> None:
    database.execute("create table t (a int); insert into t select generate_series(1, 100)")
    assert table(database, "t").rows < 0


def test_constraints_of_indexes_are_told(database: Database) -> None:
    database.execute(
        "create extension btree_gist; "
        "create table t (a int primary key, b int unique, c int, during tstzrange, "
        "constraint no_overlap exclude using gist (c with =, during with &&)); create unique index plain on t (c); "
        "create table r (a int not null); create unique index ident on r (a); "
        "alter table r replica identity using index ident"
    )
    indexes = {i.name: i for i in read(database).indexes}
    assert {name: (i.constraint, i.primary, i.unique) for name, i in indexes.items()} == {
        "t_pkey": ("p", True, True),
        "t_b_key": ("u", False, True),
        "no_overlap": ("x", False, False),
        "plain": (None, False, True),
        "ident": (None, False, True),
    }
    assert [name for name, i in indexes.items() if i.replica_identity] == ["ident"]


def test_an_index_s_use_is_told(database: Database) -> None:
    make_orders(database, 3000)
    database.execute(
        "set enable_seqscan = off; select note from orders where id = 7; select pg_stat_force_next_flush()"
    )
    index = read(database).index("public", "orders_pkey")
    assert index is not None
    assert index.scans == 1
    assert index.bytes > 0


def test_an_index_that_is_invalid_is_told_as_such(database: Database) -> None:
    make_orders(database, 100)
    database.execute("create index i on orders (customer)")
    database.execute("update pg_index set indisvalid = false where indexrelid = 'i'::regclass")
    index = read(database).index("public", "i")
    assert index is not None
    assert not index.valid


def test_a_partitioned_table_and_its_partitions_are_told_apart(database: Database) -> None:
    database.execute(
        "create table p (a int, b int) partition by range (a); create table p1 partition of p "
        "for values from (0) to (9); create index on p (b); insert into p select 1, 2"
    )
    found = read(database)
    parent, part = found.tables["public", "p"], found.tables["public", "p1"]
    assert (parent.kind, parent.is_partition, parent.bytes) == ("p", False, 0)
    assert (part.kind, part.is_partition) == ("r", True)
    assert part.bytes > 0
    assert [(i.name, i.bytes > 0) for i in (*parent.indexes, *part.indexes)] == [("p_b_idx", False), ("p1_b_idx", True)]


def test_a_parent_s_statistics_are_those_of_its_whole_family(database: Database) -> None:
    database.execute(
        "create table p (a int); create table c () inherits (p); insert into p select 1 from generate_series(1, 100); "
        "insert into c select 2 from generate_series(1, 300); analyze p; analyze c"
    )
    parent = table(database, "p", statistics=True)
    assert parent.has_children
    statistics = parent.columns["a"].statistics
    assert statistics is not None
    assert dict(zip(statistics.common_values, statistics.common_freqs, strict=True)) == {"2": 0.75, "1": 0.25}


def test_statistics_are_read_for_the_named_tables_only(database: Database) -> None:
    make_orders(database, 500)
    database.execute("create table other (a int); insert into other values (1); analyze other")
    found = read(database, ("public", "orders"))
    assert found.tables["public", "orders"].analysed
    assert not found.tables["public", "other"].analysed


def test_statistics_of_every_kind_of_column_can_be_read(database: Database) -> None:
    """Values of arrays, composites and ranges hold commas, quotes and braces of their own."""
    database.execute(
        "create type pair as (a int, b text); create type mood as enum ('so, so', 'fine'); create domain d as text; "
        "create table t as select array[g % 3, 2] as arr, (g % 3, 'a,\"b{')::pair as com, int4range(g % 3, 10) as ran, "
        "'fine'::mood as moo, 'x,y'::d as dom, 'NULL' as word, ('{\"k\": ' || g % 3 || '}')::jsonb as js, "
        "b'101' as bits, '\\xff'::bytea as bytes, box(point(0, 0), point(1, g % 3)) as bo, null::int as nothing, "
        "to_tsvector('simple', 'a b') as tsv from generate_series(1, 300) g; analyze t"
    )
    columns = table(database, "t", statistics=True).columns
    values = {n: c.statistics.common_values for n, c in columns.items() if c.statistics}
    assert set(values["arr"]) == {"{0,2}", "{1,2}", "{2,2}"}
    assert set(values["com"]) == {f'({n},"a,""b{{")' for n in range(3)}
    assert values["moo"] == ("fine",)
    assert values["dom"] == ("x,y",)
    assert values["word"] == ("NULL",)
    assert values["nothing"] == ()


def test_names_of_any_form_come_back_as_they_are(database: Database) -> None:
    names = (
        "Weird",
        'with "quotes"',
        "semi;colon",
        "sp ace",
        "a.b",
        "käse",
        "日本語",
        "select",
        "%s",
        "{}",
        "x" * 63,
        "é" * 31,
    )
    with psycopg.connect(database.superuser, autocommit=True) as connection:
        for quoted in map(quote_identifier, names):
            text = (
                f"create schema {quoted}; create table {quoted}.{quoted} ({quoted} int); "
                f"create index on {quoted}.{quoted} ({quoted}); insert into {quoted}.{quoted} values (1), (1)"
            )
            connection.execute(trusted(text))
        connection.execute("analyze")
    found = read(database, *((name, name) for name in names)).tables
    assert set(found) == {(name, name) for name in names}
    for name in names:
        columns, (index,) = found[name, name].columns, found[name, name].indexes
        assert [c for c, column in columns.items() if column.statistics] == [name]
        assert index.spec is not None
        assert index.spec.column_names == (name,)


def test_temporary_tables_and_tables_of_extensions_are_left_out(database: Database) -> None:
    database.execute("create extension hstore; create table ext (a int); alter extension hstore add table ext")
    with open_transaction(database.superuser, "create temp table mine (a int)") as connection:
        connection.commit()
        assert read(database).tables == {}


def test_a_table_that_is_dropped_while_we_read_is_left_out(database: Database) -> None:
    """Its rows are in our snapshot still, and the server's functions know nothing of it."""
    database.execute(
        "create table gone (a int); create index on gone (a); create table stays (a int); "
        "create index on stays (lower(a::text))"
    )
    with psycopg.connect(database.superuser, row_factory=namedtuple_row) as connection:
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("select 1")
        database.execute("drop table gone")
        found = read_catalogue(connection, [("public", "gone")])
    assert set(found.tables) == {("public", "stays")}
    assert found.heap_bytes == 0
    assert len(list(found.indexes)) == 1


def test_an_index_that_is_dropped_while_we_read_is_left_out(database: Database) -> None:
    database.execute("create table t (a int); create index gone on t (lower(a::text)); create index stays on t (a)")
    with psycopg.connect(database.superuser, row_factory=namedtuple_row) as connection:
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("select 1")
        database.execute("drop index gone")
        found = read_catalogue(connection)
    assert [i.name for i in found.indexes] == ["stays"]


def test_a_table_that_somebody_holds_exclusively_is_told_by_its_last_vacuum(database: Database) -> None:
    make_orders(database, 1000)
    database.execute("create index open_orders on orders (placed) where status = 'open'")
    database.execute("vacuum orders")
    with open_transaction(database.superuser, "lock table orders in access exclusive mode"):
        seen = {i.name: i for i in read(database).tables[("public", "orders")].indexes}
        assert seen["orders_pkey"].spec is not None
        assert seen["orders_pkey"].bytes > 0
        assert seen["open_orders"].spec is None, "what cannot be read is not guessed"
    (found,) = (i for i in read(database).tables[("public", "orders")].indexes if i.name == "open_orders")
    assert found.spec is not None


def test_our_reading_holds_nobody_up(database: Database) -> None:
    """A session that has read keeps no lock and no snapshot."""
    make_orders(database, 100)
    with PostgresTarget("t", database.observe).observing("test") as session:
        session.catalogue([("public", "orders")])
        database.execute("set lock_timeout = '500ms'; alter table orders add column more int")
        assert database.execute(
            "select count(*) from pg_stat_activity where application_name = 'ooda/t/test' and backend_xmin is not null"
        ) == [(0,)]
