"""What-if on the server itself, by hypothetical indexes of the extension hypopg (memory of one session, no write)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from ooda_dagster.advisor.pricing import Price, PricingError, price_of
from ooda_dagster.core.errors import server_words, silenced
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.targets.base import Capabilities, TargetError, TargetUnreachableError
from ooda_dagster.targets.postgres.connection import foreign_code
from ooda_dagster.targets.postgres.connection_errors import translate
from ooda_dagster.targets.postgres.queries import MARKER, marked, trusted

_GENERIC_SINCE = 16  # EXPLAIN (GENERIC_PLAN)
_PRICING = "pricing with hypopg"


class HypopgPricing:
    """Implements `advisor.pricing.Pricing` on an observing session."""

    def __init__(self, connection: psycopg.Connection[Any], capabilities: Capabilities) -> None:
        self._connection = connection
        self._schema = sql.Identifier(capabilities.extensions["hypopg"])
        self.generic = capabilities.major >= _GENERIC_SINCE
        self.name = "hypopg"
        self._refused: dict[str, str] = {}
        self._live: dict[IndexSpec, tuple[int, str]] = {}
        self._ask("select {}.hypopg_reset()")

    def offer(self, candidates: Sequence[IndexSpec]) -> set[IndexSpec]:
        """Those that hypopg can imagine; the others are named in `blind`. Raises TargetUnreachableError."""
        possible = set()
        for spec in candidates:
            try:
                self._create(spec)
                possible.add(spec)
            except TargetUnreachableError:
                raise
            except TargetError as error:
                self._refused[spec.definition] = server_words(error.__cause__)
        self._show(())
        return possible

    @property
    def blind(self) -> Mapping[str, str]:
        return self._refused

    def price(self, text: str, on: Iterable[IndexSpec], *, generic: bool = False) -> Price:
        """Raises PricingError where this text cannot be priced, TargetUnreachableError where none can any more."""
        options = "FORMAT JSON, GENERIC_PLAN" if generic else "FORMAT JSON"
        try:
            self._show(on)
        except TargetUnreachableError:
            raise
        except TargetError as error:
            raise PricingError(f"EXPLAIN failed ({getattr(error.__cause__, 'sqlstate', None)})") from error
        try:
            with foreign_code(self._connection, given_path=True):
                row = self._connection.execute(trusted(f"EXPLAIN ({options}) {text} {MARKER}")).fetchone()
        except psycopg.Error as error:
            if self._connection.closed:
                raise translate(error, _PRICING) from error
            words = server_words(error)
            silenced(error)
            if isinstance(error, psycopg.errors.InsufficientPrivilege):
                raise PricingError(f"EXPLAIN is not allowed: {words}") from error
            raise PricingError(f"EXPLAIN failed ({error.sqlstate})") from error
        assert row is not None
        names = {name: spec for spec, (_, name) in self._live.items()}
        return price_of(row[0][0]["Plan"], names)

    def _show(self, on: Iterable[IndexSpec]) -> None:
        """Make exactly these visible."""
        wanted = set(on)
        for spec in [s for s in self._live if s not in wanted]:
            oid, _ = self._live.pop(spec)
            self._ask("select {}.hypopg_drop_index(%s)", oid)
        for spec in sorted(wanted - self._live.keys(), key=lambda s: s.definition):
            self._create(spec)

    def _create(self, spec: IndexSpec) -> None:
        if spec in self._live:
            return
        row = self._ask(
            "select indexrelid, indexname from {}.hypopg_create_index(%s)", f"CREATE INDEX {spec.definition}"
        )
        assert row is not None
        self._live[spec] = (row.indexrelid, row.indexname)

    def _ask(self, text: LiteralString, *values: Any) -> Any:
        """The one row of an answer of the extension's. Raises TargetError."""
        try:
            return self._connection.execute(marked(text).format(self._schema), values or None).fetchone()
        except psycopg.Error as error:
            raise translate(error, _PRICING) from error
