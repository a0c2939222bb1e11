"""Which what-if backend prices this target? hypopg where the server has it, else a statistics clone of ours."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ooda_dagster.advisor.clone_pricing import ClonePricing
from ooda_dagster.advisor.hypopg import HypopgPricing
from ooda_dagster.advisor.pricing import Pricing
from ooda_dagster.embedded import Cluster
from ooda_dagster.embedded.clone import StatisticsClone, clone_cluster
from ooda_dagster.targets.base import Observing, RefusedError
from ooda_dagster.targets.postgres.observing import PostgresObserving


@contextmanager
def pricing_for(name: str, session: Observing, home: Path) -> Iterator[Callable[[set[tuple[str, str]]], Pricing]]:
    """A function that opens the backend for some tables, at its first call; all is closed at the end of the block."""
    with ExitStack() as stack:

        def open_backend(tables: set[tuple[str, str]]) -> Pricing:
            if not isinstance(session, PostgresObserving):
                raise RefusedError("there is no what-if backend for this kind of target")
            seen = session.capabilities()
            if seen.behind_proxy:
                raise RefusedError("a connection pooler stands before the server: give observe the server's own port")
            if "hypopg" in seen.extensions:
                return HypopgPricing(session.connection, seen)
            cluster = stack.enter_context(_clone_server(home))
            database = "clone_" + re.sub(r"\W", "_", name)[:50]
            clone = StatisticsClone.build(session.connection, cluster, database=database, relations=tables)
            stack.callback(clone.drop)
            return ClonePricing(clone)

        yield open_backend


@contextmanager
def _clone_server(home: Path) -> Iterator[Cluster]:
    """The scratch server, started on demand and stopped by whoever uses it last."""
    cluster = clone_cluster(home / "clusters")
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "clone.users", "w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        cluster.start()
        try:
            yield cluster
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process prices on it; it will stop it
            cluster.stop()
