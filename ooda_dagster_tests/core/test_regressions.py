"""Is a step found once it matters, called by its cause, and does it go away?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ooda_dagster.core.plan_settings import Regressions
from ooda_dagster.core.plan_use import PlanUse, Source
from ooda_dagster.core.regressions import Found, Known, find_regressions

POLICY = Regressions()
MINUTE = timedelta(minutes=1)
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HOURS = 6
MINUTES = HOURS * 60
START = NOW - timedelta(hours=HOURS)
#: When things happen in these tests: 90 minutes ago.
AT = NOW - timedelta(minutes=90)

Ms = Callable[[datetime], float]


def series(
    name: str, ms: Ms, *, n: int = 60, spread: float = 0.1, rows: Ms = lambda _: 1, seed: int = 1, noise: float = 0.05
) -> pd.DataFrame:
    """Minute buckets: n calls of about ms(minute) each, whose single times have a relative deviation of `spread`."""
    random = np.random.default_rng([seed, *map(ord, name)])
    found = []
    for minute in (START + MINUTE * k for k in range(MINUTES)):
        mean = ms(minute) * random.lognormal(0, noise)
        found.append((minute, 60.0, name, n, n * mean, n * mean**2 * (1 + spread**2), n * rows(minute), n * mean, 0))
    columns = ["minute", "span_s", "fingerprint", "n", "sum_ms", "sum_ms_sq", "rows", "blocks_hit", "blocks_read"]
    return pd.DataFrame(found, columns=pd.Index(columns))


def step(before: float, after: float, at: datetime = AT) -> Ms:
    return lambda minute: before if minute < at else after


def others(factor: Ms = lambda _: 1) -> list[pd.DataFrame]:
    return [series(f"other{k}", lambda m: 5 * factor(m), seed=k) for k in range(5)]


def seen(plan: str, source: Source, moments: Sequence[datetime], *, name: str = "s", n: int = 3) -> list[PlanUse]:
    counted = n if source == "executed" else 0
    return [PlanUse(name, source, plan, at, counted, counted * 1.0) for at in moments]


def every(minutes: int, since: datetime = START, until: datetime = NOW) -> list[datetime]:
    return [since + MINUTE * k for k in range(0, int((until - since) / MINUTE), minutes)]


def found(
    *frames: pd.DataFrame, uses: Sequence[PlanUse] = (), policy: Regressions = POLICY, known: Sequence[Known] = ()
) -> Found:
    work = pd.concat([*frames, *others()], ignore_index=True)
    return find_regressions(work, uses, now=NOW, policy=policy, known=known)


FLIP = [*seen("a", "executed", every(5, until=AT)), *seen("b", "executed", every(5, since=AT))]


def test_a_flip_with_a_step_is_a_plan_regression_with_both_plans_and_its_time() -> None:
    (one,) = found(series("s", step(10, 40)), uses=FLIP).steps
    assert (one.fingerprint, one.kind, one.source) == ("s", "plan_regression", "executed")
    assert (one.plan_before, one.plan_after) == ("a", "b")
    assert abs(one.since - AT) <= 2 * MINUTE * 5
    assert one.ratio == pytest.approx(4, rel=0.1)
    assert one.extra_s == pytest.approx(90 * 60 * 30 / 1000, rel=0.1)
    assert 0 < one.score <= 100


def test_a_step_without_a_flip_is_called_slower_with_the_same_plan() -> None:
    (one,) = found(series("s", step(10, 40)), uses=seen("a", "executed", every(5))).steps
    assert (one.kind, one.plan_before, one.plan_after) == ("slower_same_plan", "a", "a")


def test_a_step_whose_plans_are_not_known_says_so() -> None:
    (one,) = found(series("s", step(10, 40)), uses=seen("b", "executed", every(5, since=AT))).steps
    assert (one.kind, one.plan_before) == ("slower_plan_unknown", None)


def test_a_flip_without_a_step_and_one_that_helps_are_no_regression() -> None:
    assert found(series("s", step(10, 10)), uses=FLIP).steps == []
    assert found(series("s", step(40, 10)), uses=FLIP).steps == []


def test_plans_that_take_turns_depend_on_parameters() -> None:
    """The mix shifts: what was rare is asked for often, and each plan is as quick as it was."""
    turns = [*seen("a", "executed", every(5)), *seen("b", "executed", every(15), n=1)]
    (one,) = found(series("s", step(10, 40)), uses=turns).steps
    assert one.kind == "parameter_sensitive"
    assert "take turns" in one.reason


def test_one_plan_at_a_time_by_turns_is_the_same() -> None:
    moments = every(5)
    turns = [u for k, at in enumerate(moments) for u in seen("ab"[k // 3 % 2], "executed", [at])]
    (one,) = found(series("s", step(10, 40)), uses=turns).steps
    assert one.kind == "parameter_sensitive"


def test_a_flip_and_its_way_back_yesterday_is_no_turn() -> None:
    first, back = START + MINUTE * 60, START + MINUTE * 90
    uses = [
        *seen("a", "executed", every(5, until=first)),
        *seen("b", "executed", every(5, since=first, until=back)),
        *seen("a", "executed", every(5, since=back, until=AT)),
        *seen("b", "executed", every(5, since=AT)),
    ]
    (one,) = found(series("s", step(10, 40)), uses=uses).steps
    assert (one.kind, one.plan_before, one.plan_after) == ("plan_regression", "a", "b")


def test_calls_that_were_as_slow_before_make_it_depend_on_parameters() -> None:
    """One call in twenty took 40 ms before, now all do; there is one plan by the estimate."""
    rare = series("s", step(2.5, 40), spread=3.9)
    (one,) = found(rare, uses=seen("a", "estimate", [START, NOW])).steps
    assert one.kind == "parameter_sensitive"
    assert "there are more of them" in one.reason


def test_a_statement_that_returns_as_many_more_rows_is_asked_for_more() -> None:
    (one,) = found(series("s", step(10, 40), rows=step(10, 38)), uses=FLIP).steps
    assert one.kind == "parameter_sensitive"
    assert "it is asked for more" in one.reason


def test_more_rows_do_not_explain_a_step_that_is_far_larger() -> None:
    (one,) = found(series("s", step(10, 200), rows=step(10, 20)), uses=FLIP).steps
    assert one.kind == "plan_regression"


def test_an_estimate_holds_until_the_next() -> None:
    uses = [*seen("a", "estimate", [START - timedelta(days=3)]), *seen("b", "estimate", [AT + MINUTE * 20])]
    (one,) = found(series("s", step(10, 40)), uses=uses).steps
    assert (one.kind, one.source) == ("plan_regression", "estimate")
    assert "by the planner's estimate" in one.reason
    (unasked,) = found(series("s", step(10, 40)), uses=uses[:1]).steps
    assert unasked.kind == "slower_plan_unknown"


def test_an_estimate_made_right_at_the_step_tells_of_after() -> None:
    uses = [*seen("a", "estimate", [START]), *seen("b", "estimate", [AT + MINUTE])]
    (one,) = found(series("s", step(10, 40)), uses=uses).steps
    assert one.kind == "plan_regression"


def test_executed_plans_outrank_estimates() -> None:
    uses = [*seen("a", "executed", every(5)), *seen("x", "estimate", [START]), *seen("y", "estimate", [NOW])]
    (one,) = found(series("s", step(10, 40)), uses=uses).steps
    assert (one.kind, one.source) == ("slower_same_plan", "executed")


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(series("s", step(10, 14)), id="ratio"),
        pytest.param(series("s", step(0.01, 0.04)), id="seconds"),
        pytest.param(series("s", step(10, 40, NOW - 8 * MINUTE)), id="too few looks"),
        pytest.param(series("s", lambda m: 40 if AT <= m < AT + 20 * MINUTE else 10), id="a spike that is over"),
        pytest.param(series("s", lambda m: 40 if m >= AT and m.minute < 40 else 10), id="not in a row"),
        pytest.param(series("s", step(10, 40), noise=1.2), id="always scattered"),
        pytest.param(series("s", step(1000, 4000, NOW - 20 * MINUTE), n=1), id="executions"),
    ],
)
def test_what_is_below_a_floor_is_left_alone(frame: pd.DataFrame) -> None:
    assert found(frame, uses=FLIP).steps == []


def test_each_floor_is_a_setting() -> None:
    small, few = series("s", step(0.01, 0.04)), series("r", step(1000, 4000, NOW - 20 * MINUTE), n=1)
    assert len(found(small, policy=replace_(min_extra_s=0.01)).steps) == 1
    assert len(found(few, policy=replace_(min_executions=15)).steps) == 1
    assert len(found(series("s", step(10, 14)), policy=replace_(min_ratio=1.2)).steps) == 1


def replace_(**values: float) -> Regressions:
    return POLICY.model_copy(update=values)


def test_a_busy_machine_is_nobody_s_regression_but_what_stands_out_of_it_is() -> None:
    slow = step(1, 3)
    work = pd.concat([*others(slow), series("s", step(10, 100))], ignore_index=True)
    found_ = find_regressions(work, [], now=NOW, policy=POLICY)
    assert [s.fingerprint for s in found_.steps] == ["s"]
    assert found_.steps[0].drift == pytest.approx(3, rel=0.15)


def test_a_rare_statement_s_looks_are_as_long_as_they_need_to_be() -> None:
    rare = series("s", step(2000, 9000, NOW - 150 * MINUTE), n=1)
    rare = rare[rare["minute"].dt.minute % 5 == 0]
    (one,) = found(rare).steps
    assert one.calls_after == pytest.approx(30, abs=12)


def known(before_ms: float = 10, since: datetime = AT) -> Known:
    return Known("s", since, before_ms)


def test_a_known_one_is_held_against_what_it_cost_before_however_long_ago() -> None:
    """In the window it is as slow from end to end."""
    later = found(series("s", lambda _: 40), known=[known(since=START - timedelta(days=3))])
    assert (later.steps, later.gone) == ([], {})
    in_window = found(series("s", step(10, 40)), uses=FLIP, known=[known(9)])
    (one,) = in_window.steps
    assert (one.before_ms, one.since, one.kind) == (9, AT, "plan_regression")


def test_a_known_one_is_gone_after_as_many_quick_looks_as_it_took_to_find_it() -> None:
    back = series("s", lambda m: 40 if AT <= m < NOW - 40 * MINUTE else 10)
    gone = found(back, known=[known()])
    assert gone.steps == []
    assert "takes 10" in gone.gone["s"].replace("9.9", "10").replace("10.", "10")
    early = series("s", lambda m: 40 if AT <= m < NOW - 8 * MINUTE else 10)
    assert found(early, known=[known()]).gone == {}


def test_what_has_no_work_in_the_window_stays_as_it_is() -> None:
    assert found(known=[known()]) == Found([], {})
    empty = pd.DataFrame(columns=others()[0].columns)
    assert find_regressions(empty, [], now=NOW, policy=POLICY, known=[known()]) == Found([], {})


def test_bad_numbers_are_left_out() -> None:
    frame = series("s", step(10, 40))
    frame.loc[frame.index[:30], "sum_ms"] = np.nan
    frame.loc[frame.index[30:40], "n"] = 0
    frame.loc[frame.index[40:50], "sum_ms"] = -5.0
    (one,) = found(frame, uses=FLIP).steps
    assert one.kind == "plan_regression"


@pytest.mark.parametrize("seed", range(3))
def test_work_that_did_not_change_has_no_step(seed: int) -> None:
    frames = [series(f"q{k}", lambda _: 20, seed=100 * seed + k, noise=0.3, spread=1.0) for k in range(30)]
    result = find_regressions(pd.concat(frames), [], now=NOW, policy=POLICY)
    assert result.steps == []


def test_a_wave_is_no_step() -> None:
    """What comes and goes is how its looks differ."""
    wave = series("s", lambda m: 10 * (1 + 0.5 * np.sin(2 * np.pi * m.timestamp() / 7200)))
    assert found(wave).steps == []
