"""How does a statement use its tables? Which columns it compares, joins and orders by, and where parameters stand."""

from __future__ import annotations

from dataclasses import dataclass, field

from ooda_dagster.core.catalogue import Table
from ooda_dagster.core.fingerprint import Kind


class UnreadableStatementError(ValueError):
    """The statement cannot be taken apart; the message says why, in words for a person."""


@dataclass(frozen=True)
class Order:
    """One ORDER BY key of a table."""

    column: str
    descending: bool
    nulls_first: bool | None


@dataclass
class Use:
    """How a statement uses one table that it names in FROM (or changes)."""

    table: Table
    alias: str
    equal: set[str] = field(default_factory=set)
    range: set[str] = field(default_factory=set)
    join: set[str] = field(default_factory=set)
    any_of: set[str] = field(default_factory=set)  # compared in an arm of an OR: an index for each arm, or none
    order: tuple[Order, ...] = ()
    group: tuple[str, ...] = ()
    limited: bool = False

    @property
    def columns(self) -> set[str]:
        """All columns that an index could begin with."""
        return self.equal | self.range | self.join | self.any_of | {k.column for k in self.order} | set(self.group)


@dataclass(frozen=True)
class Parameter:
    """Where a `$n` stands: compared with a column of a table by an operator, or in a role of its own."""

    number: int
    table: Table | None = None
    column: str | None = None
    operator: str = "="
    many: bool = False  # an array: = ANY($1)
    cast: str | None = None
    role: str = "value"  # value, limit, offset, interval


@dataclass
class Shape:
    """What the advisor needs to know of a statement."""

    text: str
    kind: Kind
    uses: list[Use] = field(default_factory=list)
    parameters: dict[int, Parameter] = field(default_factory=dict)
    written: Table | None = None
    set_columns: frozenset[str] = frozenset()
    unresolved: set[str] = field(default_factory=set)

    @property
    def tables(self) -> set[tuple[str, str]]:
        found = {use.table.key for use in self.uses}
        return found | {self.written.key} if self.written else found

    def reads(self, table: Table) -> bool:
        """Whether it looks for rows of a table; a plain INSERT does not."""
        return any(use.table.key == table.key for use in self.uses)
