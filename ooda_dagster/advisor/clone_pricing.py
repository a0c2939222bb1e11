"""What-if on a statistics clone: the target's schema and statistics in a scratch server of ours, without a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import psycopg

from ooda_dagster.advisor.pricing import Price, PricingError, price_of
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.embedded.clone import StatisticsClone


class ClonePricing:
    """Implements `advisor.pricing.Pricing`."""

    generic = True

    def __init__(self, clone: StatisticsClone) -> None:
        self._clone = clone
        self.name = "statistics clone"
        self._names: dict[str, IndexSpec] = {}

    @property
    def blind(self) -> Mapping[str, str]:
        return self._clone.report.blind

    def offer(self, candidates: Sequence[IndexSpec]) -> set[IndexSpec]:
        made = self._clone.add_candidates(candidates)
        self._names = {self._clone.index_name(spec): spec for spec in made}
        return set(made)

    def price(self, text: str, on: Iterable[IndexSpec], *, generic: bool = False) -> Price:
        try:
            plan = self._clone.explain(text, on=on, generic=generic)
        except psycopg.Error as error:
            raise PricingError(f"the clone cannot plan it ({error.sqlstate})") from error
        return price_of(plan, self._names)
