"""Index advice for a workload: what to build, its size, what it serves, what it costs writers, and what is blind."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from ooda_dagster.advisor.candidates import candidates
from ooda_dagster.advisor.costs import Costs, Judged, shapes_of
from ooda_dagster.advisor.pricing import Pricing, PricingError
from ooda_dagster.advisor.search import Search
from ooda_dagster.advisor.shape import Shape, UnreadableStatementError
from ooda_dagster.advisor.workload import Workload, WorkloadStatement
from ooda_dagster.advisor.writes import Writing, write_ms_per_hour, writings
from ooda_dagster.core.btree_size import index_bytes
from ooda_dagster.core.catalogue import Catalogue, Index
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.settings import Advice as Policy


@dataclass(frozen=True)
class ServedStatement:
    """A statement that an index would serve: planner's cost without and with the advice, time saved per hour."""

    statement: WorkloadStatement
    cost_before: float
    cost_after: float
    saved_ms_per_hour: float
    generic: bool


@dataclass(frozen=True)
class Recommendation:
    """One index worth building. Times are per hour of the workload's window; `net` is saved − written."""

    spec: IndexSpec
    bytes: int
    serves: tuple[ServedStatement, ...]
    saved_ms_per_hour: float
    write_ms_per_hour: float
    #: What the whole advice would lose without it: its own share where several serve one statement.
    marginal_ms_per_hour: float

    @property
    def net_ms_per_hour(self) -> float:
        return self.saved_ms_per_hour - self.write_ms_per_hour

    @property
    def is_estimate(self) -> bool:
        """No statement that it serves was priced with real values."""
        return all(s.generic for s in self.serves)


@dataclass
class Advised:
    """The answer of the advisor."""

    recommendations: list[Recommendation] = field(default_factory=list)
    unjudged: list[tuple[WorkloadStatement, str]] = field(default_factory=list)
    served: list[tuple[WorkloadStatement, Index]] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    considered: int = 0
    candidates: int = 0
    explains: int = 0
    backend: str = ""
    total_ms_per_hour: float = 0.0
    ms_per_hour: dict[str, float] = field(default_factory=dict)  # fingerprint → its time, where it is known
    budget_bytes: int = 0
    blind: dict[str, str] = field(default_factory=dict)
    timed_out: bool = False
    reason: str = ""

    @property
    def bytes(self) -> int:
        return sum(r.bytes for r in self.recommendations)

    def share_of(self, fingerprints: Collection[str]) -> float:
        """Share of all statement time that some statements take."""
        taken = sum(self.ms_per_hour.get(f, 0.0) for f in fingerprints)
        return min(1.0, taken / self.total_ms_per_hour) if self.total_ms_per_hour else 0.0


def worth_judging(workload: Workload, policy: Policy) -> list[WorkloadStatement]:
    """Statements heavy enough to be worth an index, heaviest first; where no time is known, all."""
    return [
        s
        for s in workload.statements
        if s.kind in ("select", "update", "delete", "insert", "merge")
        and (s.total_ms is None or s.total_ms >= policy.min_statement_total_ms)
    ][: policy.max_statements]


def advise(
    workload: Workload,
    catalogue: Catalogue,
    price_with: Callable[[set[tuple[str, str]]], Pricing],
    *,
    policy: Policy,
    budget_bytes: int,
) -> Advised:
    """Advice for `workload`. `price_with` opens a what-if backend for the tables that it is given, once.

    It is not called where no statement has a candidate: an idle target costs no clone.
    """
    result = Advised(budget_bytes=budget_bytes, total_ms_per_hour=workload.total_ms / workload.hours)
    result.ms_per_hour = {s.fingerprint: (s.total_ms or 0.0) / workload.hours for s in workload.statements}
    heavy = worth_judging(workload, policy)
    readable, unread = shapes_of(workload.statements[: max(policy.max_statements, 1)], catalogue)
    names = {s.fingerprint for s in heavy}
    result.unjudged += [(s, why) for s, why in unread if s.fingerprint in names or s.total_ms is None]
    # Of a server it is left out silently; who puts it into a file wonders.
    result.unjudged += [
        (s, "it is no query and no write of rows: no index serves it")
        for s, _ in readable
        if s.total_ms is None and s.kind == "other"
    ]
    result.unjudged += [
        (s, f"only the first {policy.max_statements} statements are looked at")
        for s in workload.statements[policy.max_statements :]
        if s.total_ms is None  # of a file; where times are known, the rest is light
    ]
    result.shapes = {s.fingerprint: shape for s, shape in readable}
    judged = _with_candidates([(s, shape) for s, shape in readable if s.fingerprint in names], result, workload, policy)
    result.considered = len(heavy)
    if not judged:
        result.reason = _why_nothing(workload, heavy, result, policy)
        return result

    started = time.monotonic()
    pricing = price_with({key for j in judged for key in j.shape.tables})
    result.backend = pricing.name
    costs = Costs(pricing, catalogue)
    possible = pricing.offer(sorted({c for j in judged for c in j.candidates}, key=lambda c: c.definition))
    priced = _priced(judged, costs, possible, result, workload, deadline=started + policy.time_budget_s)
    result.blind = dict(pricing.blind)
    written = writings(readable, workload.hours)
    search = Search(
        costs,
        priced,
        bytes_of=_sizes(catalogue),
        write_ms_per_hour=_write_costs(catalogue, written),
        budget_bytes=budget_bytes,
        floor_ms_per_hour=policy.min_saving_share * sum(j.weight for j in priced),
        deadline=started + policy.time_budget_s,
    )
    found = search.run()
    result.timed_out = search.timed_out
    result.recommendations = _recommend(found.indexes, search, costs, priced, _sizes(catalogue), policy)
    result.explains = costs.explains
    if not result.recommendations:
        result.reason = "no index would save enough to be worth its upkeep"
    return result


def _with_candidates(
    readable: list[tuple[WorkloadStatement, Shape]], result: Advised, workload: Workload, policy: Policy
) -> list[Judged]:
    judged = []
    everything: set[IndexSpec] = set()
    for statement, shape in readable:
        found = candidates(shape, policy.max_width)
        result.served += [(statement, index) for index in dict.fromkeys(found.served.values())]
        specs = [s for s in found.specs if s in everything or len(everything) < policy.max_candidates]
        everything.update(specs)
        if specs:
            weight = (statement.total_ms if statement.total_ms is not None else 0.0) / workload.hours
            judged.append(Judged(statement, shape, frozenset(specs), weight))
            continue
        if found.refused and not found.served:
            tables = "; ".join(f"{table}: {why}" for table, why in found.refused.items())
            result.unjudged.append((statement, tables))
        elif shape.unresolved and not shape.uses:
            result.unjudged.append((statement, _unseen(shape)))
    result.candidates = len(everything)
    for one in judged:  # what another statement needs may serve this one too: (a, b) instead of (a) and (a, b)
        one.candidates |= {spec for spec in everything if _may_serve(spec, one.shape)}
    return judged


def _may_serve(spec: IndexSpec, shape: Shape) -> bool:
    """Whether a statement compares, joins or orders by what the index begins with."""
    return any(use.table.key == (spec.schema, spec.table) and spec.columns[0].name in use.columns for use in shape.uses)


def _unseen(shape: Shape, before: str = "") -> str:
    """What a statement reads that is no table of ours."""
    if not shape.unresolved:
        return ""
    return f"{before}it reads {', '.join(sorted(shape.unresolved))}, which is a view or not in the catalogue"


def _priced(
    judged: list[Judged],
    costs: Costs,
    possible: set[IndexSpec],
    result: Advised,
    workload: Workload,
    *,
    deadline: float,
) -> list[Judged]:
    """Statements that the backend can plan; the others are listed with the reason."""
    priced = []
    for one in judged:
        if time.monotonic() > deadline:
            result.unjudged.append((one.statement, "the time budget ran out before it was looked at"))
            result.timed_out = True
            continue
        one.candidates = one.candidates & possible
        try:
            costs.prepare(one)
        except (PricingError, UnreadableStatementError) as error:
            result.unjudged.append((one.statement, f"{error}{_unseen(one.shape, '; ')}"))
            continue
        if one.statement.total_ms is None:  # a file that knows calls only: the planner's units stand in for ms
            one.weight = one.statement.calls * one.base / workload.hours
            result.total_ms_per_hour += one.weight
        priced.append(one)
    return priced


def _sizes(catalogue: Catalogue) -> Callable[[IndexSpec], int]:
    known: dict[IndexSpec, int] = {}

    def size(spec: IndexSpec) -> int:
        if spec not in known:
            known[spec] = index_bytes(catalogue.tables[(spec.schema, spec.table)], spec)
        return known[spec]

    return size


def _write_costs(catalogue: Catalogue, written: list[Writing]) -> Callable[[IndexSpec], float]:
    known: dict[IndexSpec, float] = {}

    def cost(spec: IndexSpec) -> float:
        if spec not in known:
            known[spec] = write_ms_per_hour(spec, catalogue.tables[(spec.schema, spec.table)], written)
        return known[spec]

    return cost


def _recommend(
    indexes: frozenset[IndexSpec],
    search: Search,
    costs: Costs,
    judged: list[Judged],
    bytes_of: Callable[[IndexSpec], int],
    policy: Policy,
) -> list[Recommendation]:
    """One recommendation for each index that serves at least one statement well; heaviest first."""
    whole = search.net(indexes)
    found = []
    for spec in indexes:
        serves = []
        for one in judged:
            used, cost = costs.plan(one, indexes)
            if spec in used:
                saved = search.saved(one, indexes)
                serves.append(ServedStatement(one.statement, one.base, cost, saved, one.generic))
        if not any(1 - s.cost_after / s.cost_before >= policy.min_statement_gain for s in serves):
            continue
        serves.sort(key=lambda s: -s.saved_ms_per_hour)
        found.append(
            Recommendation(
                spec,
                bytes_of(spec),
                tuple(serves),
                sum(s.saved_ms_per_hour for s in serves),
                search.writes(spec),
                whole - search.net(indexes - {spec}),
            )
        )
    return sorted(found, key=lambda r: (-r.marginal_ms_per_hour, r.spec.definition))


def _why_nothing(workload: Workload, heavy: list[WorkloadStatement], result: Advised, policy: Policy) -> str:
    if not workload.statements:
        return "no statement was seen in the window"
    if not heavy:
        floor = policy.min_statement_total_ms / 1000
        return f"no statement took {floor:g} s in the window: nothing is worth an index"
    if result.unjudged and len(result.unjudged) >= len(heavy):
        return "none of the heavy statements could be judged"
    return "the indexes that the heavy statements could use exist already"
