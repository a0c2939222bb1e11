"""Does a seed plant what the demonstration promises to mend?"""

from __future__ import annotations

import pytest

from ooda_dagster.demo.planted import POOL, plan
from ooda_dagster.demo.workload import statements

_SEEDS = range(60)


@pytest.mark.parametrize("seed", _SEEDS)
def test_at_least_two_missing_indexes_one_with_an_order_and_a_harmful_one_elsewhere(seed: int) -> None:
    planted = plan(seed)
    assert len({m.name for m in planted.missing}) == len(planted.missing) >= 2
    assert any(m.order_matters and len(m.columns) > 1 for m in planted.missing)
    tables = {m.table for m in planted.missing}
    assert len(tables) == 2, "with the harmful one's there are three: the fourth table is everybody's control"
    assert planted.harmful.table not in tables


def test_a_seed_always_plants_the_same_and_seeds_differ() -> None:
    assert plan(7) == plan(7)
    assert len({(p.missing, p.harmful, p.skew) for p in map(plan, _SEEDS)}) > 50
    assert {p.harmful.table for p in map(plan, _SEEDS)} == {"atoms", "atom_embeddings", "inference_cache"}


@pytest.mark.parametrize("seed", range(12))
def test_every_planted_problem_has_a_statement_in_the_traffic(seed: int) -> None:
    planted = plan(seed)
    names = {s.name for s in statements(planted)}
    assert {m.statement for m in planted.missing} <= names
    assert planted.harmful.report in names


def test_the_truth_is_served_by_itself_and_by_wider_indexes_not_by_another_order() -> None:
    newest = next(m for m in POOL if m.name == "tenant's newest requests")
    assert newest.served_by("inference_requests", ("tenant_id", "request_timestamp"))
    assert newest.served_by("inference_requests", ("tenant_id", "request_timestamp", "status"))
    assert not newest.served_by("inference_requests", ("request_timestamp", "tenant_id"))
    assert not newest.served_by("inference_requests", ("tenant_id",))
    assert not newest.served_by("atoms", ("tenant_id", "request_timestamp"))
