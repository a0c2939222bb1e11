"""Databases and ledger of these tests: made once, with a fresh target for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ooda_dagster.config.servers import ACT_ROLE, APP_ROLE
from ooda_dagster.core.concept_binding import grants
from ooda_dagster.core.settings import Mode
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.whatif import _clone_server
from ooda_dagster_tests.actions.stage import Stage, make_stage
from ooda_dagster_tests.core.planted_concepts import directions
from ooda_dagster_tests.loop import embeddings
from ooda_dagster_tests.loop.embeddings import MakeSpace, Space
from ooda_dagster_tests.loop.ground import make_loop
from ooda_dagster_tests.loop.requests import DDL, Make, Service
from ooda_dagster_tests.loop.trap import lay
from ooda_dagster_tests.support import Database, fresh_ledger, make_orders, work


@pytest.fixture(scope="package")
def books(ledger_server: Cluster) -> Iterator[Ledger]:
    """One ledger for many targets, which know nothing of each other."""
    with fresh_ledger(ledger_server) as ledger:
        yield ledger


@pytest.fixture(scope="package")
def small(target_server: Cluster) -> Iterator[Database]:
    database = Database(target_server, "test_loop_small")
    database.create()
    yield database
    database.drop()


@pytest.fixture(scope="package")
def busy(target_server: Cluster, home: Path) -> Iterator[Database]:
    """Orders that want an index, and the server that prices it, kept running."""
    database = Database(target_server, "test_loop_busy")
    database.create()
    make_orders(database, 100_000)
    here = "(select oid from pg_database where datname = current_database())"
    database.execute(f"select pg_stat_statements_reset(0, {here}, 0)")  # filling it is nobody's workload
    with ExitStack() as stack:
        stack.enter_context(_clone_server(home))
        yield database
    database.drop()


@pytest.fixture
def stage(small: Database, books: Ledger, home: Path) -> Stage:
    """A small table, in mode auto; nothing was sampled."""
    return make_stage(small, books, home)


@pytest.fixture
def shop(busy: Database, books: Ledger, home: Path) -> Iterator[Callable[..., Loop]]:
    """Makes a loop of the busy database: `shop(Mode.AUTO, acting={...})`; what it built is dropped afterwards."""
    work(busy)
    yield lambda *options, **settings: make_loop(busy, books, home, *options, **settings)
    for name in busy.indexes():
        if name != "orders_pkey":
            busy.execute(f'drop index "{name}"')


@pytest.fixture
def make(small: Database, books: Ledger, home: Path) -> Iterator[Make]:
    """Makes a service whose table has ids of a type: `make("uuid")`."""

    def service(kind: str = "bigint") -> Service:
        small.execute(DDL.format(id=kind), dsn=small.app)
        return Service(small, make_loop(small, books, home))

    yield service
    small.execute("drop table if exists inference_requests")


@pytest.fixture
def service(make: Make) -> Service:
    return make()


@pytest.fixture(scope="package")
def trapped(target_server: Cluster) -> Iterator[Database]:
    """Orders among traps."""
    made = Database(target_server, "test_trapped")
    made.create()
    lay(made)
    yield made
    made.drop()


@pytest.fixture(scope="package")
def vectors(target_server: Cluster) -> Iterator[Database]:
    """With pgvector."""
    made = Database(target_server, "test_loop_vectors")
    made.create()
    made.execute("create extension vector")
    yield made
    made.drop()


@pytest.fixture
def make_space(vectors: Database, books: Ledger, home: Path) -> Iterator[MakeSpace]:
    """Makes an empty table, and directions to plant rows around; small samples and pages: `make_space(6, 32)`."""

    def make(count: int, dimensions: int, *options: Mode, **concepts: Any) -> Space:
        vectors.execute(embeddings.DDL.format(kind="vector"), dsn=vectors.app)
        small = {"sample_rows": 1000, "chunk_rows": 300}
        loop = make_loop(vectors, books, home, *options, concepts={**small, **concepts})
        return Space(vectors, loop, directions(count, dimensions, seed=7), [])

    yield make
    vectors.execute("drop table if exists atom_embeddings cascade")


@pytest.fixture
def space(make_space: MakeSpace, vectors: Database) -> Iterator[Space]:
    """An empty table and four directions, in mode auto, with the rights that `ooda doctor` names."""
    made = make_space(4, 16, Mode.AUTO, bind_discoveries=1)
    vectors.execute(" ".join(grants(ACT_ROLE, [APP_ROLE])))
    yield made
    vectors.execute(f"drop owned by {ACT_ROLE}; grant pg_monitor to {ACT_ROLE}; drop schema ooda cascade")
