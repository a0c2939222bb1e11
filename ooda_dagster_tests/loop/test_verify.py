"""Do looks keep what helped, undo what hurt and leave open what cannot be told? Real indexes, told histories."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ooda_dagster.core.change_types import HypothesisType
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.ledger import Action
from ooda_dagster.ledger.verifications import Verification
from ooda_dagster.loop.alerts import watch
from ooda_dagster.loop.learn import learn
from ooda_dagster.loop.verify import due_looks, since_undos, verify
from ooda_dagster_tests.actions.stage import ON_CUSTOMER, ON_STATUS, Stage
from ooda_dagster_tests.actions.statistics import ANALYZE, EXTENDED, TARGET, applied, catalogue
from ooda_dagster_tests.loop.ground import no_results
from ooda_dagster_tests.loop.told_history import AGO_S, BEFORE_S, history, judged, past_its_deadline, used


def opened(stage: Stage) -> list[Verification]:
    return list(stage.ledger.verifications.open(stage.loop.name))


def test_what_helped_is_kept_with_the_saving_that_was_measured(stage: Stage) -> None:
    action = stage.built()
    history(stage, {"t": (10.0, 5.0), "c": (1.0, 1.0)})
    change_set = judged(stage, action)
    used(stage)
    (ended,) = verify(stage.loop)
    assert (ended.state, ended.outcome, ended.outcome_class) == (State.KEPT, Outcome.BETTER, "HighSuccess")
    assert ended.ratio == pytest.approx(0.5, abs=0.03)
    (row,) = stage.ledger.actions.improvements(stage.loop.name)
    assert float(row["latency_improvement"]) == pytest.approx(50, abs=3)
    # 10 calls a second that took 10 ms, and half of it is gone.
    assert float(row["performance_delta"]) == pytest.approx(10 * 5 * 3600, rel=0.15)
    assert row["analysis_results"]["n"]["calls_after"] > 300
    (look,) = stage.ledger.verifications.looks(change_set)
    assert look["final"]
    assert look["evidence"]["control"] == "statements on other tables"
    assert opened(stage) == []


def test_what_hurt_is_undone_at_once(stage: Stage) -> None:
    before = stage.definitions()
    action = stage.built()
    history(stage, {"t": (1.0, 3.0), "c": (1.0, 1.0)})
    judged(stage, action)
    used(stage)
    (ended,) = verify(stage.loop)
    assert (ended.state, ended.outcome) == (State.REVERTED, Outcome.WORSE)
    assert ended.ratio == pytest.approx(3, rel=0.1)
    assert "work per call rose by" in (ended.revert_reason or "")
    assert stage.definitions() == before
    assert opened(stage) == []


def test_what_all_statements_share_is_no_effect(stage: Stage) -> None:
    action = stage.built()
    history(stage, {"t": (1.0, 3.0), "c": (1.0, 3.0)})
    judged(stage, action)
    assert verify(stage.loop) == []
    (still,) = opened(stage)
    assert still.next_look_at is not None
    assert still.next_look_at > stage.loop.clock()
    assert due_looks(stage.loop) == []


@pytest.mark.parametrize(
    ("policy", "state", "words"),
    [
        ({"on_inconclusive": "keep"}, State.INCONCLUSIVE, "kept: acting.on_inconclusive = keep"),
        ({"on_inconclusive": "revert"}, State.REVERTED, "acting.on_inconclusive = revert"),
        ({}, State.INCONCLUSIVE, "kept: it costs next to nothing"),
        ({"cheap_mb": 0.01}, State.REVERTED, "it takes 0 MB (acting.cheap_mb)"),
        ({"cheap_write_ms_per_hour": 100}, State.REVERTED, "writes pay 0.2 s an hour for it"),
    ],
)
def test_at_the_deadline_policy_says_what_becomes_of_it(
    stage: Stage, policy: dict[str, Any], state: State, words: str
) -> None:
    stage = past_its_deadline(stage.with_acting(**policy))
    action = stage.built()
    stage.ledger.actions.note(action.action_id, predicted={**action.predicted, "write_ms_per_hour": 200.0})
    history(stage, {"t": (1.0, 1.0), "c": (1.0, 1.0)})
    judged(stage, action)
    used(stage)
    (ended,) = verify(stage.loop)
    assert (ended.state, ended.outcome) == (state, Outcome.INCONCLUSIVE)
    told = [row["reason"] for row in stage.ledger.actions.history(action.action_id) if words in row["reason"]]
    assert len(told) == 1
    assert opened(stage) == []


def _made_for(stage: Stage, action: Action, *fingerprints: str) -> Action:
    predicted = {**action.predicted, "serves": list(fingerprints)}
    stage.ledger.actions.note(action.action_id, predicted=predicted)
    return stage.now(action)


def test_an_index_that_no_plan_used_goes_whatever_the_clock_says(stage: Stage) -> None:
    action = _made_for(stage, stage.built(), "t")
    history(stage, {"t": (10.0, 5.0), "c": (1.0, 1.0)})
    judged(stage, action)
    (ended,) = verify(stage.loop)
    assert ended.state == State.REVERTED
    assert "never used" in (ended.revert_reason or "")


@pytest.mark.parametrize("made_for", [["rare"], []])
def test_an_index_is_not_called_unused_for_the_calls_of_writers(stage: Stage, made_for: list[str]) -> None:
    """`t` is reached and is called often, but is not what the index was made for."""
    action = _made_for(stage, stage.built(), *made_for)
    history(stage, {"t": (10.0, 5.0), "c": (1.0, 1.0)})
    judged(stage, action)
    (ended,) = verify(stage.loop)
    assert (ended.state, ended.outcome) == (State.KEPT, Outcome.BETTER)


@pytest.mark.parametrize(("made_for", "ends"), [("rare", False), ("t", True)])
def test_where_what_an_index_was_made_for_is_rare_the_deadline_is_the_longer_one(
    stage: Stage, made_for: str, ends: bool
) -> None:
    stage = past_its_deadline(stage, low_traffic_deadline_s=3600)
    action = _made_for(stage, stage.built(), made_for)
    history(stage, {"t": (1.0, 1.0), "c": (1.0, 1.0)})
    judged(stage, action)
    used(stage)
    assert bool(verify(stage.loop)) == ends


def test_of_a_set_the_one_that_is_used_least_goes_and_the_rest_is_judged_anew(stage: Stage) -> None:
    useful, idle = stage.built(ON_CUSTOMER), stage.built(ON_STATUS)
    history(stage, {"t": (1.0, 3.0), "c": (1.0, 1.0)})
    judged(stage, useful, idle)
    used(stage)
    (ended,) = verify(stage.loop)
    assert ended.action_id == idle.action_id
    assert stage.now(useful).state == State.VERIFYING
    (still,) = opened(stage)
    assert still.acted_until is not None
    assert stage.loop.clock() - still.acted_until > timedelta(seconds=40), (
        "to others, the time between is none of a deed"
    )
    judged_from = since_undos(stage.loop, still).acted_until
    assert judged_from is not None
    assert stage.loop.clock() - judged_from < timedelta(seconds=20)


def test_of_a_set_what_is_left_is_not_judged_by_what_was_undone(stage: Stage) -> None:
    """By a look that broke off before it noted that, or by hand."""
    useful, harmful = stage.built(ON_CUSTOMER), stage.built(ON_STATUS)
    history(stage, {"t": (1.0, 3.0), "c": (1.0, 1.0)})
    judged(stage, useful, harmful)
    used(stage)
    assert stage.rollback(harmful).done
    assert verify(stage.loop) == []
    assert stage.now(useful).state == State.VERIFYING
    (still,) = opened(stage)
    assert still.next_look_at is not None
    assert still.next_look_at > stage.loop.clock()


def test_in_a_mode_that_does_not_act_the_undo_is_left_to_a_person(stage: Stage) -> None:
    action = stage.built()
    history(stage, {"t": (1.0, 3.0), "c": (1.0, 1.0)})
    judged(stage, action)
    said: list[str] = []
    settings = stage.loop.settings.model_copy(update={"mode": Mode.PROPOSE})
    assert verify(replace(stage.loop, settings=settings, say=said.append)) == []
    assert (stage.now(action).state, stage.now(action).outcome) == (State.VERIFYING, Outcome.WORSE)
    assert action.object_name in stage.database.indexes()
    assert any("ooda actions rollback" in line for line in said)
    assert len(opened(stage)) == 1


def test_an_undo_that_cannot_be_now_is_tried_again(stage: Stage) -> None:
    action = stage.built()
    history(stage, {"t": (1.0, 3.0), "c": (1.0, 1.0)})
    judged(stage, action)
    with stage.loop.target.acting("somebody") as other:
        assert other.try_lock()
        assert verify(stage.loop) == []
        assert stage.now(action).state == State.VERIFYING
    (ended,) = verify(stage.loop, at_once=True)
    assert ended.state == State.REVERTED


def _mended_before(stage: Stage, reached: str) -> None:
    """An earlier change set, closed by now, that reached a statement in the middle of the baseline."""
    now = stage.loop.clock()
    then = now - timedelta(seconds=AGO_S + BEFORE_S / 2)
    action = stage.built(ON_STATUS)
    change_set = stage.ledger.verifications.begin(
        stage.loop.name, [action.action_id], treated=[reached], bystanders=[], now=then
    )
    stage.ledger.verifications.update(change_set, acted_until=then, open=False, closed_at=then)
    verdict: dict[str, Any] = {"outcome": Outcome.BETTER, "ratio": 0.01, "closed_at": then}
    stage.ledger.actions.transition(action.action_id, State.KEPT, actor="policy", applied_at=then, **verdict)


@pytest.mark.parametrize("told", [True, False])
def test_a_baseline_begins_where_an_earlier_action_ended(stage: Stage, told: bool) -> None:
    """The control's own step would drown the effect, were it not known whose step it is."""
    if told:
        _mended_before(stage, "c")
    action = stage.built()
    history(stage, {"t": (10.0, 10.0, 5.0), "c": (100.0, 1.0, 1.0)})
    judged(stage, action)
    used(stage)
    assert [a.outcome for a in verify(stage.loop)] == ([Outcome.BETTER] if told else [])


def test_where_nothing_else_runs_statements_beside_it_are_the_control(stage: Stage) -> None:
    action = stage.built()
    history(stage, {"t": (10.0, 5.0), "beside": (1.0, 1.0)})
    change_set = judged(stage, action, bystanders=("beside",))
    used(stage)
    assert [a.outcome for a in verify(stage.loop)] == [Outcome.BETTER]
    assert stage.ledger.verifications.looks(change_set)[0]["evidence"]["control"].startswith("other statements")


def test_without_any_control_a_change_is_unattributed_and_kept_at_the_deadline(stage: Stage) -> None:
    stage = past_its_deadline(stage)
    action = stage.built()
    history(stage, {"t": (10.0, 5.0)})
    judged(stage, action)
    used(stage)
    (ended,) = verify(stage.loop)
    assert (ended.state, ended.outcome) == (State.KEPT, Outcome.UNATTRIBUTED)


class DiedError(Exception):
    """In the place of a process's end."""


@pytest.mark.parametrize("write", ["record", "transition", "record_improvement"])
def test_a_verdict_that_breaks_off_after_a_write_is_given_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    action = stage.built()
    history(stage, {"t": (10.0, 5.0), "c": (1.0, 1.0)})
    judged(stage, action)
    used(stage)
    book = stage.ledger.verifications if write == "record" else stage.ledger.actions
    wrote = getattr(book, write)

    def last(*args: Any, **options: Any) -> None:
        wrote(*args, **options)
        raise DiedError

    with monkeypatch.context() as patched:
        patched.setattr(book, write, last)
        with pytest.raises(DiedError):
            learn(stage.loop, no_results(stage.loop))
    learn(stage.loop, no_results(stage.loop))
    assert stage.now(action).state == State.KEPT
    (row,) = stage.ledger.actions.improvements(stage.loop.name)
    assert float(row["latency_improvement"]) == pytest.approx(50, abs=3)
    assert opened(stage) == []


def test_an_undo_that_recovery_finished_is_in_the_improvement_history(stage: Stage) -> None:
    action = stage.built()
    history(stage, {"t": (10.0, 5.0), "c": (1.0, 1.0)})
    judged(stage, action)
    used(stage)
    verify(stage.loop)
    stage.ledger.actions.transition(action.action_id, State.REVERTING, actor="ann")  # and its worker dies
    assert len(stage.recover()) == 1
    learn(stage.loop, no_results(stage.loop))
    (row,) = stage.ledger.actions.improvements(stage.loop.name)
    assert row["was_rolled_back"]


def test_what_was_undone_by_hand_meanwhile_is_not_judged(stage: Stage) -> None:
    action = stage.built()
    history(stage, {"t": (10.0, 5.0), "c": (1.0, 1.0)})
    change_set = judged(stage, action)
    stage.rollback(action)
    assert verify(stage.loop) == []
    assert opened(stage) == []
    assert stage.ledger.verifications.looks(change_set) == []


def test_an_analyze_that_hurt_stays_where_it_has_no_undo_and_is_told_for_a_day(stage: Stage) -> None:
    stage = stage.with_settings("sampling", keep_literals_d=0)
    action = applied(stage, ANALYZE)
    history(stage, {"t": (2, 8), "c": (3, 3)})
    judged(stage, action)
    (ended,) = verify(stage.loop)
    assert (ended.state, ended.outcome) == (State.KEPT, Outcome.WORSE)
    assert opened(stage) == []
    now = stage.loop.clock()
    (text,) = watch(stage.ledger, [stage.loop.name], now).raised[-1:]
    assert "It has no undo (sampling.keep_literals_d = 0: no values are kept); the next ANALYZE replaces it" in text
    (over,) = watch(stage.ledger, [stage.loop.name], now + timedelta(days=1, minutes=1)).cleared
    assert over.key.endswith(action.action_id)


@pytest.mark.slow
def test_an_analyze_that_hurt_and_whose_values_are_gone_is_kept_by_the_next_look(stage: Stage) -> None:
    action = applied(stage, ANALYZE)
    history(stage, {"t": (2, 8), "c": (3, 3)})
    change_set = judged(stage, action)
    stage.ledger.literals.keep(stage.loop.name, [], now=stage.loop.clock(), days=0)
    assert verify(stage.loop) == []
    assert stage.now(action).state == State.VERIFYING
    stage.ledger.verifications.update(change_set, next_look_at=stage.loop.clock())
    (ended,) = verify(stage.loop)
    assert (ended.state, ended.outcome, ended.undo_kind) == (State.KEPT, Outcome.WORSE, "none")
    assert opened(stage) == []


def test_an_analyze_that_made_a_plan_worse_is_undone_and_the_plan_is_as_before(stage: Stage) -> None:
    """Somebody had set statistics by hand, so that a rare value is read by the index."""
    explain = "explain (costs on) select note from orders where customer = 7"
    stage.database.execute(
        "alter table orders set (autovacuum_enabled = off); create index on orders (customer);"
        "update orders set customer = 7 where id % 3 > 0; analyze orders; "
        "select pg_clear_attribute_stats('public', 'orders', 'customer', false);"
        "select pg_restore_attribute_stats('schemaname', 'public', 'relname', 'orders', 'attname', 'customer', "
        "'inherited', false, 'null_frac', 0::real, 'avg_width', 4, 'n_distinct', -1::real)"
    )
    before = stage.database.execute(explain)
    assert "Index" in before[0][0]
    action = applied(stage, ANALYZE)
    assert "Seq Scan" in stage.database.execute(explain)[0][0]
    history(stage, {"t": (2, 8), "c": (3, 3)})
    judged(stage, action)
    (ended,) = verify(stage.loop)
    assert (ended.state, ended.outcome) == (State.REVERTED, Outcome.WORSE)
    assert stage.database.execute(explain) == before
    assert opened(stage) == []


def test_of_an_index_that_is_used_and_an_analyze_that_hurt_together_the_analyze_goes_and_the_rest_is_judged_anew(
    stage: Stage,
) -> None:
    index, analyzed = stage.built(), applied(stage, ANALYZE)
    used(stage)
    history(stage, {"t": (2, 8), "c": (3, 3)})
    judged(stage, index, analyzed)
    (ended,) = verify(stage.loop)
    assert (ended.action_id, ended.state) == (analyzed.action_id, State.REVERTED)
    assert stage.now(index).state == State.VERIFYING
    assert len(opened(stage)) == 1


@pytest.mark.parametrize("kind", [EXTENDED, TARGET])
def test_statistics_that_hurt_are_taken_back(stage: Stage, kind: HypothesisType) -> None:
    before, action = catalogue(stage), applied(stage, kind)
    history(stage, {"t": (2, 8), "c": (3, 3)})
    judged(stage, action)
    (ended,) = verify(stage.loop)
    assert (ended.state, ended.outcome) == (State.REVERTED, Outcome.WORSE)
    assert catalogue(stage) == before


def test_an_analyze_without_an_undo_that_shows_nothing_is_inconclusive_where_others_would_be_undone(
    stage: Stage,
) -> None:
    reverting = past_its_deadline(stage.with_acting(on_inconclusive="revert"))
    action = applied(stage.with_settings("sampling", keep_literals_d=0), ANALYZE)
    history(stage, {"t": (2, 2), "c": (3, 3)})
    judged(stage, action)
    (ended,) = verify(reverting.loop)
    assert ended.state == State.INCONCLUSIVE
