"""Is a kept gain looked at once more, and what becomes of it when it went away? Real indexes, told histories."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ooda_dagster.core.evidence_check import check
from ooda_dagster.core.evidence_file import as_text, read
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.journal import State
from ooda_dagster.core.second_look import Later, later
from ooda_dagster.core.settings import Mode
from ooda_dagster.core.verdict import Outcome, Verdict
from ooda_dagster.ledger import Action
from ooda_dagster.loop.alerts import watch
from ooda_dagster.loop.by_hand import rollback
from ooda_dagster.loop.evidence import evidence_of
from ooda_dagster.loop.learn import learn
from ooda_dagster.loop.losses_in_place import still_worse
from ooda_dagster.loop.second_look import EVENT, due_second_looks, look_twice
from ooda_dagster.loop.verify import verify
from ooda_dagster_tests.actions.stage import ON_STATUS, Stage
from ooda_dagster_tests.loop.ground import no_results
from ooda_dagster_tests.loop.told_history import history, judged, used


@pytest.mark.parametrize(
    ("outcome", "interval", "expected"),
    [
        (Outcome.BETTER, (0.4, 0.6), Later.STILL_BETTER),
        (Outcome.BETTER, (0.9, 0.98), Later.STILL_BETTER),  # the first proof overstates what it found
        (Outcome.WORSE, (1.1, 1.3), Later.WORSE),
        (Outcome.INCONCLUSIVE, (0.72, 1.1), Later.GONE),  # less than half of the logarithm of 0.5 is left
        (Outcome.INCONCLUSIVE, (0.70, 1.1), Later.UNCLEAR),
        (Outcome.INCONCLUSIVE, (0.3, 3.0), Later.UNCLEAR),
        (Outcome.UNATTRIBUTED, (1.2, 1.4), Later.UNCLEAR),
        (Outcome.INCONCLUSIVE, None, Later.UNSEEN),
    ],
)
def test_a_gain_is_gone_where_surely_less_than_half_of_it_is_left(
    outcome: Outcome, interval: tuple[float, float] | None, expected: Later
) -> None:
    assert later(0.5, Verdict(outcome, 1.0, interval, "")) == expected


def short(stage: Stage) -> Stage:
    """The newest twenty seconds are looked at."""
    return stage.with_settings("verifying", deadline_s=22, second_look_h=0.005)


def kept(stage: Stage, *beside: IndexSpec) -> Action:
    """An index, with others, that a verdict called five times as good, and whose second look is due."""
    action = stage.built()
    built = [action, *(stage.built(spec) for spec in beside)]
    change_set = judged(stage, *built)
    now = stage.loop.clock()
    verdict = {"outcome": Outcome.BETTER, "outcome_class": "HighSuccess", "ratio": 0.2, "closed_at": now}
    for one in built:
        unused = {"evidence": {"use": {one.action_id: {"scans": 0}}}}
        stage.ledger.actions.transition(
            one.action_id, State.KEPT, actor="policy", detail=unused, learned_in="before", **verdict
        )
    better = Verdict(Outcome.BETTER, 0.2, (0.15, 0.25), "work per call fell")
    stage.ledger.verifications.record(change_set, stage.loop.name, 1, now, better, final=True)
    stage.ledger.verifications.update(
        change_set, open=False, closed_at=now - timedelta(seconds=30), next_look_at=now - timedelta(seconds=1)
    )
    return action


def said(stage: Stage) -> list[str]:
    return [e.detail["found"] for e in stage.ledger.trail.events(stage.loop.name, events=(EVENT,))]


def test_what_was_kept_for_its_gain_is_to_be_looked_at_again_after_the_time_set(stage: Stage) -> None:
    stage = stage.with_settings("verifying", second_look_h=2)
    action = stage.built()
    history(stage, {"t": (10.0, 5.0), "c": (1.0, 1.0)})
    judged(stage, action)
    used(stage)
    assert [a.state for a in verify(stage.loop)] == [State.KEPT]
    (watched,) = stage.ledger.verifications.watched(stage.loop.name)
    assert watched.next_look_at is not None
    assert watched.closed_at is not None
    assert watched.next_look_at - watched.closed_at == timedelta(hours=2)
    assert due_second_looks(stage.loop) == []
    assert stage.ledger.verifications.open(stage.loop.name) == []


def test_without_a_time_set_nothing_is_looked_at_again(stage: Stage) -> None:
    stage = stage.with_settings("verifying", second_look_h=0)
    action = stage.built()
    history(stage, {"t": (10.0, 5.0), "c": (1.0, 1.0)})
    judged(stage, action)
    used(stage)
    assert [a.state for a in verify(stage.loop)] == [State.KEPT]
    assert stage.ledger.verifications.watched(stage.loop.name) == []


def test_a_gain_that_lasts_stays_and_is_not_looked_at_again(stage: Stage) -> None:
    stage = short(stage)
    action = kept(stage)
    history(stage, {"t": (10.0, 2.0), "c": (1.0, 1.0)})
    assert look_twice(stage.loop) == []
    assert (stage.now(action).state, said(stage)) == (State.KEPT, ["still better"])
    assert "second look: still better, work per call -8" in (stage.now(action).verdict_reason or "")
    assert stage.ledger.verifications.watched(stage.loop.name) == []


def test_a_gain_that_turned_into_a_loss_is_undone_and_learned_from(stage: Stage) -> None:
    stage = short(stage)
    before = stage.definitions()
    action = kept(stage)
    history(stage, {"t": (10.0, 2.0), "c": (1.0, 1.0)}, later={"t": 30.0})
    assert [(a.action_id, a.state, a.outcome) for a in look_twice(stage.loop)] == [
        (action.action_id, State.REVERTED, Outcome.WORSE)
    ]
    assert stage.moves(action)[-3:] == [State.KEPT, State.REVERTING, State.REVERTED]
    assert stage.definitions() == before
    delta = learn(stage.loop, no_results(stage.loop))
    assert [(row.outcome, row.state) for row in delta.outcomes] == [("worse", State.REVERTED)]
    assert delta.delay_minutes == 60
    (row,) = stage.ledger.actions.improvements(stage.loop.name)
    assert (row["was_rolled_back"], float(row["success_score"])) == (True, 0.0)


def test_a_gain_that_went_away_from_what_no_plan_uses_is_undone(stage: Stage) -> None:
    stage = short(stage)
    action = kept(stage)
    history(stage, {"t": (10.0, 2.0), "c": (1.0, 1.0)}, later={"t": 10.0})
    (ended,) = look_twice(stage.loop)
    assert (ended.state, ended.action_id) == (State.REVERTED, action.action_id)
    assert (ended.revert_reason or "").startswith("the gain went away (work per call ")
    assert "no plan used it since it was kept" in (ended.revert_reason or "")
    assert said(stage) == ["gone"]
    assert stage.ledger.verifications.watched(stage.loop.name) == []


@pytest.mark.parametrize(("cheap_mb", "state"), [(100, State.KEPT), (0.01, State.REVERTED)])
def test_a_gain_that_went_away_from_what_plans_use_is_policys_to_treat(
    stage: Stage, cheap_mb: float, state: State
) -> None:
    stage = short(stage.with_acting(cheap_mb=cheap_mb))
    action = kept(stage)
    used(stage)
    stage.database.execute("select pg_stat_force_next_flush()")
    history(stage, {"t": (10.0, 2.0), "c": (1.0, 1.0)}, later={"t": 10.0})
    look_twice(stage.loop)
    assert (stage.now(action).state, said(stage)) == (state, ["gone"])
    assert stage.ledger.verifications.watched(stage.loop.name) == []


@pytest.mark.parametrize("same", [True, False])
def test_statements_that_were_changed_again_are_left_to_that_verdict(stage: Stage, same: bool) -> None:
    stage = short(stage)
    action = kept(stage)
    history(stage, {"t": (10.0, 2.0), "c": (1.0, 1.0)}, later={"t": 30.0})
    other = stage.built(ON_STATUS)
    now = stage.loop.clock()
    book = stage.ledger.verifications
    book.begin(stage.loop.name, [other.action_id], treated=["t"] if same else ["u"], bystanders=[], now=now)
    if not same:
        assert [a.action_id for a in look_twice(stage.loop)] == [action.action_id]
        return
    assert look_twice(stage.loop) == []
    assert stage.now(action).state == State.KEPT
    assert stage.ledger.verifications.watched(stage.loop.name) == []


def test_without_calls_it_is_looked_at_later_and_not_for_ever(stage: Stage) -> None:
    stage = short(stage)
    kept(stage)
    assert look_twice(stage.loop) == []
    (watched,) = stage.ledger.verifications.watched(stage.loop.name)
    assert watched.next_look_at is not None
    assert watched.next_look_at > stage.loop.clock()
    after = stage.loop.clock() + timedelta(hours=1)
    late = replace(stage, loop=replace(stage.loop, clock=lambda: after))
    assert look_twice(late.loop) == []
    assert stage.ledger.verifications.watched(stage.loop.name) == []
    assert said(stage) == ["unseen"]


def test_in_a_mode_that_does_not_act_a_loss_is_told_once_and_left_to_a_person(stage: Stage) -> None:
    stage = short(stage)
    action = kept(stage)
    history(stage, {"t": (10.0, 2.0), "c": (1.0, 1.0)}, later={"t": 30.0})
    settings = stage.loop.settings.model_copy(update={"mode": Mode.PROPOSE})
    (watched,) = stage.ledger.verifications.watched(stage.loop.name)
    for _ in range(2):
        stage.ledger.verifications.update(watched.change_set_id, next_look_at=stage.loop.clock())
        assert look_twice(replace(stage.loop, settings=settings)) == []
    # The verdict that stands is the first one's, until the undo begins.
    assert (stage.now(action).state, stage.now(action).outcome) == (State.KEPT, Outcome.BETTER)
    assert said(stage) == ["worse"]
    assert "second look: worse" in (stage.now(action).verdict_reason or "")
    (told,) = watch(stage.ledger, [stage.loop.name], stage.loop.clock()).raised
    assert f"{action.action_id[:8]} ({action.object_name}) was proven to change work per call by +" in told
    (loss,) = still_worse(stage.ledger, stage.loop.name, stage.loop.clock())
    assert loss.ratio_low is not None
    assert loss.ratio_low > 1
    stage.ledger.verifications.update(watched.change_set_id, next_look_at=stage.loop.clock())
    (ended,) = look_twice(stage.loop)
    assert (ended.state, ended.outcome, ended.learned_in) == (State.REVERTED, Outcome.WORSE, None)
    assert still_worse(stage.ledger, stage.loop.name, stage.loop.clock()) == []


def test_of_two_the_one_that_is_left_is_no_loss_until_it_was_looked_at_anew(stage: Stage) -> None:
    stage = short(stage)
    kept(stage, ON_STATUS)
    history(stage, {"t": (10.0, 2.0), "c": (1.0, 1.0)}, later={"t": 30.0})
    assert [a.state for a in look_twice(stage.loop)] == [State.REVERTED]
    assert len(stage.ledger.actions.list(stage.loop.name, states=(State.KEPT,))) == 1
    assert len(stage.ledger.verifications.watched(stage.loop.name)) == 1
    assert still_worse(stage.ledger, stage.loop.name, stage.loop.clock()) == []


def test_a_loss_that_has_no_undo_is_told_for_a_day(stage: Stage) -> None:
    stage = short(stage)
    action = kept(stage)
    stage.ledger.actions.note(action.action_id, undo_kind="none")
    history(stage, {"t": (10.0, 2.0), "c": (1.0, 1.0)}, later={"t": 30.0})
    assert look_twice(stage.loop) == []
    assert stage.ledger.verifications.watched(stage.loop.name) == []
    now = stage.loop.clock()
    (told,) = watch(stage.ledger, [stage.loop.name], now).raised
    assert "It has no undo" in told
    assert len(watch(stage.ledger, [stage.loop.name], now + timedelta(hours=25)).cleared) == 1


def test_what_a_person_undoes_for_a_second_look_is_no_success(stage: Stage) -> None:
    stage = short(stage)
    action = kept(stage)
    history(stage, {"t": (10.0, 2.0), "c": (1.0, 1.0)}, later={"t": 30.0})
    settings = stage.loop.settings.model_copy(update={"mode": Mode.PROPOSE})
    assert look_twice(replace(stage.loop, settings=settings)) == []
    ended = rollback(stage.loop, stage.now(action), by="ann").action
    assert (ended.state, ended.outcome, ended.outcome_class, ended.learned_in) == (
        State.REVERTED, Outcome.WORSE, "Regressed", None,
    )  # fmt: skip
    evidence = evidence_of(stage.ledger, ended, stage.loop.settings, stage.loop.clock())
    found = check(read(as_text(evidence)))
    assert (found.sound, found.equal, found.exact) == (True, True, True), found.findings
    assert evidence["verdict"]["outcome"] == "worse"


def test_what_was_undone_by_hand_is_not_looked_at(stage: Stage) -> None:
    stage = short(stage)
    stage.rollback(kept(stage))
    assert look_twice(stage.loop) == []
    assert said(stage) == []
    assert stage.ledger.verifications.watched(stage.loop.name) == []
