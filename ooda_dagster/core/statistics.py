"""What does the planner know of a table, and is it wrong? Facts about statistics, and what follows from them.

No value of a row is in here: counts, shares and names only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ooda_dagster.core.catalogue import Table
from ooda_dagster.core.identifiers import OWN_COMMENT, own_index_name, qualified, quote_identifier
from ooda_dagster.core.settings import Statistics

#: Most values that the server keeps of a column (ALTER TABLE ... SET STATISTICS takes no more).
MAX_TARGET = 10_000
#: A share of rows from which on one column is said to determine the other; below, single pairs are kept instead.
_DEPENDS = 0.8
#: Pairs of equal rows that a sample must hold to tell anything about their number.
_MIN_PAIRS = 100


@dataclass(frozen=True)
class ExtendedStatistics:
    """An object of CREATE STATISTICS on plain columns. `kinds`: pg_statistic_ext's letters d, f, m, e."""

    oid: int
    schema: str
    name: str
    columns: frozenset[str]
    kinds: frozenset[str]
    expressions: bool = False
    comment: str | None = None

    @property
    def ours(self) -> bool:
        return (self.comment or "").startswith(OWN_COMMENT)

    @property
    def label(self) -> str:
        return qualified(self.schema, self.name)

    def tells(self, columns: Sequence[str]) -> bool:
        """Whether it helps an equality on all of the columns."""
        return set(columns) <= self.columns and bool(self.kinds & {"f", "m"})


@dataclass(frozen=True)
class TableStatistics:
    """How statistics of one table are kept. Times are the server's; None where it never happened or was reset.

    last_analyze: of an ANALYZE by hand; last_known: that, or autovacuum's. autovacuum_rows: changed rows from which on
    autovacuum analyses; None: it never does. targets: column → statistics target of its own (none: the default).
    at_work: somebody vacuums or analyses it now, as far as the session may see. taken_back: the server has functions
    that put earlier statistics back.
    """

    oid: int
    owner: str
    tracked: bool  # track_counts: without it the server does not tell when it analysed
    last_analyze: datetime | None
    last_known: datetime | None
    autovacuum_rows: float | None
    default_target: int
    targets: Mapping[str, int] = field(default_factory=dict)
    extended: tuple[ExtendedStatistics, ...] = ()
    at_work: bool = False
    taken_back: bool = False

    def target(self, column: str) -> int:
        """How many common values, and bounds of the histogram, ANALYZE keeps of a column."""
        return self.targets.get(column, self.default_target)

    def named(self, schema: str, name: str) -> ExtendedStatistics | None:
        return next((e for e in self.extended if (e.schema, e.name) == (schema, name)), None)


@dataclass(frozen=True)
class StatisticsSpec:
    """Extended statistics that we would make: columns in the table's order; kinds in SQL's words."""

    schema: str
    table: str
    columns: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def relation(self) -> str:
        return qualified(self.schema, self.table)

    @property
    def column_list(self) -> str:
        return ", ".join(quote_identifier(c) for c in self.columns)

    @property
    def identity(self) -> str:
        """What failed once is known again by it: without the kinds, which a random sample chose."""
        return f"statistics on {self.column_list} from {self.relation}"

    @property
    def name(self) -> str:
        kinds = ", ".join(self.kinds)
        return own_index_name(
            self.table, self.columns, f"statistics ({kinds}) on {self.column_list} from {self.relation}"
        )

    def ddl(self) -> str:
        name = qualified(self.schema, self.name)
        return f"CREATE STATISTICS {name} ({', '.join(self.kinds)}) ON {self.column_list} FROM {self.relation}"

    def drop(self) -> str:
        return f"DROP STATISTICS IF EXISTS {qualified(self.schema, self.name)}"


def why_analyze(table: Table, kept: TableStatistics, policy: Statistics, now: datetime) -> str:
    """Why a table should be analysed now; nothing where it need not be, or autovacuum may still come."""
    # After pg_upgrade the number of rows is known, and nothing of the columns.
    bare = table.rows > 0 and table.readable and not table.row_security and not table.analysed
    if table.rows < 0 or (bare and kept.last_known is None):
        what = "never analysed"
        if table.kind != "p" and not table.bytes:
            return ""  # empty
    else:
        what = f"{table.changed_since_analyze} rows changed since it was analysed, of {table.rows:.0f}"
        if table.changed_since_analyze < policy.stale_rows + policy.stale_share * table.rows:
            return ""
    if table.kind == "p":
        return f"{what}: autovacuum never analyses a partitioned table"
    if kept.autovacuum_rows is None:
        return f"{what}: autovacuum is off for it"
    if table.changed_since_analyze < kept.autovacuum_rows:
        return f"{what}: autovacuum waits for {kept.autovacuum_rows:.0f} rows"
    waited = kept.last_known is None or now - kept.last_known > timedelta(seconds=policy.stale_s)
    return f"{what}: autovacuum is due and has not come yet" if waited else ""


@dataclass(frozen=True)
class PairSample:
    """How often a sample's rows agree in two columns. Means are over rows, each compared with all `n` of the sample.

    both: other rows with the same pair. apart: product of the other rows with the same first and the same second value.
    first_decides, second_decides: share of rows whose value in one column comes with one value of the other.
    """

    first: str
    second: str
    n: int
    both: float
    apart: float
    first_decides: float
    second_decides: float

    @property
    def ratio(self) -> float | None:
        """How much oftener a pair is met than its values alone would say; None where the sample is too small to tell.

        The planner multiplies the shares of the values, p(a) × p(b). Weighted by rows, the truth is Σ p(a,b)² and the
        product Σ p(a,b) p(a) p(b); a row is not counted with itself, else rare pairs would look correlated.
        """
        if self.n < 2 or self.both * self.n < _MIN_PAIRS or not self.apart:
            return None
        return self.both * (self.n - 1) / self.apart


def correlated(pairs: Sequence[PairSample], min_ratio: float) -> tuple[list[str], list[PairSample]]:
    """The columns that hang together most, and the pairs that show it; nothing where none do.

    Where several groups of columns do, that of the strongest pair.
    """
    strong = sorted((p for p in pairs if (p.ratio or 0) >= min_ratio), key=lambda p: -(p.ratio or 0))
    if not strong:
        return [], []
    group = {strong[0].first, strong[0].second}
    while more := {c for p in strong if group & {p.first, p.second} for c in (p.first, p.second)} - group:
        group |= more
    return sorted(group), [p for p in strong if {p.first, p.second} <= group]


def kinds_for(pairs: Sequence[PairSample]) -> tuple[str, ...]:
    """Kinds of extended statistics: dependencies where a column decides another, else the most common combinations.

    ndistinct beside them, for GROUP BY; it costs next to nothing.
    """
    decided = all(max(p.first_decides, p.second_decides) >= _DEPENDS for p in pairs)
    return ("ndistinct", "dependencies") if decided else ("ndistinct", "mcv")


@dataclass(frozen=True)
class RareSample:
    """Values of a column that are not among its common ones, in a sample of `n` rows.

    mates: mean number of other rows with the same value, over the rows with such a value; share: of these rows.
    """

    n: int
    mates: float
    share: float

    def ratio(self, table: Table, column: str) -> float | None:
        """How much oftener such a value is met than the planner thinks; None where the sample is too small to tell.

        The planner gives each the same share: what is left beside nulls and common values, by their number
        (selfuncs.c, var_eq_const).
        """
        known = table.columns[column].statistics
        if known is None or self.n < 2 or self.mates * self.share * self.n < _MIN_PAIRS:
            return None
        rest = 1 - known.null_frac - sum(known.common_freqs)
        others = max(1.0, known.distinct(max(table.rows, 1)) - len(known.common_values))
        if rest <= 0:
            return None
        return self.mates / (self.n - 1) / (rest / others)


def raised(target: int) -> int:
    """The next statistics target to try: ten times as many values."""
    return min(MAX_TARGET, max(target, 10) * 10)


def evidence(table: Table) -> dict[str, Any]:
    """What the statistics of a table were, without a value of a row: the record of what ANALYZE replaces."""
    columns = {
        name: {
            "null_frac": c.statistics.null_frac,
            "n_distinct": c.statistics.n_distinct,
            "avg_width": c.statistics.avg_width,
            "correlation": c.statistics.correlation,
            "common_values": len(c.statistics.common_values),
            "common_share": round(sum(c.statistics.common_freqs), 6),
            "bounds": len(c.statistics.histogram),
        }
        for name, c in table.columns.items()
        if c.statistics is not None
    }
    return {"rows": table.rows, "pages": table.pages, "columns": columns}
