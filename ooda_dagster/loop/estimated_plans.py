"""Which plan would the planner choose for a statement without knowing its values? Asked only where it may have changed.

That is: for a statement that was never asked about, one that became slower, one that reads a relation whose indexes,
columns or statistics are others than the last time, after a change of the planner's settings, and once a day.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta

import pandas as pd

from ooda_dagster.advisor.explainable import explainable
from ooda_dagster.advisor.shape import UnreadableStatementError
from ooda_dagster.core.catalogue import Catalogue, Table
from ooda_dagster.core.plans import Plan, UnreadablePlanError, read_plan
from ooda_dagster.core.text import cut
from ooda_dagster.ledger.plans import Check, Seen
from ooda_dagster.loop.context import Loop
from ooda_dagster.targets.base import Observing, TargetError

#: A statement of whose calls the plan log shows so many needs no estimate.
_LOGGED_SHARE = 0.5
#: A statement that became slower is asked about again after so many looks, not in each cycle.
_LOOKS_APART = 2


def estimate_plans(
    loop: Loop, session: Observing, catalogue: Catalogue, totals: pd.DataFrame, slower: Collection[str]
) -> int:
    """Keep estimates of the heaviest statements' plans; how many were asked for.

    totals: the statements of the lookback, heaviest first. Raises TargetError where the session is lost.
    """
    policy, now = loop.settings.plans, loop.clock()
    if policy.max_explains == 0 or totals.empty:
        return 0
    heavy = totals[totals["kind"] == "select"].head(policy.max_statements)
    checks = loop.ledger.plans.checks(loop.name)
    kept = loop.ledger.plans.of(loop.name, list(checks))
    reads = {(p.fingerprint, p.plan_hash): p.relations for p in kept if p.source == "estimate"}
    since = now - timedelta(hours=loop.settings.regressions.lookback_h)
    logged = loop.ledger.plans.executions(loop.name, since)
    states = _States(catalogue, session.planner_settings())
    due: list[tuple[int, str, str]] = []
    for row in heavy.itertuples():
        whose, text = str(row.fingerprint), str(row.text)
        if logged.get(whose, 0) >= _LOGGED_SHARE * float(row.n):  # type: ignore[arg-type]
            continue
        check = checks.get(whose)
        if check is None:
            due.append((1, whose, text))
            continue
        age = now - check.checked_at
        apart = timedelta(seconds=_LOOKS_APART * loop.settings.regressions.look_s)
        if whose in slower and age >= apart:
            due.append((0, whose, text))
        elif check.depends_on != states.of(reads.get((whose, check.plan_hash or ""), ())):
            due.append((1, whose, text))
        elif age >= timedelta(hours=policy.explain_again_h):
            due.append((2, whose, text))
    due.sort(key=lambda one: one[0])  # stable: among equals the heaviest first
    seen, made = [], []
    ends = time.monotonic() + policy.explain_budget_s
    for _, whose, text in due[: policy.max_explains]:
        if time.monotonic() > ends:
            break
        plan, error = _estimated(session, text, catalogue, policy.explain_timeout_s)
        if plan is not None:
            seen.append(Seen(whose, plan, now))
        depends_on = states.of(plan.relations if plan else ())
        made.append(Check(whose, now, depends_on, plan.hash if plan else None, error))
    if made:
        loop.ledger.plans.keep_estimates(loop.name, seen, made)
    return len(made)


def _estimated(session: Observing, text: str, catalogue: Catalogue, timeout_s: float) -> tuple[Plan | None, str | None]:
    """The plan, or why there is none; no literal in that."""
    try:
        return read_plan(session.estimated_plan(explainable(text), timeout_s=timeout_s), catalogue), None
    except (UnreadableStatementError, UnreadablePlanError, TargetError) as error:
        return None, cut(str(error), 200)


class _States:
    """What the plans on some relations depend on, as a digest."""

    def __init__(self, catalogue: Catalogue, settings: str) -> None:
        self._catalogue, self._settings = catalogue, settings
        self._known: dict[str, str] = {}

    def of(self, relations: Iterable[str]) -> str:
        parts = [self._settings, *(self._one(name) for name in sorted(relations))]
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()

    def _one(self, name: str) -> str:
        if name not in self._known:
            table = _find(self._catalogue, name)
            self._known[name] = "\n".join(_state(table)) if table else "absent"
        return self._known[name]


def _find(catalogue: Catalogue, name: str) -> Table | None:
    """A relation as a plan names it: unquoted, with its schema."""
    schema, dot, table = name.partition(".")
    return catalogue.tables.get((schema, table)) if dot else catalogue.find(name)


def _state(table: Table) -> Iterator[str]:
    yield f"{table.oid} {table.kind} {table.last_analyze}"
    yield ",".join(f"{c.name} {c.type}" for c in table.columns.values())
    yield from sorted(f"{i.oid} {i.valid}" for i in table.indexes)
