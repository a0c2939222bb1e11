"""What a database holds, as values: tables, columns with statistics, indexes with use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ooda_dagster.core.identifiers import OWN_COMMENT, qualified
from ooda_dagster.core.indexes import IndexSpec


@dataclass(frozen=True)
class ColumnStatistics:
    """One row of pg_stats. Frequencies are shares of all rows; `n_distinct` < 0 is minus a share of the rows."""

    null_frac: float
    avg_width: int
    n_distinct: float
    common_values: tuple[str, ...] = ()
    common_freqs: tuple[float, ...] = ()
    histogram: tuple[str, ...] = ()
    correlation: float | None = None

    def distinct(self, rows: float) -> float:
        """Estimated number of distinct values in `rows` rows, at least 1."""
        return max(1.0, self.n_distinct if self.n_distinct > 0 else -self.n_distinct * rows)


@dataclass(frozen=True)
class Column:
    """A column; `type_length` in bytes, negative where it varies (pg_type.typlen)."""

    name: str
    type: str
    type_length: int
    type_align: str
    not_null: bool
    has_btree: bool
    collation: str | None = None
    statistics: ColumnStatistics | None = None


@dataclass(frozen=True)
class Index:
    """An existing index. `spec` is None where it cannot be told as one (an access method or key of its own kind).

    `altered`: it has storage options or a tablespace of its own, which we give none. `attached`: it is part of a
    partitioned index, and goes with it only.
    """

    oid: int
    schema: str
    name: str
    table: str
    definition: str
    spec: IndexSpec | None
    bytes: int
    scans: int
    unique: bool
    primary: bool
    constraint: str | None
    valid: bool
    replica_identity: bool = False
    last_scan: datetime | None = None
    comment: str | None = None
    altered: bool = False
    attached: bool = False

    @property
    def ours(self) -> bool:
        """Made by the loop, as its comment says. An index whose comment a person changed is theirs."""
        return (self.comment or "").startswith(OWN_COMMENT)

    @property
    def label(self) -> str:
        return qualified(self.schema, self.name)


@dataclass(frozen=True)
class Table:
    """A table with its size and its counters since the server's statistics were reset.

    kind: 'r' table, 'p' partitioned, 'm' materialised view, 'f' foreign. Row counters are pg_stat_user_tables'.
    """

    oid: int
    schema: str
    name: str
    kind: str
    owner: str
    rows: float  # < 0: never analysed
    pages: int
    bytes: int
    total_bytes: int
    persistence: str = "p"
    is_partition: bool = False
    has_children: bool = False
    readable: bool = True
    row_security: bool = False
    inserted: int = 0
    updated: int = 0
    hot_updated: int = 0
    deleted: int = 0
    seq_scans: int = 0
    last_analyze: datetime | None = None
    changed_since_analyze: int = 0
    columns: Mapping[str, Column] = field(default_factory=dict)
    indexes: tuple[Index, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return self.schema, self.name

    @property
    def label(self) -> str:
        return qualified(self.schema, self.name)

    @property
    def analysed(self) -> bool:
        return any(c.statistics for c in self.columns.values())


@dataclass(frozen=True)
class Catalogue:
    """The user tables of one database at one moment. `search_path` resolves unqualified names."""

    tables: Mapping[tuple[str, str], Table]
    search_path: tuple[str, ...] = ("public",)
    stats_reset: datetime | None = None

    def find(self, name: str, schema: str | None = None) -> Table | None:
        """The table that a statement means by `[schema.]name`."""
        if schema is not None:
            return self.tables.get((schema, name))
        for candidate in self.search_path:
            if table := self.tables.get((candidate, name)):
                return table
        # A statement may have run under another search_path: take a name that is unique in the database.
        matches = [t for (_, n), t in self.tables.items() if n == name]
        return matches[0] if len(matches) == 1 else None

    def index(self, schema: str, name: str) -> Index | None:
        return next((i for t in self.tables.values() for i in t.indexes if (i.schema, i.name) == (schema, name)), None)

    @property
    def indexes(self) -> Iterable[Index]:
        return (index for table in self.tables.values() for index in table.indexes)

    @property
    def heap_bytes(self) -> int:
        return sum(t.bytes for t in self.tables.values())
