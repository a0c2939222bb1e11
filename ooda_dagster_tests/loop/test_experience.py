"""Does a type that repeatedly saved less than was predicted rank lower, with the reason, and come back? Live."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from ooda_dagster.actions.registry import TYPES
from ooda_dagster.collect.sampler import sample
from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.journal import State
from ooda_dagster.core.messages import Hypotheses, Hypothesis
from ooda_dagster.core.settings import Mode
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.decide import decide
from ooda_dagster.loop.experience import calibration_at, experience, work_of
from ooda_dagster.loop.hypothesize import hypothesize
from ooda_dagster.loop.observe import observe
from ooda_dagster.loop.past import look_back
from ooda_dagster_tests.ledger.closed import closed, predicting
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.loop.ground import begun, make_loop, with_settings
from ooda_dagster_tests.support import Database, work

DAY = timedelta(days=1)
#: Nothing helps it: it reads every row.
_HEAVY = "select sum(length(md5(note || id))) from orders where id > %s"


@pytest.fixture
def alone(busy: Database, ledger: Ledger, home: Path) -> Callable[..., Loop]:
    """A loop on a ledger that knows no other target: what these have learned counts everywhere."""
    work(busy)
    return lambda *options, **settings: make_loop(busy, ledger, home, *options, **settings)


def thought(loop: Loop, database: Database) -> tuple[Hypotheses, Hypothesis]:
    """What a cycle thinks after some more traffic, most of whose time goes where no index helps: so the priority is not
    at its top whatever it is trusted."""
    work(database, 40)
    with psycopg.connect(database.app, autocommit=True) as connection:
        for _ in range(4):
            connection.execute(_HEAVY, (0,))
    sample(loop.target, loop.ledger, loop.settings.sampling)
    observation = observe(loop, begun(loop))
    loop.ledger.cycles.finish(observation.analysis_id, now=loop.clock(), next_due_at=None, reason="")
    found = hypothesize(loop, observation)
    (index,) = [h for h in found.hypotheses if h.hypothesis_type == HypothesisType.INDEX]
    return found, index


def tell(loop: Loop, backend: str, count: int = 6, *, realised: float = 0.12, days: float = 1) -> None:
    """Predictions of 60 %, of which so much came true; undone since, as the catalogue has nothing of them."""
    for n in range(count):
        at = loop.clock() - days * DAY + n * timedelta(minutes=1)
        outcome = Outcome.BETTER if realised > 0.2 else Outcome.INCONCLUSIVE
        predicted = predicting(0.6, backend=backend)
        closed(loop.ledger, loop.name, at, predicted, realised=realised, outcome=outcome, state=State.REVERTED)


def test_a_type_that_repeatedly_disappointed_ranks_lower_and_comes_back(
    alone: Callable[..., Loop], busy: Database
) -> None:
    loop = alone(Mode.AUTO, acting={"approve_threshold": 5})
    _, first = thought(loop, busy)
    assert (first.trust, first.learned) == (1.0, "")
    assert first.predicted_pct == first.expected_pct
    assert first.predicted_pct is not None
    assert 0 < first.predicted_pct <= 100
    assert set(first.work_ms_per_hour) <= set(first.touches)

    tell(loop, first.backend)
    all_, second = thought(loop, busy)
    assert second.trust < 0.45
    assert second.priority < first.priority
    assert second.expected_pct == pytest.approx((second.predicted_pct or 0) * second.trust)
    assert "past predictions of this type on this rung realised 0.20x (n=6)" in second.description
    assert second.expected_impact["expected_less_work_pct"] == pytest.approx(second.expected_pct, abs=0.1)
    decision = next(d for d in decide(loop, all_).decisions if d.hypothesis_id == second.hypothesis_id)
    assert (decision.state, "below the threshold" in decision.rule) == (State.PENDING_APPROVAL, True)
    noted = loop.ledger.actions.get(decision.action_id).predicted
    assert (noted["trust"], noted["backend"]) == (second.trust, second.backend)

    ask(loop.ledger, "update ooda.action set closed_at = closed_at - interval '91 days' where target = :t", t=loop.name)
    ask(
        loop.ledger, "update ooda.verdict set looked_at = looked_at - interval '91 days' where target = :t", t=loop.name
    )
    _, last = thought(loop, busy)
    assert (last.trust, last.priority, last.learned) == (1.0, first.priority, "")


def test_a_correction_that_is_switched_off_is_told_and_not_applied(alone: Callable[..., Loop]) -> None:
    loop = alone(Mode.PROPOSE, learning={"feed_back": False})
    tell(loop, "hypopg", 3)
    found = experience(loop).correct(HypothesisType.INDEX, "hypopg", 500.0, {"s1": 1000.0})
    assert (found.trust, found.predicted, found.expected) == (1.0, 0.5, 0.5)
    assert "realised 0.20x (n=3)" in found.learned
    assert found.learned.endswith("that is not applied (learning.feed_back)")


def test_what_saves_nothing_or_touches_nothing_known_is_not_compared(alone: Callable[..., Loop]) -> None:
    known = experience(alone(Mode.PROPOSE))
    for net, touched in ((500.0, {}), (-5.0, {"s1": 1000.0})):
        found = known.correct(HypothesisType.INDEX, "hypopg", net, touched)
        assert (found.predicted, found.expected, found.impact, found.told("d")) == (None, None, {}, "d")


def test_a_past_day_trusts_predictions_as_far_as_they_had_come_true_by_then(alone: Callable[..., Loop]) -> None:
    loop = alone(Mode.PROPOSE)
    tell(loop, "hypopg", days=3)
    now = loop.clock()
    found = Hypothesis(
        hypothesis_id="h",
        hypothesis_type=HypothesisType.INDEX,
        priority=3,
        description="d",
        identity="i",
        backend="hypopg",
    )
    now_and_then = [look_back(loop.ledger, loop.name, now - days * DAY, loop.settings) for days in (0, 4)]
    assert [then.trust(found) == 1.0 for then in now_and_then] == [False, True]
    off = with_settings(loop, learning={"feed_back": False})
    assert look_back(loop.ledger, loop.name, now, off.settings).trust(found) == 1.0


def test_what_other_targets_of_the_ledger_learned_is_known(alone: Callable[..., Loop]) -> None:
    theirs, ours = alone(Mode.PROPOSE), alone(Mode.PROPOSE)
    tell(theirs, "some other backend")
    known = calibration_at(ours.ledger, ours.clock(), ours.settings)
    assert known.factor(ours.name, HypothesisType.INDEX, "a rung of ours").value < 1


def test_statements_that_hardly_count_are_left_out_of_the_touched_work() -> None:
    assert work_of(["a", "b", "c", "d"], {"a": 1000.0, "b": 0.5, "d": 0.0}) == {"a": 1000.0}


def test_every_type_that_can_be_proposed_is_known_by_one_name() -> None:
    assert {str(kind) for kind in HypothesisType} == set(TYPES)


def test_hypotheses_stand_by_what_is_expected_of_them_not_by_what_was_priced() -> None:
    fields = {"hypothesis_type": "t", "description": "d", "identity": "i", "priority": 3}
    more, less = (
        Hypothesis(hypothesis_id=i, saved_ms_per_hour=saved, trust=trust, **fields)  # type: ignore[arg-type]
        for i, saved, trust in (("a", 1000.0, 0.3), ("b", 400.0, 1.0))
    )
    assert (more.expected_ms_per_hour, less.expected_ms_per_hour) == (pytest.approx(300), 400)
