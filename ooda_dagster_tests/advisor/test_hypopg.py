"""Do hypothetical indexes of hypopg, on a server that has them, price as the statistics clone does?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ooda_dagster.advisor.advise import Advised, advise
from ooda_dagster.advisor.costs import shapes_of
from ooda_dagster.advisor.hypopg import HypopgPricing
from ooda_dagster.advisor.pricing import PricingError
from ooda_dagster.advisor.workload import Workload, WorkloadStatement
from ooda_dagster.core.indexes import IndexColumn, IndexSpec
from ooda_dagster.core.settings import Advice
from ooda_dagster.embedded import Cluster, list_binaries
from ooda_dagster.loop.whatif import pricing_for
from ooda_dagster.targets.base import TargetUnreachableError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.observing import PostgresObserving
from ooda_dagster_tests.advisor.shop import statement
from ooda_dagster_tests.targets.dying import Dying

CUSTOMER = IndexSpec.on("public", "orders", "customer")
SELECT = "select * from orders where customer = 7"

_SETUP = """
create schema tools; create extension hypopg schema tools; create extension pg_stat_statements;
create role watcher login password 'secret'; grant pg_monitor, pg_read_all_data to watcher; grant usage on schema tools
  to watcher; alter role watcher set default_transaction_read_only = on;
create table orders (id int primary key, customer int not null, placed timestamptz not null, tags int[]);
insert into orders select g, g % 3000, now() - g * interval '1 minute', array[g] from generate_series(1, 60000) g;
analyze orders
"""


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[str]:
    """A PostgreSQL 15 with hypopg, as its observing role sees it."""
    binaries = next((b for b in list_binaries() if b.major == 15), None)
    if binaries is None:
        pytest.skip("no PostgreSQL 15 server on this machine")
    cluster = Cluster(home / "clusters", "hypopg", binaries=binaries, preload=("pg_stat_statements",), durable=False)
    try:
        with cluster, psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            if not connection.execute("select 1 from pg_available_extensions where name = 'hypopg'").fetchone():
                pytest.skip("hypopg is not installed for the server")
            connection.execute(_SETUP.encode())
            yield cluster.dsn(user="watcher", password="secret")
    finally:
        cluster.destroy()


@pytest.fixture
def session(server: str) -> Iterator[PostgresObserving]:
    with PostgresTarget("t", server).observing("test") as opened:
        assert isinstance(opened, PostgresObserving)
        yield opened


@pytest.fixture
def pricing(session: PostgresObserving) -> HypopgPricing:
    return HypopgPricing(session.connection, session.capabilities())


def hypothetical(session: PostgresObserving) -> int:
    return session.connection.execute("select count(*) as n from tools.hypopg_list_indexes").fetchone().n  # type: ignore[union-attr]


def real_indexes(session: PostgresObserving) -> list[Any]:
    return session.connection.execute("select indexname from pg_indexes where schemaname = 'public'").fetchall()


def test_a_hypothetical_index_is_used_and_cheaper(pricing: HypopgPricing) -> None:
    assert pricing.offer([CUSTOMER]) == {CUSTOMER}
    without, with_ = pricing.price(SELECT, ()), pricing.price(SELECT, {CUSTOMER})

    assert (without.used, with_.used) == (frozenset(), {CUSTOMER})
    assert with_.cost < without.cost / 5


def test_only_what_is_on_is_visible(pricing: HypopgPricing, session: PostgresObserving) -> None:
    wider = IndexSpec("public", "orders", (IndexColumn("customer"), IndexColumn("placed", descending=True)))
    pricing.offer([CUSTOMER, wider])
    assert hypothetical(session) == 0

    assert pricing.price(SELECT, {wider}).used == {wider}
    assert hypothetical(session) == 1


def test_nothing_is_built(pricing: HypopgPricing, session: PostgresObserving) -> None:
    before = real_indexes(session)
    pricing.offer([CUSTOMER])
    pricing.price(SELECT, {CUSTOMER})

    assert real_indexes(session) == before


def test_what_hypopg_refuses_is_named(pricing: HypopgPricing) -> None:
    gin = IndexSpec("public", "orders", (IndexColumn("tags"),), method="gin")

    assert pricing.offer([CUSTOMER, gin]) == {CUSTOMER}
    assert "gin" in pricing.blind[gin.definition]


def test_a_statement_that_fails_says_its_state_and_no_literal(pricing: HypopgPricing) -> None:
    with pytest.raises(PricingError, match=r"EXPLAIN failed \(22P02\)") as raised:
        pricing.price("select * from orders where customer = 'marker'", ())

    assert "marker" not in str(raised.value)


def test_a_statement_that_may_not_be_explained_is_named(pricing: HypopgPricing) -> None:
    with pytest.raises(PricingError, match="EXPLAIN is not allowed: permission denied for table orders"):
        pricing.price("delete from orders", ())

    assert pricing.price(SELECT, ()).cost > 0  # and the session goes on


def advised(session: PostgresObserving, home: Path, *statements: WorkloadStatement) -> Advised:
    shapes, _ = shapes_of(statements, session.catalogue())
    catalogue = session.catalogue({key for _, shape in shapes for key in shape.tables})
    policy = Advice.model_validate({"min_statement_total_ms": 0})
    with pricing_for("t", session, home) as price_with:
        return advise(Workload(statements, 1, "test"), catalogue, price_with, policy=policy, budget_bytes=1 << 30)


def test_advice_comes_from_the_server_where_it_has_hypopg(session: PostgresObserving, home: Path) -> None:
    found = advised(session, home, statement("select * from orders where customer = $1", rows=2000))

    assert found.backend == "hypopg"
    assert [r.spec for r in found.recommendations] == [CUSTOMER]
    assert not found.recommendations[0].is_estimate


def test_without_a_value_an_old_server_prices_nothing_and_says_so(session: PostgresObserving, home: Path) -> None:
    text = "select * from orders where customer = $1 and point(1, 2) <@ $2::box"
    found = advised(session, home, statement(text))

    assert "no GENERIC_PLAN" in found.unjudged[0][1]


def test_an_index_that_can_no_longer_be_imagined_is_a_price_that_failed(
    pricing: HypopgPricing, session: PostgresObserving
) -> None:
    gone = IndexSpec("public", "orders", (IndexColumn("no_such_column"),))
    with pytest.raises(PricingError, match=r"EXPLAIN failed \(XX000\)"):
        pricing.price(SELECT, {gone})
    assert pricing.price(SELECT, ()).cost > 0  # and the session goes on


#: What is asked of hypopg, in turn: each is one statement or more.
ASKED: list[Callable[[HypopgPricing], Any]] = [
    lambda pricing: pricing.offer([CUSTOMER]),
    lambda pricing: pricing.price(SELECT, {CUSTOMER}),
    lambda pricing: pricing.price(SELECT, ()),
]


def test_a_server_that_dies_before_any_statement_is_no_price_that_failed(server: str) -> None:
    lost: list[str] = []
    for last in count():
        with PostgresTarget("t", server).observing("test") as session:
            seen, dying = session.capabilities(), Dying(session.connection, server, last)
            try:
                pricing = HypopgPricing(dying, seen)  # type: ignore[arg-type]
                for ask in ASKED:
                    ask(pricing)
                break
            except TargetUnreachableError as error:
                lost.append(str(error))
    assert all("the connection was lost" in words for words in lost)
    # Reset; create and drop; create, begin, path, EXPLAIN and rollback; drop and these four.
    assert len(lost) == 13
