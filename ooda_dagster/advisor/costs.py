"""What does each statement cost under a set of candidate indexes? Asks the what-if backend as rarely as it can.

A plan found under a set T that uses U answers for every set between U and T: fewer indexes than were offered change
nothing as long as the used ones stay (a "sandwich"; exact up to the planner's fuzz of 1 % between equal paths).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ooda_dagster.advisor.instantiate import (
    DEFAULT_SHARE,
    SHARES,
    Binding,
    bindings,
    has_range,
    mended,
    readable_part,
)
from ooda_dagster.advisor.parse import read_shape
from ooda_dagster.advisor.pricing import Price, Pricing, PricingError
from ooda_dagster.advisor.shape import Shape, UnreadableStatementError
from ooda_dagster.advisor.workload import WorkloadStatement
from ooda_dagster.core.catalogue import Catalogue
from ooda_dagster.core.indexes import IndexSpec

Configuration = frozenset[IndexSpec]
_NONE: Configuration = frozenset()
_MOST_SAMPLES, _MOST_BINDINGS = 3, 6


@dataclass
class Judged:
    """A statement with its candidates, the texts that stand for it, and the plans seen so far."""

    statement: WorkloadStatement
    shape: Shape
    candidates: Configuration
    weight: float  # ms per hour that it takes today, or calls per hour × cost where no time is known
    texts: list[Binding] = field(default_factory=list)
    base: float = 0.0
    plans: list[tuple[Configuration, Configuration, float]] = field(default_factory=list)  # offered, used, cost

    @property
    def generic(self) -> bool:
        return any(t.generic for t in self.texts)


class Costs:
    """Prices statements under configurations."""

    def __init__(self, pricing: Pricing, catalogue: Catalogue) -> None:
        self._pricing = pricing
        self._catalogue = catalogue
        self.explains = 0

    def prepare(self, judged: Judged) -> None:
        """Find texts for a statement and its cost today. Raises PricingError or UnreadableStatementError."""
        readable = readable_part(judged.shape)
        if readable is None:
            raise UnreadableStatementError("it only writes: what an index costs it is counted, nothing is saved")
        rows = judged.statement.rows_per_call
        judged.texts = self._sampled(judged, rows) or self._calibrated(judged.shape, readable, rows)
        if judged.generic and not self._pricing.generic:
            raise PricingError("no value is known for one of its parameters, and this server has no GENERIC_PLAN")
        judged.base = self.cost(judged, _NONE)
        if judged.base <= 0:
            raise PricingError("the planner finds that it returns nothing")

    def _sampled(self, judged: Judged, rows: float) -> list[Binding]:
        """Texts that sessions really sent; parameters that are left in them are bound like any other."""
        found: list[Binding] = []
        for text in judged.statement.samples[:_MOST_SAMPLES]:
            try:
                shape = read_shape(mended(text), self._catalogue)
                readable = readable_part(shape)
                if readable is not None:
                    found += [b for b in self._calibrated(shape, readable, rows) if not b.generic and b not in found]
            except (PricingError, UnreadableStatementError):
                continue  # the normalised text is priced instead
        return found[:_MOST_BINDINGS]

    def _calibrated(self, shape: Shape, text: str, rows: float) -> list[Binding]:
        """Bindings whose ranges take as many rows as the statement was measured to return, where that is a measure."""
        default = bindings(shape, text, rows_per_call=rows, share=DEFAULT_SHARE)
        limited = any(use.limited or use.group for use in shape.uses)
        if not has_range(shape) or limited or rows < 1 or default[0].generic:
            return default
        best, distance, seen = default, float("inf"), set[float]()
        for share in SHARES:
            tried = bindings(shape, text, rows_per_call=rows, share=share)
            price = self._ask(tried[len(tried) // 2], _NONE)
            seen.add(price.rows)
            off = max(price.rows, 1) / rows
            if max(off, 1 / off) < distance:
                best, distance = tried, max(off, 1 / off)
        return best if len(seen) > 1 else default  # an aggregate returns one row whatever its range takes

    def cost(self, judged: Judged, configuration: Configuration) -> float:
        """Mean cost of a statement's texts with the candidates of `configuration` visible."""
        return self.plan(judged, configuration)[1]

    def plan(self, judged: Judged, configuration: Configuration) -> tuple[Configuration, float]:
        """Candidates used by any of a statement's texts, and the mean cost."""
        offered = configuration & judged.candidates
        for known, used, cost in judged.plans:
            if used <= offered <= known:
                return used, cost
        prices = [self._ask(binding, offered) for binding in judged.texts]
        used = frozenset().union(*(p.used for p in prices))
        cost = sum(p.cost for p in prices) / len(prices)
        judged.plans.append((offered, used, cost))
        return used, cost

    def _ask(self, binding: Binding, on: Iterable[IndexSpec]) -> Price:
        self.explains += 1
        return self._pricing.price(binding.text, on, generic=binding.generic)


def shapes_of(
    statements: Sequence[WorkloadStatement], catalogue: Catalogue
) -> tuple[list[tuple[WorkloadStatement, Shape]], list[tuple[WorkloadStatement, str]]]:
    """Statements with their shapes, and those that cannot be read with the reason."""
    read, unread = [], []
    for statement in statements:
        try:
            read.append((statement, read_shape(mended(statement.text), catalogue)))
        except UnreadableStatementError as error:
            unread.append((statement, str(error)))
    return read, unread
