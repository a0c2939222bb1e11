"""Do ratios and intervals by statement say what a plain computation says?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ooda_dagster.core.before_after import before_after

STARTS = [f"2026-03-01T{hour:02}:00:00+00:00" for hour in range(24)]


def kept(n: Sequence[int], ms: Sequence[float | None], side: str = "touched") -> dict[str, Any]:
    statement = {"fingerprint": "t", "side": side, "n": n, "sum_ms": ms}
    return {"acted_from": STARTS[12], "block_start": STARTS, "statements": [statement]}


def test_work_per_call_is_that_of_all_calls_and_the_change_is_their_ratio() -> None:
    (row,) = before_after(kept([10, 30] * 12, [20.0, 90.0] * 6 + [40.0, 180.0] * 6))
    before, after = row["before"], row["after"]
    assert (before["n"], before["blocks"], before["ms_per_call"]) == (240, 12, 110 / 40)
    assert after["ms_per_call"] == 220 / 40
    assert row["change"]["ratio"] == 2
    # Residuals are 10 · 0.75 either way; 12 / 11 · Σ / 240², by Student's t with 11 degrees of freedom.
    error = np.sqrt(12 / 11 * 12 * 7.5**2) / 240 / 2.75
    assert before["interval"] == pytest.approx([2.75 * np.exp(s * 2.200985 * error) for s in (-1, 1)], rel=1e-6)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Blocks that are independent, of a load that their calls share; 95 % of 400 is 380, give or take 4.4."""
    rng, held, shown = np.random.default_rng(1), 0, 400
    for _ in range(shown):
        n = rng.poisson(50, 24) + 1
        load = np.exp(rng.normal(0, 0.2, 24) - 0.02) * np.where(np.arange(24) < 12, 1.0, 1.5)
        (row,) = before_after(kept(n.tolist(), (n * load).tolist()))
        low, high = row["change"]["interval"]
        held += low <= 1.5 <= high
    assert held / shown == pytest.approx(0.95, abs=0.03)


def test_where_little_was_called_there_is_no_interval_or_nothing() -> None:
    once = [0] * 3 + [5] + [0] * 20
    (row,) = before_after(kept(once, [None if not n else 10.0 for n in once]))
    assert row["before"] == {"n": 5, "ms_per_call": 2.0, "interval": None, "blocks": 1}
    assert row["after"] == {"n": 0, "ms_per_call": None, "interval": None, "blocks": 0}
    assert row["change"] is None
