"""The smallest remedy first: what would the planner have to know for a statement that a change of ours made slower?

The search is that of all statements (loop/better_statistics.py) with lower bars: what is not worth a change in general
is worth one where harm is proven. A table of such a statement is analysed once, if anything in it changed since; what
is wrong after that is looked for in correlated and skewed columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ooda_dagster.advisor.shape import Shape
from ooda_dagster.advisor.workload import WorkloadStatement
from ooda_dagster.core.catalogue import Catalogue
from ooda_dagster.core.settings import Statistics
from ooda_dagster.loop.better_statistics import Finding, find_better_statistics
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.losers import Loser
from ooda_dagster.loop.table_samples import TableSampler
from ooda_dagster.targets.base import Observing

_ESTIMATES = {"min_estimate_ratio": 2.0, "min_estimate_rows": 1, "min_sample_ratio": 1.5}
_ANY_CHANGE = {"stale_rows": 1, "stale_share": 0.0, "stale_s": 0.0}


def mend(
    loop: Loop,
    losers: Mapping[str, Loser],
    statements: Sequence[WorkloadStatement],
    findings: list[Finding],
    session: Observing,
    shapes: Mapping[str, Shape],
    catalogue: Catalogue,
    sampler: TableSampler,
) -> list[Finding]:
    """`findings` with remedies for the `statements` that lost; theirs come first, and one table has one."""
    remedies: dict[str, Finding] = {}
    for statement in statements:
        loser, shape = losers[statement.fingerprint], shapes.get(statement.fingerprint)
        found, _ = find_better_statistics(
            session,
            [statement],
            shapes,
            catalogue,
            _lowered(loop.settings.statistics, loser, shape, session),
            loop.clock(),
            sampler,
            values_kept=loop.settings.sampling.keep_literals_d > 0,
        )
        if not found:
            loop.say(f"{loser.why} ({loser.description}), and no smaller remedy is known: it stays on its net gain")
        for each in found:
            known = remedies.get(each.table.label)
            lost = loser.lost_ms_per_hour + (known.lost_ms_per_hour if known else 0.0)
            evidence = {**each.evidence, "mends": loser.fingerprint, "of_action": loser.action_id}
            first = known or replace(each, why=f"{loser.why}, and {each.why}", evidence=evidence)
            remedies[each.table.label] = replace(first, lost_ms_per_hour=lost)
    return [*remedies.values(), *(f for f in findings if f.table.label not in remedies)]


def _lowered(policy: Statistics, loser: Loser, shape: Shape | None, session: Observing) -> Statistics:
    tables = session.statistics(sorted({use.table.key for use in shape.uses})) if shape else {}
    analysed = all(t.last_known is not None and t.last_known > loser.since for t in tables.values())
    return policy.model_copy(update=_ESTIMATES | ({} if analysed else _ANY_CHANGE))
