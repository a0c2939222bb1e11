"""Is a session that dies before any of its reads told as such, and never in the driver's own words?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from ooda_dagster.config.servers import APP_ROLE
from ooda_dagster.embedded import Cluster
from ooda_dagster.targets.base import TargetError, TargetUnreachableError
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.acting import PostgresActing
from ooda_dagster.targets.postgres.connection import ACTING_SETTINGS, connect
from ooda_dagster_tests.support import Database, make_orders
from ooda_dagster_tests.targets.dying import Dying

ORDERS = ("public", "orders")

#: Every read of an acting session, and what sends statements.
READS: dict[str, Callable[[PostgresActing], Any]] = {
    "try_lock": lambda s: s.try_lock(),
    "claim_server": lambda s: s.claim_server(),
    "grant_for": lambda s: s.grant_for("postgres"),
    "grant_for an owner": lambda s: s.grant_for(APP_ROLE),
    "closed_schemas": lambda s: s.closed_schemas(APP_ROLE),
    "is_superuser": lambda s: s.is_superuser("postgres"),
    "sees_load": lambda s: s.sees_load(),
    "owners": lambda s: s.owners(),
    "backend_alive": lambda s: s.backend_alive(1, datetime.now(UTC)),
    "cancel": lambda s: s.cancel(1),
    "index": lambda s: s.index(*ORDERS),
    "relation_name": lambda s: s.relation_name(1259),
    "statistics": lambda s: s.statistics([ORDERS]),
    "partitions": lambda s: s.partitions(*ORDERS),
    "attached": lambda s: s.attached(*ORDERS),
    "tablespaces": lambda s: s.tablespaces(),
    "activity": lambda s: s.activity(),
    "execute": lambda s: s.execute("analyze orders", role=APP_ROLE, lock_timeout_s=5, timeout_s=5),
    "execute, without a right": lambda s: s.execute("analyze nowhere", role=None, lock_timeout_s=5, timeout_s=5),
}


@pytest.fixture(scope="module")
def shop(target_server: Cluster) -> Iterator[Database]:
    """A database with `orders`, which nothing here changes."""
    made = Database(target_server, "dying_shop")
    made.create()
    make_orders(made, 10)
    yield made
    made.drop()


def deaths(database: Database, read: Callable[[PostgresActing], Any]) -> list[str]:
    """What a read says where its backend was ended before its first statement, before its second, and so on."""
    said: list[str] = []
    for last in count():
        with PostgresTarget("t", database.observe, database.act).acting("test") as session:
            real, dying = session.connection, Dying(session.connection, database.superuser, last)
            session.connection = dying  # type: ignore[assignment]
            try:
                read(session)
            except TargetUnreachableError as error:
                said.append(str(error))
            except TargetError:
                if dying.dead:
                    raise
            finally:
                real.close()
            if not dying.dead:
                return said
    raise AssertionError


@pytest.mark.parametrize("name", READS)
def test_an_acting_session_that_dies_before_a_statement_is_told_as_unreachable(shop: Database, name: str) -> None:
    said = deaths(shop, READS[name])
    assert said
    assert all("the connection was lost" in words for words in said)


def test_one_that_dies_while_it_is_opened_too(shop: Database) -> None:
    for last in range(2):
        with closing(connect(shop.act, "ooda/t/test", ACTING_SETTINGS)) as connection:
            dying = Dying(connection, shop.superuser, last)
            with pytest.raises(TargetUnreachableError, match="opening an acting session: the connection was lost"):
                PostgresActing(dying, "ooda/t/test")  # type: ignore[arg-type]
