"""Does the loop measure its own verdicts, seldom and within bounds, and raise their bar where they need it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from ooda_dagster.core.messages import LearningDelta
from ooda_dagster.defs.metadata import describe
from ooda_dagster.loop.learn import learn
from ooda_dagster.loop.own_audit import audit_if_due
from ooda_dagster.loop.verdict_bar import EVENT, MEASURED, in_words, policy_of
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.loop.days import buckets, know
from ooda_dagster_tests.loop.ground import no_results

_BUCKETS = 260

Level = Callable[[int, int], float]  # of a statement in a bucket, as a logarithm


def audited(stage: Stage, level: Level = lambda statement, bucket: 0.0, **verifying: float) -> Stage:
    """A target with some minutes of four statements, that measures its verdicts once a day."""
    stage = stage.with_settings("verifying", **{"audit_every_h": 24, "audit_placebos": 40, **verifying})
    name, chance, now = stage.loop.name, np.random.default_rng(1), stage.loop.clock()
    ids = list(know(stage.ledger, name).values())
    rows = []
    for bucket in range(_BUCKETS):
        load = chance.normal(0, 0.2)
        work = {
            i: (100, 1000.0 * float(np.exp(load + level(n, bucket) + chance.normal(0, 0.05))))
            for n, i in enumerate(ids)
        }
        rows.append((now - timedelta(seconds=2 * (_BUCKETS - bucket)), 2.0, work))
    buckets(stage.ledger, rows, name)
    return stage


def measured(stage: Stage) -> int:
    return len(stage.ledger.trail.events(stage.loop.name, events=(MEASURED,)))


def learned(stage: Stage) -> LearningDelta:
    return learn(stage.loop, no_results(stage.loop))


def test_learning_measures_once_a_day_and_tells_of_it_every_time(stage: Stage) -> None:
    stage = audited(stage)
    first, second = learned(stage), learned(stage)
    assert measured(stage) == 1
    assert first.verdict_audit is not None
    assert second.verdict_audit == first.verdict_audit
    assert (first.verdict_audit.placebos, first.verdict_audit.raised) == (40, False)
    assert 0 <= (first.verdict_audit.low_pct or 0) <= (first.verdict_audit.false_pct or 0) <= 5
    assert stage.ledger.trail.events(stage.loop.name, events=(EVENT,)) == []
    assert describe(first)["verdict_audit"] == in_words(first.verdict_audit)
    assert "placebos worth" in in_words(first.verdict_audit)
    tomorrow = stage.loop.clock() + timedelta(hours=24)
    assert audit_if_due(replace(stage.loop, clock=lambda: tomorrow))
    assert measured(stage) == 2


def test_where_verdicts_are_wrong_too_often_the_bar_goes_up_by_itself(stage: Stage) -> None:
    """Each statement jumps at moments of its own, by much: what no model of the time before foresees."""
    stage = audited(stage, lambda n, bucket: 1.5 if n == 0 and bucket > 160 else 1.0 if n == 1 and bucket > 205 else 0)
    audit = learned(stage).verdict_audit
    assert audit is not None
    assert (audit.low_pct or 0) > 1
    assert audit.raised
    assert policy_of(stage.ledger, stage.loop.name, stage.loop.settings.verifying).decide_e == audit.decide_e > 100
    (event,) = stage.ledger.trail.events(stage.loop.name, events=(EVENT,))
    assert "false verdicts in" in event.detail["why"]
    assert "raised for it" in in_words(audit)


def test_its_cpu_is_bounded(stage: Stage) -> None:
    audit = learned(audited(stage, audit_cpu_s=1e-6)).verdict_audit
    assert audit is not None
    assert audit.placebos == 1


@pytest.mark.parametrize("verifying", [{"audit_every_h": 0}, {"min_baseline_h": 1}])
def test_it_is_not_measured_where_it_is_switched_off_or_history_is_short(
    stage: Stage, verifying: dict[str, float]
) -> None:
    stage = audited(stage).with_settings("verifying", **verifying)
    assert learned(stage).verdict_audit is None
    assert measured(stage) == 0


def test_what_cannot_be_measured_is_told_and_tried_again_a_day_later(stage: Stage) -> None:
    stage = audited(stage, audit_statements=2)
    audit = learned(stage).verdict_audit
    assert audit is not None
    assert "2 statements without an action were called; 4 are needed" in in_words(audit)
    assert not audit_if_due(stage.loop)


def test_a_replay_measures_nothing(stage: Stage) -> None:
    stage = audited(stage)
    learn(stage.loop, no_results(stage.loop).model_copy(update={"replayed": True}))
    assert measured(stage) == 0
