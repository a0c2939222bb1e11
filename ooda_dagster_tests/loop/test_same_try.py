"""Are statistics that did not help, found again with a column more or less or in another order, the same try?"""

from __future__ import annotations

import pytest

from ooda_dagster.core.policy import rule
from ooda_dagster.core.situation import case_of
from ooda_dagster.loop.past import look_back
from ooda_dagster.loop.situation import situation
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.actions.statistics import EXTENDED, applied
from ooda_dagster_tests.core.policy_cases import a_hypothesis


@pytest.mark.parametrize(
    ("columns", "same"),
    [
        (["status", "customer"], True),
        (["customer", "placed", "status"], True),
        (["customer", "placed"], False),
    ],
)
def test_statistics_that_were_undone_are_known_by_their_columns(stage: Stage, columns: list[str], same: bool) -> None:
    action = applied(stage, EXTENDED)  # on customer and status
    assert stage.rollback(action).done
    spec = {"schema": "public", "table": "orders", "columns": columns, "kinds": ["ndistinct"]}
    found = a_hypothesis(
        "public.orders", hypothesis_type=EXTENDED, identity=f"statistics on {columns}", evidence={"spec": spec}
    )
    ruling = rule(found, situation(stage.loop), stage.loop.settings)
    assert ruling.rule.startswith("the same try, statistics on customer, status, failed") is same
    then = look_back(stage.ledger, stage.loop.name, stage.loop.clock(), stage.loop.settings)
    assert any(group.is_tried_by(case_of(found)) for group in then.situation.undone_groups) is same
