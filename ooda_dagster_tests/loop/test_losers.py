"""One loser among winners: is it found, is it mended first, and does the change fall on net loss only?"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.journal import State
from ooda_dagster.core.verdict import Outcome, Verdict
from ooda_dagster.ledger import Action
from ooda_dagster.loop.losers import open_losers
from ooda_dagster.loop.opened import open_changes
from ooda_dagster.loop.second_look import look_twice
from ooda_dagster.loop.verify import verify
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.actions.statistics import ANALYZE, applied
from ooda_dagster_tests.loop.ground import make_loop, turn
from ooda_dagster_tests.loop.told_history import Course, history, judged, used

_WINNERS: dict[str, Course] = {f"w{n}": (10.0, 2.0) for n in range(9)}
_CONTROL: dict[str, Course] = {"c": (1.0, 1.0), "d": (2.0, 2.0)}
_TREATED = (*_WINNERS, "l")


def one_loser(stage: Stage, course: Course = (4.0, 12.0), text: str = "select 0") -> Action:
    """An index whose verdict closed: nine of its statements won, and one lost."""
    action = stage.built()
    history(stage, {**_WINNERS, "l": course, **_CONTROL}, texts={"l": text})
    acted = stage.ledger.verifications.get(judged(stage, action, treated=_TREATED)).acted_from
    stage.ledger.actions.note(action.action_id, applied_at=acted + timedelta(seconds=1))
    used(stage)
    (ended,) = verify(stage.with_settings("verifying", decide_e=30).loop)  # on a busy machine blocks are fewer
    return ended


def test_a_loser_among_winners_is_named_and_the_index_stays(stage: Stage) -> None:
    ended = one_loser(stage)
    assert (ended.state, ended.outcome) == (State.KEPT, Outcome.BETTER)
    assert "1 of its statements pay for it: they are mended first" in (ended.verdict_reason or "")
    assert ended.change_set_id is not None
    (look,) = stage.ledger.verifications.looks(ended.change_set_id)
    (lost,) = look["evidence"]["losers"]
    assert lost["fingerprint"] == "l"
    assert lost["low"] > 1
    assert 2.7 < lost["ratio"] < 3.3
    # 10 calls a second that take 8 ms more.
    assert 0.8 < lost["lost_ms_per_hour"] / (10 * 8 * 3600) < 1.2
    (loser,) = open_losers(stage.loop).values()
    assert (loser.fingerprint, loser.action_id) == ("l", ended.action_id)


def test_a_loser_that_is_not_clear_when_the_verdict_closes_is_looked_for_at_the_deadline(stage: Stage) -> None:
    action = stage.built()
    history(stage, {**_WINNERS, "l": (4.0, 12.0), **_CONTROL})
    change_set = judged(stage, action, treated=_TREATED)
    used(stage)
    book, impatient = stage.ledger.verifications, stage.with_settings("verifying", decide_e=30, second_look_h=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ooda_dagster.loop.verify.proven_losers", lambda compared: [])
        assert [a.state for a in verify(impatient.loop)] == [State.KEPT]
    assert open_losers(stage.loop) == {}
    (watched,) = book.watched(stage.loop.name)
    assert watched.acted_until is not None
    assert watched.closed_at is not None
    assert watched.next_look_at == watched.acted_until + timedelta(seconds=80)
    deadline = watched.acted_until + timedelta(seconds=81)
    assert look_twice(replace(impatient.loop, clock=lambda: deadline)) == []
    assert set(open_losers(stage.loop)) == {"l"}
    assert stage.now(action).state == State.KEPT
    assert "second look: losers, 1 of its statements pay for it" in (stage.now(action).verdict_reason or "")
    assert book.get(change_set).next_look_at == watched.closed_at + timedelta(hours=1)


def test_where_nobody_lost_nobody_is_named(stage: Stage) -> None:
    ended = one_loser(stage, (4.0, 4.0))
    assert ended.state == State.KEPT
    assert open_losers(stage.loop) == {}


def test_on_net_loss_the_index_falls_however_many_won(stage: Stage) -> None:
    ended = one_loser(stage, (40.0, 200.0))
    assert (ended.state, ended.outcome) == (State.REVERTED, Outcome.WORSE)
    assert open_losers(stage.loop) == {}


def test_a_loser_counts_as_mended_once_a_change_of_statistics_was_proven_to_help_it(stage: Stage) -> None:
    one_loser(stage)
    action = applied(stage, ANALYZE)
    now = stage.loop.clock()
    book = stage.ledger.verifications
    change_set = book.begin(stage.loop.name, [action.action_id], treated=["l"], bystanders=[], now=now)
    book.update(change_set, acted_until=now, open=False, closed_at=now)
    (loser,) = open_losers(stage.loop).values()
    better = Verdict(Outcome.BETTER, 0.3, (0.2, 0.4), "work per call fell")
    book.record(change_set, stage.loop.name, 1, now + timedelta(seconds=1), better, final=True)
    stage.ledger.actions.transition(action.action_id, State.KEPT, actor="policy", closed_at=now, outcome="better")
    assert open_losers(stage.loop) == {}
    assert loser.ratio > 2


@pytest.mark.slow
def test_the_smallest_remedy_is_proposed_for_it_with_the_reason(stage: Stage) -> None:
    """The statement's table changed by less than what calls for an ANALYZE otherwise."""
    stage.database.execute("alter table orders set (autovacuum_enabled = off)")
    plain = make_loop(stage.database, stage.ledger, stage.loop.home, stage.loop.settings.mode)
    one_loser(stage, text="select note from orders where customer = $1 and status = $2")
    stage.database.execute("update orders set note = note where id <= 50; select pg_stat_force_next_flush()")
    said: list[str] = []
    loop = type(stage.loop)(stage.loop.target, stage.ledger, plain.settings, said.append, home=stage.loop.home)
    decided = turn(loop, dry_run=True)
    proposed = decided.hypotheses.hypotheses
    analyses = [h for h in proposed if h.hypothesis_type == HypothesisType.ANALYZE]
    assert len(analyses) == 1, (said, decided.hypotheses.reason, proposed, open_losers(loop))
    (found,) = analyses
    assert "a statement takes 3.0 times the work since action" in found.description
    assert "which gains on the whole, and 50 rows changed since it was analysed" in found.description
    assert found.priority >= 3
    assert found.evidence["mends"] == "l"
    assert "l" in found.touches


def test_what_is_judged_for_a_change_is_left_alone_though_its_proposal_named_no_statement(stage: Stage) -> None:
    action = stage.built()
    assert action.touches == []
    judged(stage, action, treated=("t", "u"))
    (change,) = open_changes(stage.loop)
    assert change.touches == {"t", "u"}
