"""Is quiet data quiet, and does a burst of really slow rows, or a wave of failures, stand out?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ooda_dagster.core.alarm import Alarm, Reference, alarms, reference_of
from ooda_dagster.core.request_settings import Requests

PAIR = ("m", "classify")


def batch(ms: Sequence[float], *, failed: int = 0, pair: tuple[str, str] = PAIR) -> pd.DataFrame:
    flags = [n < failed for n in range(len(ms))]
    return pd.DataFrame({"model": pair[0], "operation": pair[1], "duration_ms": list(ms), "failed": flags})


def past(ms: Any, failed: int = 0) -> dict[tuple[str, str], Reference]:
    values = np.asarray(ms, dtype=float)
    logs = np.log(values[values > 0])
    zero = int((values == 0).sum())
    return {PAIR: reference_of(len(values), zero, failed, float(logs.sum()), float((logs**2).sum()))}


def found(rows: pd.DataFrame, known: Mapping[tuple[str, str], Reference], **policy: float) -> list[Alarm]:
    return alarms(rows, known, Requests(**{"alarm_requests": 1, **policy}))  # type: ignore[arg-type]


@pytest.mark.parametrize("sd", [0.05, 0.3, 1.0])
def test_a_million_ordinary_requests_raise_nothing(sd: float) -> None:
    chance = np.random.default_rng(1)
    known = past(np.exp(chance.normal(math.log(200), sd, 20_000)), failed=400)
    rows = pd.DataFrame(
        {"model": "m", "operation": "classify", "duration_ms": np.exp(chance.normal(math.log(200), sd, 1_000_000))}
    )
    rows["failed"] = chance.random(len(rows)) < 0.02
    raised = sum(bool(found(rows.iloc[n : n + 1000], known)) for n in range(0, len(rows), 1000))  # one would be enough
    assert raised == 0


def test_a_single_really_slow_request_stands_out_with_its_figures() -> None:
    (alarm,) = found(batch([210, 190, 9000]), past([150, 200, 250] * 20))
    assert (alarm.kind, alarm.n) == ("slow", 1)
    assert alarm.ratio == pytest.approx(46, rel=0.05)
    assert alarm.text == "classify by model m: a request took 9,000 ms, 46 times the usual 196 ms"


@pytest.mark.parametrize(("slow", "expected"), [(1, 0), (2, 0), (3, 1), (4, 1)])
def test_one_slow_request_is_no_burst(slow: int, expected: int) -> None:
    raised = alarms(batch([200.0] * 20 + [9000.0] * slow), past([150, 200, 250] * 20), Requests())
    assert [a.n for a in raised] == [slow] * expected


@pytest.mark.parametrize(("ms", "expected"), [(4.9 * 200, 0), (5.1 * 200, 1)])
def test_the_ratio_holds_where_durations_hardly_vary(ms: float, expected: int) -> None:
    assert len(found(batch([ms]), past([200.0] * 100))) == expected


def test_the_spread_of_the_group_holds_where_it_is_wide() -> None:
    known = past([20, 2000] * 50)  # sd of the log 2.3
    assert found(batch([200 * 50]), known) == []


def test_what_is_fast_in_absolute_terms_is_no_alarm() -> None:
    assert found(batch([99]), past([1.0] * 100)) == []
    assert len(found(batch([101]), past([1.0] * 100))) == 1


def test_a_group_needs_a_few_rows_first() -> None:
    assert found(batch([9000]), {}) == []
    assert found(batch([9000]), past([200.0] * 29)) == []
    assert len(found(batch([9000]), past([200.0] * 30))) == 1


def test_a_group_of_cache_hits_alone_has_no_usual_duration() -> None:
    assert found(batch([9000, 0]), past([0.0] * 100)) == []


def test_a_wave_of_failures_stands_out_and_the_usual_share_does_not() -> None:
    known = past([200.0] * 10_000, failed=100)
    assert found(batch([200.0] * 1000, failed=14), known) == []
    (alarm,) = found(batch([200.0] * 1000, failed=60), known)
    assert (alarm.kind, alarm.n) == ("failures", 60)
    assert alarm.text == "classify by model m: 60 of 1000 requests failed, usually 1.0%"
    assert found(batch([200.0] * 4, failed=4), known) == []  # too few


def test_a_group_that_always_fails_is_no_news() -> None:
    assert found(batch([200.0] * 50, failed=50), past([200.0] * 100, failed=99)) == []


def test_the_strongest_comes_first_and_no_more_than_ten() -> None:
    pairs = [(f"m{n}", "x") for n in range(20)]
    known = {pair: past([200.0] * 50)[PAIR] for pair in pairs}
    rows = pd.concat([batch([2000.0 * (n + 1)], pair=pair) for n, pair in enumerate(pairs)])
    raised = found(rows, known)
    assert len(raised) == 10
    assert raised[0].model == "m19"


def test_thresholds_are_settings() -> None:
    assert len(found(batch([700]), past([200.0] * 50), alarm_ratio=3, alarm_sigmas=3)) == 1
