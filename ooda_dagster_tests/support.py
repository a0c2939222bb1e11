"""Small tools of many tests."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from ooda_dagster.config.servers import ACT_ROLE, APP_ROLE, OBSERVE_ROLE
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.targets.postgres.queries import trusted


@dataclass(frozen=True)
class Database:
    """A database on the embedded target server, by the roles that use it."""

    cluster: Cluster
    name: str

    @property
    def superuser(self) -> str:
        return self.cluster.dsn(self.name)

    @property
    def app(self) -> str:
        return self.cluster.dsn(self.name, user=APP_ROLE)

    @property
    def observe(self) -> str:
        return self.cluster.dsn(self.name, user=OBSERVE_ROLE)

    @property
    def act(self) -> str:
        return self.cluster.dsn(self.name, user=ACT_ROLE)

    def create(self) -> None:
        self.cluster.create_database(self.name)
        self.execute("create extension pg_stat_statements")
        self.execute(f"grant create on schema public to {APP_ROLE}")

    def drop(self) -> None:
        self.cluster.drop_database(self.name)

    def execute(self, text: str, *parameters: Any, dsn: str | None = None) -> list[Any]:
        """Run statements as the superuser (or who `dsn` says); rows of the last one."""
        with psycopg.connect(dsn or self.superuser, autocommit=True) as connection:
            cursor = connection.execute(trusted(text), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def indexes(self, schema: str = "public") -> dict[str, bool]:
        """Names of the indexes of a schema, and whether each is valid."""
        rows = self.execute(
            "select c.relname, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid "
            "join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s",
            schema,
        )
        return dict(rows)


def keep_autovacuum_away(server: Cluster) -> None:
    """It would come every 15 s, by chance between two steps of a test, and analyse a table that the test compares."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("alter system set autovacuum_naptime = '7d'")
        connection.execute("select pg_reload_conf()")


@contextmanager
def room(prefix: str) -> Iterator[Path]:
    """A directory that the servers' user can reach, which pytest's own are not; removed afterwards."""
    base = Path("/var/tmp")
    directory = Path(tempfile.mkdtemp(prefix=f"ooda-{prefix}-", dir=base if base.is_dir() else None))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def fresh_ledger(server: Cluster) -> Iterator[Ledger]:
    """An empty ledger on the ledger's server; dropped afterwards."""
    name = f"ledger_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:  # copying by WAL: it is small
        connection.execute(trusted(f"create database {name} template ledger_template"))
    opened = Ledger(server.dsn(name))
    try:
        yield opened
    finally:
        opened.close()
        server.drop_database(name)


#: However fast the machine, the little work of a test is worth an index.
KEEN = {"advice": {"min_statement_total_ms": 20}}


def dsn_of(ledger: Ledger) -> str:
    """For what connects on its own: the URL, with its password and without SQLAlchemy's driver."""
    return ledger.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def make_orders(database: Database, rows: int = 200_000) -> None:
    """A table that wants an index on `customer`, owned by the service: `orders(id, customer, status, placed, note)`."""
    database.execute(
        "create table orders (id bigint primary key, customer int not null, status text not null, "
        "placed timestamptz not null, note text not null); "
        f"insert into orders select g, g % 5000, case when g % 50 = 0 then 'open' else 'done' end, "
        f"now() - g * interval '1 minute', repeat('x', 80) from generate_series(1, {rows}) g",
        dsn=database.app,
    )
    # Of its own: in the transaction that filled it, the server counts all rows as changed since.
    database.execute("analyze orders", dsn=database.app)


def work(database: Database, calls: int = 60) -> None:
    """Statements on `orders` that an index on `customer` would make cheap."""
    with psycopg.connect(database.app, autocommit=True) as connection:
        connection.prepare_threshold = None
        for n in range(calls):
            connection.execute("select count(*), max(note) from orders where customer = %s", (n,))
            connection.execute("select placed from orders where id = %s", (n,))


@contextmanager
def open_transaction(dsn: str, *statements: str, name: str = "somebody") -> Iterator[psycopg.Connection[Any]]:
    """Somebody's transaction that stays open for the block; then it is rolled back."""
    connection = psycopg.connect(dsn, application_name=name)
    try:
        for statement in statements:
            connection.execute(trusted(statement))
        yield connection
    finally:
        connection.close()


@contextmanager
def traffic(
    dsn: str, statements: Mapping[str, Callable[[int], tuple[Any, ...]]], *, per_second: float = 50
) -> Iterator[dict[str, int]]:
    """Run statements (text → parameters of the n-th call) in turn from another thread; yields calls so far."""
    calls = dict.fromkeys(statements, 0)
    stop = threading.Event()

    def run() -> None:
        with psycopg.connect(dsn, autocommit=True, application_name="service") as connection:
            connection.prepare_threshold = None
            n = 0
            while not stop.wait(1 / per_second):
                for text, parameters in statements.items():
                    connection.execute(trusted(text), parameters(n) or None)
                    calls[text] += 1
                n += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield calls
    finally:
        stop.set()
        thread.join(10)


def wait_until(condition: Callable[[], Any], *, timeout_s: float = 120, what: str = "it") -> Any:
    """Poll until `condition` is true; its value. Fails with `what` otherwise."""
    deadline = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(0.05)
