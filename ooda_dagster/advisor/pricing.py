"""What would the planner pay with these indexes? The protocol of what-if backends, and plans as they answer them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ooda_dagster.core.indexes import IndexSpec


class PricingError(RuntimeError):
    """A statement that the backend could not plan; the message holds no literal."""


@dataclass(frozen=True)
class Price:
    """The planner's answer: total cost in its own units, rows of the top node, candidates that the plan uses."""

    cost: float
    rows: float
    used: frozenset[IndexSpec]


class Pricing(Protocol):
    """A what-if backend. Candidates are offered once, then made visible by `on`."""

    #: Provenance, kept with each hypothesis.
    name: str
    #: Whether a text with `$n` in it can be planned.
    generic: bool

    @property
    def blind(self) -> Mapping[str, str]:
        """What the backend could not see: object → reason."""
        ...

    def offer(self, candidates: Sequence[IndexSpec]) -> set[IndexSpec]: ...
    def price(self, text: str, on: Iterable[IndexSpec], *, generic: bool = False) -> Price: ...


def index_names(plan: Mapping[str, Any]) -> Iterator[str]:
    """Names of the indexes that a plan reads."""
    if name := plan.get("Index Name"):
        yield name
    for child in plan.get("Plans", ()):
        yield from index_names(child)


def price_of(plan: Mapping[str, Any], names: Mapping[str, IndexSpec]) -> Price:
    """A Price from EXPLAIN (FORMAT JSON)'s top node; names: index name in the plan → candidate."""
    used = frozenset(names[n] for n in index_names(plan) if n in names)
    return Price(float(plan["Total Cost"]), float(plan["Plan Rows"]), used)
