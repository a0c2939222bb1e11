"""A source for statistics clones: partitions, odd names, expressions, types of its own; and how plans are compared."""

from __future__ import annotations

from typing import Any

import psycopg

from ooda_dagster.core.indexes import IndexColumn, IndexSpec
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.support import Database

WATCHER = "clone_watcher"

_SCHEMA = """
create schema "Läden";
create type region as enum ('north', 'east', 'south', 'west');
create domain score as int check (value between 0 and 100);
create type period as range (subtype = date);
create function tidy(text) returns text immutable strict language sql return lower(btrim($1));
create table customers (
    id bigint generated always as identity primary key, name text not null, email text, region region not null,
    points score, joined date not null, vip bool not null default false, tags text[], valid period,
    initial text generated always as (substr(name, 1, 1)) stored, unique (email));
create index customers_tidy on customers (tidy(name));
create table "Läden"."Große ""T"" 1" (
    "Schlüssel" bigint primary key, "der Wert" text not null, "select" int, kunde bigint not null references customers);
create table events (
    id bigint generated always as identity, at timestamptz not null, kind text not null, customer bigint not null,
    amount numeric(10, 2), primary key (id, at)) partition by range (at);
create table events_1 partition of events for values from ('2026-01-01') to ('2026-02-01');
create table events_2 partition of events for values from ('2026-02-01') to ('2026-03-01');
create table events_3 partition of events for values from ('2026-03-01') to ('2026-04-01');
create index on events (kind);
create table kept (note text);
create table kept_more (extra int) inherits (kept);
create view vips as select * from customers where vip;
create statistics customers_habits (dependencies) on region, vip from customers;
insert into customers (name, email, region, points, joined, vip, tags, valid)
    select 'Name ' || g, case when g % 10 > 0 then 'm' || g || '@example.org' end,
        (array['north', 'east', 'south', 'west'])[1 + floor(4 * pow(random(), 3))::int]::region, g % 101,
        '2020-01-01'::date + g % 2000, g % 40 = 0, array['a' || g % 7, 'b' || g % 50],
        period('2020-01-01'::date + g % 300, '2021-01-01'::date + g % 300)
    from generate_series(1, 40000) g;
insert into "Läden"."Große ""T"" 1"
    select g, 'w' || g % 900, g % 11, 1 + g % 40000 from generate_series(1, 60000) g;
insert into events (at, kind, customer, amount)
    select '2026-01-01'::timestamptz + (g % 89) * interval '1 day', (array['click', 'view', 'buy'])[1 + g % 3],
        1 + (g * 7919) % 40000, g % 1000 from generate_series(1, 90000) g;
insert into kept select 'n' || g from generate_series(1, 3000) g;
insert into kept_more select 'm' || g, g from generate_series(1, 3000) g;
"""

STATEMENTS = {
    "by key": "select * from customers where id = 77",
    "enum": "select count(*) from customers where region = 'west' and joined > '2025-01-01'",
    "common enum": "select count(*) from customers where region = 'north'",
    "domain": "select name from customers where points = 7",
    "array": "select count(*) from customers where tags @> array['a3']",
    "range": "select count(*) from customers where valid @> '2020-02-02'::date",
    "generated": "select count(*) from customers where initial = 'N'",
    "view": "select * from vips where joined = '2024-02-02'",
    "odd names": 'select * from "Läden"."Große ""T"" 1" where "der Wert" = \'w17\'',
    "odd join": 'select c.name, t."select" from customers c join "Läden"."Große ""T"" 1" t on t.kunde = c.id '
    "where c.points = 3",
    "partitions": "select sum(amount) from events where customer = 4711",
    "pruned": "select count(*) from events where at >= '2026-02-10' and at < '2026-02-12' and kind = 'buy'",
    "one partition": "select * from events_2 where customer = 99",
    "order": "select * from customers order by joined desc limit 10",
    "three tables": "select c.region, count(*) from events e join customers c on c.id = e.customer "
    'join "Läden"."Große ""T"" 1" t on t."Schlüssel" = e.id where c.points < 3 group by 1',
    "inherited": "select count(*) from kept where note = 'm7'",
    "insert": "insert into kept values ('x')",
    "update": "update customers set points = 1 where email = 'm9@example.org'",
    "delete": "delete from customers where joined = '2024-02-02'",
}

EXPRESSION = "select id from customers where tidy(name) = 'name 7'"

CANDIDATES = {
    "enum": IndexSpec.on("public", "customers", "region", "joined"),
    "domain": IndexSpec.on("public", "customers", "points", include=("name",)),
    "view": IndexSpec("public", "customers", (IndexColumn("joined"),), where="vip"),
    "odd names": IndexSpec.on("Läden", 'Große "T" 1', "der Wert"),
    "odd join": IndexSpec.on("Läden", 'Große "T" 1', "kunde"),
    "one partition": IndexSpec.on("public", "events_2", "customer"),
    "order": IndexSpec("public", "customers", (IndexColumn("joined", descending=True),)),
    "inherited": IndexSpec.on("public", "kept_more", "note"),
    "delete": IndexSpec.on("public", "customers", "joined"),
    "array": IndexSpec("public", "customers", (IndexColumn("tags"),), method="gin"),
}


def fill(database: Database) -> None:
    """Make the shop, and the role that watches it with pg_monitor and SELECT."""
    database.execute("select setseed(0.5)")
    database.execute(_SCHEMA)
    database.execute("vacuum analyze")
    password = database.cluster.password
    database.execute(
        f"do $$ begin if not exists (select from pg_roles where rolname = '{WATCHER}') then "
        f"create role {WATCHER} login password '{password}'; grant pg_monitor to {WATCHER}; end if; end $$"
    )
    database.execute(
        f'grant usage on schema "Läden" to {WATCHER}; grant select on all tables in schema public, "Läden" to {WATCHER}'
    )


def watcher(database: Database) -> str:
    return database.cluster.dsn(database.name, user=WATCHER)


def plan(connection: psycopg.Connection[Any], sql: str) -> dict[str, Any]:
    row = connection.execute(trusted(f"explain (format json) {sql}")).fetchone()
    assert row is not None
    return row[0][0]["Plan"]


def shape(node: dict[str, Any], names: dict[str, str] | None = None) -> Any:
    """What a plan does with what: nodes, relations, indexes (under the names that `names` gives them)."""
    index = node.get("Index Name")
    own = (node["Node Type"], node.get("Join Type"), node.get("Relation Name"), (names or {}).get(index or "", index))
    return (own, *(shape(child, names) for child in node.get("Plans", ())))
