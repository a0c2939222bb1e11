"""A connection whose backend somebody ends before one of its statements."""

from __future__ import annotations

from typing import Any

import psycopg

from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.support import wait_until


class Dying:
    """Stands in for a connection; before the statement number `last`, `killer` ends its backend."""

    def __init__(self, connection: psycopg.Connection[Any], killer: str, last: int) -> None:
        self._connection, self._killer, self._left = connection, killer, last

    @property
    def dead(self) -> bool:
        """Whether it came to that."""
        return self._left < 0

    def execute(self, *asked: Any, **options: Any) -> Any:
        if self._left == 0:
            self._end()
        self._left -= 1
        return self._connection.execute(*asked, **options)

    def _end(self) -> None:
        pid = self._connection.info.backend_pid
        with psycopg.connect(self._killer, autocommit=True) as killer:
            killer.execute("select pg_terminate_backend(%s)", (pid,))
            alive = trusted("select 1 from pg_stat_activity where pid = %s")
            wait_until(lambda: not killer.execute(alive, (pid,)).fetchone(), what="the end of the backend")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)
