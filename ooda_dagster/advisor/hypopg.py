"""What-if on the server itself, by hypothetical indexes of the extension hypopg (memory of one session, no write)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from ooda_dagster.advisor.pricing import Price, PricingError, price_of
from ooda_dagster.core.errors import server_words, silenced
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.targets.base import Capabilities
from ooda_dagster.targets.postgres.connection import foreign_code
from ooda_dagster.targets.postgres.queries import MARKER, marked, trusted

_GENERIC_SINCE = 16  # EXPLAIN (GENERIC_PLAN)


class HypopgPricing:
    """Implements `advisor.pricing.Pricing` on an observing session."""

    def __init__(self, connection: psycopg.Connection[Any], capabilities: Capabilities) -> None:
        self._connection = connection
        self._schema = sql.Identifier(capabilities.extensions["hypopg"])
        self.generic = capabilities.major >= _GENERIC_SINCE
        self.name = "hypopg"
        self._refused: dict[str, str] = {}
        self._live: dict[IndexSpec, tuple[int, str]] = {}
        connection.execute(marked("select {}.hypopg_reset()").format(self._schema))

    def offer(self, candidates: Sequence[IndexSpec]) -> set[IndexSpec]:
        """Those that hypopg can imagine; the others are named in `blind`."""
        possible = set()
        for spec in candidates:
            try:
                self._create(spec)
                possible.add(spec)
            except psycopg.Error as error:
                self._refused[spec.definition] = server_words(error)
                silenced(error)
        self._show(())
        return possible

    @property
    def blind(self) -> Mapping[str, str]:
        return self._refused

    def price(self, text: str, on: Iterable[IndexSpec], *, generic: bool = False) -> Price:
        options = "FORMAT JSON, GENERIC_PLAN" if generic else "FORMAT JSON"
        try:
            self._show(on)
            with foreign_code(self._connection, given_path=True):
                row = self._connection.execute(trusted(f"EXPLAIN ({options}) {text} {MARKER}")).fetchone()
        except psycopg.errors.InsufficientPrivilege as error:
            words = server_words(error)
            silenced(error)
            raise PricingError(f"EXPLAIN is not allowed: {words}") from error
        except psycopg.Error as error:
            silenced(error)
            raise PricingError(f"EXPLAIN failed ({error.sqlstate})") from error
        assert row is not None
        names = {name: spec for spec, (_, name) in self._live.items()}
        return price_of(row[0][0]["Plan"], names)

    def _show(self, on: Iterable[IndexSpec]) -> None:
        """Make exactly these visible."""
        wanted = set(on)
        for spec in [s for s in self._live if s not in wanted]:
            oid, _ = self._live.pop(spec)
            self._connection.execute(marked("select {}.hypopg_drop_index(%s)").format(self._schema), (oid,))
        for spec in sorted(wanted - self._live.keys(), key=lambda s: s.definition):
            self._create(spec)

    def _create(self, spec: IndexSpec) -> None:
        if spec in self._live:
            return
        row = self._connection.execute(
            marked("select indexrelid, indexname from {}.hypopg_create_index(%s)").format(self._schema),
            (f"CREATE INDEX {spec.definition}",),
        ).fetchone()
        assert row is not None
        self._live[spec] = (row.indexrelid, row.indexname)
