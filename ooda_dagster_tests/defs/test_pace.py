"""Is a target that does not answer asked ever more rarely, and never twice at once?"""

from __future__ import annotations

import itertools

from ooda_dagster.defs.sensors.pace import Pace


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_that_is_being_asked_is_not_asked_again() -> None:
    pace = Pace()
    assert pace.why_not("t") is None
    assert pace.why_not("t") == "it is still being asked"
    pace.ended("t")
    assert pace.why_not("t") is None


def test_a_dead_one_is_asked_ever_more_rarely_but_at_least_every_ten_minutes() -> None:
    clock = Clock()
    pace = Pace(clock)
    asked = []
    for tick in range(60):
        clock.now = tick * 60.0
        if pace.why_not("dead") is None:
            asked.append(tick)
            pace.ended("dead", "no answer")
    assert asked[:6] == [0, 1, 2, 4, 8, 16]
    assert {b - a for a, b in itertools.pairwise(asked[5:])} == {10}


def test_one_that_answers_again_is_asked_at_every_tick() -> None:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(2):
        assert pace.why_not("t") is None
        pace.ended("t", "no answer")
    assert pace.why_not("t") == "no answer; failed 2 times, asked again in 55 s"
    clock.now = 60
    assert pace.why_not("t") is None
    pace.ended("t")
    assert pace.why_not("t") is None
