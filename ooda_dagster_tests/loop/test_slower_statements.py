"""Of what statements take by now, is that worth an early cycle which no cycle knows - and nothing else?"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ooda_dagster.core.regressions import find_regressions
from ooda_dagster.core.settings import Settings
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.slower_statements import worth_a_cycle
from ooda_dagster_tests.actions.stage import Stage
from ooda_dagster_tests.loop.told_days import Course, Rate, always, since, tell_days

_OTHERS = {f"other{n}": always for n in range(5)}
_SLOW, _NEW = since(1500, Rate(ms=400)), since(1200, Rate(n=60, ms=100), Rate(n=0))


@pytest.fixture
def loop(stage: Stage) -> Loop:
    """With the usual settings of regressions, at a moment that stays."""
    now = stage.loop.clock()
    settings = stage.loop.settings.model_copy(update={"regressions": Settings().regressions})
    return replace(stage.loop, settings=settings, clock=lambda: now)


def told(loop: Loop, courses: dict[str, Course], *, began_h: float = 2) -> dict[str, str]:
    now = loop.clock()
    tell_days(loop.ledger, loop.name, courses, now)
    return dict(worth_a_cycle(loop, now, now - timedelta(hours=began_h)))


def test_a_statement_that_became_slower_since_the_last_cycle(loop: Loop) -> None:
    assert told(loop, {"victim": _SLOW, **_OTHERS}) == {"victim": "statement victim: a call takes 8 times as long"}


def test_a_new_statement_that_takes_much_of_the_time(loop: Loop) -> None:
    (why,) = told(loop, {"newcomer": _NEW, **_OTHERS}).values()
    assert why == "statement newcomer is new and takes 55% of the time"


@pytest.mark.parametrize(
    ("courses", "began_h"),
    [
        pytest.param(_OTHERS, 2, id="nothing"),
        pytest.param({"victim": _SLOW, **_OTHERS}, 0.1, id="a cycle has just begun"),
        pytest.param({"victim": since(400, Rate(ms=400)), **_OTHERS}, 2, id="it does not last yet"),
        pytest.param({"victim": since(1500, Rate(ms=400, rows=8)), **_OTHERS}, 2, id="it is asked for more"),
        pytest.param({"victim": since(1500, Rate(n=0.5, ms=400)), **_OTHERS}, 2, id="it costs next to nothing"),
        pytest.param({f: since(1500, Rate(ms=400)) for f in _OTHERS}, 2, id="all are as slow"),
        pytest.param({"newcomer": since(1200, Rate(n=20, ms=20), Rate(n=0)), **_OTHERS}, 2, id="new and light"),
        pytest.param({"newcomer": since(4 * 3600, Rate(n=60, ms=100), Rate(n=0)), **_OTHERS}, 2, id="new for long"),
    ],
)
def test_what_is_not_worth_it(loop: Loop, courses: dict[str, Course], began_h: float) -> None:
    assert told(loop, courses, began_h=began_h) == {}


def test_what_a_cycle_has_found_is_its_own(loop: Loop) -> None:
    now = loop.clock()
    tell_days(loop.ledger, loop.name, {"victim": _SLOW, **_OTHERS}, now)
    work = loop.ledger.rollups.frame(loop.name, now - timedelta(hours=48), now)
    steps = find_regressions(work, [], now=now, policy=loop.settings.regressions).steps
    assert [s.fingerprint for s in steps] == ["victim"]
    began = now - timedelta(hours=2)
    loop.ledger.cycles.begin(loop.name, due_at=began, run_id="r", trigger="t", mode="propose", now=began)
    (cycle,) = loop.ledger.cycles.latest(loop.name, 1)
    loop.ledger.regressions.record(loop.name, steps, {}, analysis_id=cycle.analysis_id, now=now)
    assert dict(worth_a_cycle(loop, now, began)) == {}
