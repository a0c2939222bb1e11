"""A database, and what is sampled of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pandas as pd
import psycopg

from ooda_dagster.collect.sampler import Sample, sample
from ooda_dagster.core.settings import Sampling
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.rollups import COUNTERS
from ooda_dagster.targets.postgres import PostgresTarget
from ooda_dagster.targets.postgres.queries import trusted
from ooda_dagster_tests.support import Database

FOREVER = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


@dataclass
class Sampled:
    """A database and what is sampled of it."""

    database: Database
    ledger: Ledger
    policy: Sampling = field(default_factory=Sampling)
    dsn: str = ""

    @property
    def target(self) -> PostgresTarget:
        return PostgresTarget("t", self.dsn or self.database.observe)

    def take(self) -> Sample:
        return sample(self.target, self.ledger, self.policy)

    def run(self, text: str, times: int = 1) -> None:
        """Call a statement as the service, each time with another number for `#`."""
        with psycopg.connect(self.database.app, autocommit=True) as connection:
            for n in range(times):
                connection.execute(trusted(text.replace("#", str(n))))

    def totals(self) -> pd.DataFrame:
        return self.ledger.rollups.totals("t", *FOREVER).set_index("text")

    def row(self, text: str) -> dict[str, float]:
        """A statement's counters."""
        return {str(c): float(v) for c, v in self.totals()[list(COUNTERS)].to_dict("index")[text].items()}

    def calls(self) -> dict[str, int]:
        return {str(text): int(n) for text, n in self.totals()["n"].items()}

    def gaps(self) -> list[str]:
        return self.ledger.rollups.gaps("t", *FOREVER)["kind"].tolist()


def different(count: int) -> Iterator[str]:
    """Statements that the server tells apart: sums and differences of 15 ones."""
    for n in range(count):
        yield "select 1" + "".join("+1" if n >> bit & 1 else "-1" for bit in range(14))
