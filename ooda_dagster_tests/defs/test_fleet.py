"""Do forty targets fit into a tick, and is one that does not answer asked less and less often?"""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from ooda_dagster.defs.sensors.fleet import Fleet
from ooda_dagster_tests.support import wait_until


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_forty_targets_are_asked_several_at_a_time() -> None:
    names = [f"t{n}" for n in range(40)]
    began = time.monotonic()
    answers, silent = Fleet[str]().ask(names, lambda name: time.sleep(0.1) or name, 10)
    assert answers == {name: name for name in names}
    assert silent == {}
    assert time.monotonic() - began < 2


def test_one_that_fails_is_told_and_asked_less_and_less_often() -> None:
    clock = Clock()
    fleet: Fleet[str] = Fleet(clock=clock)
    asked: list[float] = []

    def work(name: str) -> str:
        if name == "dead":
            asked.append(clock.now)
            raise RuntimeError("it does not answer")
        return name

    for _ in range(200):
        answers, silent = fleet.ask(["a", "dead"], work, 5)
        assert answers == {"a": "a"}
        assert silent["dead"].startswith("it does not answer")
        clock.now += 10
    assert asked[:6] == [0, 10, 30, 70, 150, 310]
    assert asked[6] - asked[5] == 300


def test_one_that_is_back_is_asked_as_often_as_the_others() -> None:
    clock, dead = Clock(), [True]
    fleet: Fleet[int] = Fleet(clock=clock)
    assert fleet.ask(["a"], lambda _: 1 // (not dead[0]), 5)[0] == {}
    dead[0], clock.now = False, 11
    assert fleet.ask(["a"], lambda _: 1, 5)[0] == {"a": 1}
    assert fleet.ask(["a"], lambda _: 1, 5)[0] == {"a": 1}


def test_what_outlasts_the_budget_is_not_asked_twice_and_those_without_a_turn_come_first() -> None:
    fleet: Fleet[str] = Fleet(threads=1)
    release, asked = threading.Event(), []

    def work(name: str) -> str:
        asked.append(name)
        if name == "slow":
            release.wait(10)
        return name

    answers, silent = fleet.ask(["slow", "b", "c"], work, 0.2)
    assert answers == {}
    assert silent == {
        "slow": "it is still being asked",
        "b": "the tick's time is used up; it is first in the next",
        "c": "the tick's time is used up; it is first in the next",
    }
    answers, silent = fleet.ask(["slow", "b", "c"], work, 5)
    assert (answers, silent) == ({"b": "b", "c": "c"}, {"slow": "it is still being asked"})
    release.set()
    assert asked == ["slow", "b", "c"]


def test_sensors_that_ask_at_once_are_at_a_target_one_after_the_other() -> None:
    names = [f"turn{n}" for n in range(12)]
    there: Counter[str] = Counter()
    met: list[str] = []
    lock = threading.Lock()

    def work(name: str) -> str:
        with lock:
            there[name] += 1
            met.extend([name] if there[name] > 1 else [])
        time.sleep(0.02)
        with lock:
            there[name] -= 1
        return name

    with ThreadPoolExecutor(3) as sensors:
        asked = [sensors.submit(Fleet[str]().ask, names, work, 10) for _ in range(3)]
        assert [future.result() for future in asked] == [({name: name for name in names}, {})] * 3
    assert met == []


def test_one_that_hangs_in_a_sensor_costs_the_others_one_tick_s_wait() -> None:
    sampling, polling = Fleet[str](), Fleet[str]()
    release, polled = threading.Event(), []

    def hang(name: str) -> str:
        release.wait(10)
        return name

    def poll(name: str) -> str:
        polled.append(name)
        return name

    assert sampling.ask(["hung"], hang, 0.1) == ({}, {"hung": "it is still being asked"})
    answers, silent = polling.ask(["hung", "well"], poll, 0.3)
    assert (answers, silent) == ({"well": "well"}, {"hung": "it is still being asked"})
    began = time.monotonic()
    assert polling.ask(["hung", "well"], poll, 10)[0] == {"well": "well"}
    assert time.monotonic() - began < 2
    release.set()
    wait_until(lambda: "hung" in polled, what="its turn")
    assert polled.count("hung") == 1


def test_one_that_rests_is_not_asked() -> None:
    clock = Clock()
    fleet: Fleet[str] = Fleet(clock=clock)
    fleet.rest("a", 300, "nothing to ask")
    assert fleet.ask(["a"], lambda name: name, 5) == ({}, {"a": "nothing to ask; asked again in 300 s"})
    clock.now = 301
    assert fleet.ask(["a"], lambda name: name, 5) == ({"a": "a"}, {})
