"""Is what waits renewed and not proposed twice, and a mode that only looks silent?"""

from __future__ import annotations

from collections.abc import Callable

from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.loop.context import Loop
from ooda_dagster_tests.loop.ground import turn


def test_an_equal_proposal_of_the_next_cycle_renews_the_one_that_waits(shop: Callable[..., Loop]) -> None:
    loop = shop(Mode.PROPOSE)
    first, second = turn(loop), turn(loop)
    assert [d.state for d in second.decisions.decisions] == [State.PROPOSED]
    assert [d.action_id for d in first.decisions.decisions] == [d.action_id for d in second.decisions.decisions]
    assert len(loop.ledger.actions.list(loop.name)) == 1


def test_mode_observe_proposes_nothing_and_says_so(shop: Callable[..., Loop]) -> None:
    ran = turn(shop(Mode.OBSERVE))
    assert ran.hypotheses.reason == "mode observe: nothing is proposed"
    assert ran.observation.statements
    assert ran.decisions.decisions == []
