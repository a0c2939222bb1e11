"""Would the planner do better if it knew more? Of stale tables, correlated columns, skewed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ooda_dagster.actions.analyze import analyze_spec
from ooda_dagster.actions.create_statistics import statistics_spec
from ooda_dagster.actions.set_statistics_target import target_spec
from ooda_dagster.advisor.estimates import Misestimate, equalities, misestimates, samplable
from ooda_dagster.advisor.shape import Shape, Use
from ooda_dagster.advisor.workload import WorkloadStatement
from ooda_dagster.core.catalogue import Catalogue, Table
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.settings import Statistics
from ooda_dagster.core.statistics import (
    MAX_TARGET,
    PairSample,
    StatisticsSpec,
    TableStatistics,
    correlated,
    kinds_for,
    raised,
    why_analyze,
)
from ooda_dagster.loop.table_samples import NEVER, TableSampler
from ooda_dagster.targets.base import Observing, TargetError

#: Columns of one condition that are looked at: each pair of them is counted.
_MOST_COLUMNS = 4


@dataclass(frozen=True)
class Finding:
    """A change of statistics that should help, with the reason in words and in numbers; no literal in either.

    lost_ms_per_hour: what statements lose that it is to mend (loop/mend.py); 0 where there is no such statement.
    """

    kind: HypothesisType
    table: Table
    spec: dict[str, Any]
    why: str
    evidence: dict[str, Any] = field(default_factory=dict)
    lost_ms_per_hour: float = 0.0

    def helps(self, shape: Shape) -> bool:
        """Whether a statement's plan depends on what would be known then."""
        columns = {self.spec["column"]} if "column" in self.spec else set(self.spec.get("columns", ()))
        return any(use.table.key == self.table.key and columns <= use.columns for use in shape.uses)


@dataclass
class _Search:
    session: Observing
    policy: Statistics
    kept: Mapping[tuple[str, str], TableStatistics]
    sampler: TableSampler
    findings: list[Finding] = field(default_factory=list)
    blind: dict[str, str] = field(default_factory=dict)

    def explains(self, use: Use) -> bool:
        """Whether a table may be the cause, and may be looked at now."""
        key, label = use.table.key, use.table.label
        looked_at = bool(equalities(use)) and key in self.kept and samplable(use.table)
        return looked_at and label not in self.sampler.left_alone

    def order(self, wrong: Misestimate) -> tuple[bool, datetime]:
        """What is remembered comes first, as it costs nothing; then what was not sampled for longest."""
        uses = [u for u in wrong.shape.uses if self.explains(u)]
        last = [self.sampler.last(u.table, equalities(u)[:_MOST_COLUMNS], self.kept[u.table.key]) for u in uses]
        due = [at for at in last if at is not None]
        return (True, min(due)) if due else (False, NEVER)


def find_better_statistics(
    session: Observing,
    statements: list[WorkloadStatement],
    shapes: Mapping[str, Shape],
    catalogue: Catalogue,
    policy: Statistics,
    now: datetime,
    sampler: TableSampler,
    *,
    values_kept: bool,
) -> tuple[list[Finding], dict[str, str]]:
    """Findings for the tables that the heavy `statements` read, and relation → why it could not be looked at.

    catalogue: with column statistics of these tables. A table whose statistics are old is analysed first; nothing else
    is concluded from them. values_kept: whether the ledger keeps literals, which the undo of an ANALYZE needs.
    """
    tables = {use.table.key for s in statements if s.fingerprint in shapes for use in shapes[s.fingerprint].uses}
    search = _Search(session, policy, session.statistics(sorted(tables)), sampler)
    stale = {}
    for key in sorted(search.kept.keys() & catalogue.tables.keys()):
        table, kept = catalogue.tables[key], search.kept[key]
        if kept.tracked and (why := why_analyze(table, kept, policy, now)):
            stale[key] = Finding(HypothesisType.ANALYZE, table, analyze_spec(*key, kept, values_kept=values_kept), why)
    if policy.analyze:  # where a worker is at it, ours would only wait, and be superfluous
        search.findings += [found for key, found in stale.items() if not search.kept[key].at_work]
    if policy.extended or policy.targets:
        known = [s for s in statements if s.fingerprint in shapes and not stale.keys() & shapes[s.fingerprint].tables]

        def planned_rows(text: str) -> float | None:
            try:
                return session.planned_rows(text)
            except TargetError:
                return None

        # Sorted stably: among equals the worst first.
        for wrong in sorted(misestimates(known, catalogue, planned_rows, policy), key=search.order):
            for use in wrong.shape.uses:
                _explain(wrong, use, search)
    return search.findings, search.blind


def _explain(wrong: Misestimate, use: Use, search: _Search) -> None:
    """Look for the cause in one table of a wrong estimate. The first cause found there is mended first."""
    table = use.table
    if not search.explains(use) or any(f.table.key == table.key for f in search.findings):
        return
    kept, columns = search.kept[table.key], equalities(use)[:_MOST_COLUMNS]
    try:
        found = _correlated(wrong, table, columns, kept, search) if len(columns) > 1 else None
        if found is None:
            found = next(filter(None, (_skewed(wrong, table, c, kept, search) for c in columns)), None)
    except TargetError as error:
        search.blind[table.label] = str(error)
        return
    if found is not None:
        search.findings.append(found)


def _correlated(
    wrong: Misestimate, table: Table, columns: list[str], kept: TableStatistics, search: _Search
) -> Finding | None:
    """Columns of one condition that hang together, which no statistics tell the planner."""
    if not search.policy.extended or any(e.tells(columns) for e in kept.extended):
        return None
    pairs = search.sampler.pairs(search.session, table, columns, kept)
    if pairs is None:
        return None
    together, strong = correlated(pairs, search.policy.min_sample_ratio)
    in_order = tuple(c for c in table.columns if c in together)
    if not together or any(e.tells(in_order) for e in kept.extended):
        return None
    spec = StatisticsSpec(table.schema, table.name, in_order, kinds_for(strong))
    most = max(strong, key=lambda p: p.ratio or 0)
    why = f"{most.first} and {most.second} meet {most.ratio:.0f} times oftener than one by one; {_wrong(wrong)}"
    evidence = {"pairs": [_pair(p) for p in pairs], **_numbers(wrong)}
    return Finding(HypothesisType.EXTENDED_STATISTICS, table, statistics_spec(spec), why, evidence)


def _skewed(wrong: Misestimate, table: Table, column: str, kept: TableStatistics, search: _Search) -> Finding | None:
    """A column whose common values do not fit into what is kept of it."""
    target, known = kept.target(column), table.columns[column].statistics
    full = known is not None and len(known.common_values) >= target > 0
    if not search.policy.targets or not full or target >= MAX_TARGET:
        return None
    sample = search.sampler.rare(search.session, table, column, kept)
    ratio = sample.ratio(table, column) if sample is not None else None
    if sample is None or ratio is None or ratio < search.policy.min_sample_ratio:
        return None
    before = kept.targets.get(column)
    spec = target_spec(table.schema, table.name, column, target=raised(target), before=before)
    why = f"its values beside the {target} common ones are {ratio:.0f} times commoner than thought; {_wrong(wrong)}"
    evidence = {"sample_rows": sample.n, "sample_ratio": round(ratio, 2), **_numbers(wrong)}
    return Finding(HypothesisType.STATISTICS_TARGET, table, spec, why, evidence)


def _wrong(wrong: Misestimate) -> str:
    return f"the planner expects {wrong.expected:.0f} rows of a statement that returns {wrong.returned:.0f}"


def _numbers(wrong: Misestimate) -> dict[str, Any]:
    return {
        "fingerprint": wrong.statement.fingerprint,
        "expected_rows": round(wrong.expected, 1),
        "returned_rows": round(wrong.returned, 1),
    }


def _pair(pair: PairSample) -> dict[str, Any]:
    ratio = None if pair.ratio is None else round(pair.ratio, 2)
    return {
        "columns": [pair.first, pair.second],
        "sample_rows": pair.n,
        "ratio": ratio,
        "first_decides": round(pair.first_decides, 3),
        "second_decides": round(pair.second_decides, 3),
    }
