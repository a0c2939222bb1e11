"""One real database with statistics for all tests of this folder that ask a planner; they only read it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ooda_dagster.advisor.advise import Advised, advise
from ooda_dagster.advisor.costs import shapes_of
from ooda_dagster.advisor.workload import Workload, WorkloadStatement
from ooda_dagster.core.settings import Advice
from ooda_dagster.embedded import Cluster
from ooda_dagster.loop import whatif
from ooda_dagster.loop.whatif import pricing_for
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster_tests.support import Database

_TABLES = """
create table orders (id bigint primary key, customer int not null, status text not null, placed timestamptz not null,
  shipped timestamptz, amount numeric not null, note text not null);
insert into orders select g, (g::bigint * 7919) % 5000, case when g % 200 = 0 then 'open' else 'done' end,
  timestamptz '2026-01-01' + (g::bigint * 104729) % 500000 * interval '1 minute', null, g % 977, repeat('x', 60)
  from generate_series(1, 60000) g;
create table lines (order_id bigint not null, line int not null, sku int not null, primary key (order_id, line));
insert into lines select g / 2, g % 2, (g * 31) % 900 from generate_series(1, 80000) g;
create table heat (id int primary key, zone int not null, level int not null);
insert into heat select g, g % 300, 0 from generate_series(1, 60000) g;
create table events (id int, kind int) partition by range (id);
create table events_1 partition of events for values from (0) to (100000);
insert into events select g, g % 50 from generate_series(1, 50000) g;
create table tiny (k int);
insert into tiny values (1);
create view recent as select * from orders where placed > '2026-06-01';
create schema "My Schema";
create table "My Schema"."Odd Table" ("Größe" int, "select" text);
insert into "My Schema"."Odd Table" select g % 4000, repeat('y', 50) from generate_series(1, 40000) g;
"""


@pytest.fixture(scope="module")
def shop(target_server: Cluster) -> Iterator[Database]:
    """A shop's tables, loaded and analysed."""
    made = Database(target_server, f"shop_{uuid.uuid4().hex[:12]}")
    made.create()
    try:
        made.execute(f"grant create on database {made.name} to inference_app")
        made.execute(_TABLES, dsn=made.app)
        made.execute("vacuum analyze", dsn=made.superuser)
        yield made
    finally:
        made.drop()


@pytest.fixture(scope="module")
def clone_server(home: Path) -> Iterator[Cluster]:
    """The scratch server, kept up between tests: each would start and stop it."""
    with whatif._clone_server(home) as cluster:
        yield cluster


@pytest.fixture
def advised(shop: Database, home: Path, clone_server: Cluster) -> Callable[..., Advised]:
    """Advice for statements on the shop, as its observing role: `advised(*statements, budget=..., **settings)`."""

    def run(*statements: WorkloadStatement, budget: int = 1 << 30, hours: float = 1.0, **settings: object) -> Advised:
        workload = Workload(statements, hours, "test")
        policy = Advice.model_validate({"min_statement_total_ms": 0, **settings})
        with PostgresTarget("t", shop.observe).observing("test") as session:
            shapes, _ = shapes_of(statements, session.catalogue())
            catalogue = session.catalogue({key for _, shape in shapes for key in shape.tables})
            with pricing_for("t", session, home) as price_with:
                return advise(workload, catalogue, price_with, policy=policy, budget_bytes=budget)

    return run
