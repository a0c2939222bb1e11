"""A service's table of inference requests, and what the loop made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg

from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.intake import Intake, intake
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.loop.ground import with_settings
from ooda_dagster_tests.support import Database

DDL = (
    "create table inference_requests (inference_id {id} primary key, request_timestamp timestamptz not null "
    "default now(), total_duration_ms int, status text not null default 'pending', model_id int not null default 1, "
    "task_type text not null default 'classify', input_tokens int not null default 10, output_tokens int, "
    "user_rating int)"
)


@dataclass
class Service:
    """Writes requests, and has them read."""

    database: Database
    loop: Loop

    def run(self, text: str, *parameters: Any) -> list[Any]:
        return self.database.execute(text, *parameters, dsn=self.database.app)

    def done(
        self, *ids: int, ms: int | None = 200, status: str = "completed", ago: str = "0 s", model: int = 1
    ) -> None:
        """Completed requests."""
        self.run(
            "insert into inference_requests (inference_id, total_duration_ms, status, request_timestamp, model_id) "
            "select i, %s, %s, now() - %s::interval, %s from unnest(%s::bigint[]) i",
            ms, status, ago, model, list(ids),
        )  # fmt: skip

    def complete(self, *ids: int, ms: int = 200) -> None:
        self.run(
            "update inference_requests set status = 'completed', total_duration_ms = %s where inference_id = any(%s)",
            ms, list(ids),
        )  # fmt: skip

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.database.app) as connection:
            yield connection

    def read(self) -> Intake:
        return intake(self.loop)

    def rows(self) -> int:
        """Rows that a read consumes."""
        taken = self.read()
        assert taken.error is None, taken.error
        return taken.rows

    def at(self, moment: datetime) -> None:
        """Let the loop's clock show this."""
        self.loop = replace(self.loop, clock=lambda: moment)

    def set(self, **requests: Any) -> None:
        self.loop = with_settings(self.loop, requests=requests)

    @property
    def rolled_up(self) -> int:
        return int(self._one("select coalesce(sum(n), 0) from ooda.request_rollup where target = :t"))

    @property
    def batches(self) -> list[tuple[Any, ...]]:
        return ask(
            self.loop.ledger,
            "select rows, first_id, last_id, notes, alarm from ooda.request_batch where target = :t order by batch_id",
            t=self.loop.name,
        )

    def _one(self, text: str) -> Any:
        return ask(self.loop.ledger, text, t=self.loop.name)[0][0]


#: Makes a service whose table has ids of a type.
Make = Callable[..., Service]
