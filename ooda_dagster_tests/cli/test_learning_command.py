"""`ooda learning`: predicted against realised as a table and as JSON, and the failure memory with its ends."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.core.verdict import Outcome
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.cli.conftest import Run
from ooda_dagster_tests.ledger.closed import closed, predicting

DAY = timedelta(days=1)


@pytest.fixture
def shop(ledger: Ledger, configured: Callable[..., None]) -> Ledger:
    """Twelve verdicts on two rungs, a failure and a type that did harm; the target itself is not asked."""
    configured()
    now = datetime.now(UTC)
    ledger.cycles.register("shop", kind="postgres", mode="auto", now=now)
    for n in range(9):
        at = now - (2 + n) * DAY
        closed(ledger, "shop", at, predicting(0.6, trust=0.8), realised=0.3)
    hurt = predicting(0.5, backend="statistics clone")
    closed(ledger, "shop", now - DAY / 8, hurt, realised=-0.5, outcome=Outcome.WORSE, state=State.REVERTED)
    closed(ledger, "shop", now - DAY / 4, hurt, realised=0.05, outcome=Outcome.INCONCLUSIVE, state=State.INCONCLUSIVE)
    closed(ledger, "shop", now - 200 * DAY, hurt, realised=0.5)
    closed(ledger, "shop", now - DAY / 6, hurt, outcome=None, state=State.FAILED)
    return ledger


def test_predictions_stand_against_what_came_of_them_by_rung(ooda: Run, shop: Ledger) -> None:
    ran = ooda("learning", "--target", "shop")
    assert ran.code == 0
    line = next(line for line in ran.out.splitlines() if "hypothetical index" in line)
    assert "0.50 (" in line
    assert " 60 " in line
    assert " 30 " in line
    assert "100%" in line
    assert re.search(r"Off by 3[12] \(corrected 21\) in the first 10 verdicts, by 38 \(corrected 29\)", ran.out)
    other = next(line for line in ran.out.splitlines() if "statistics clone" in line)
    assert other.split().count("50%") == 2  # worse, and no difference


def test_the_same_as_json_with_every_verdict_and_the_curve(ooda: Run, shop: Ledger) -> None:
    found = ooda("learning", "--json").json
    first, second = found["learned"]
    assert (first["rung"], first["n"], first["off_pct"]) == ("hypothetical index", 9, pytest.approx(30))
    assert first["off_corrected_pct"] == pytest.approx(18)
    assert first["ratio"] == pytest.approx(0.5)
    assert first["factor"] == pytest.approx(0.5, abs=0.05)
    assert first["held"] == 0
    assert first["realised_low_pct"] <= 30 <= first["realised_high_pct"]
    assert (second["verdicts"], second["worse"], second["inconclusive"], second["failed"]) == (2, 1, 1, 1)
    assert len(found["predictions"]) == len(found["curve"]) == 11
    assert found["curve"][0]["off_pct"] == pytest.approx(30)


def test_since_shows_older_verdicts_and_leaves_the_factor_as_it_is(ooda: Run, shop: Ledger) -> None:
    usual, longer, short = (
        {row["rung"]: row for row in ooda("learning", "--json", *since).json["learned"]}
        for since in ((), ("--since", "300d"), ("--since", "5d"))
    )
    clone = "statistics clone"
    assert [rows[clone]["verdicts"] for rows in (usual, longer, short)] == [2, 3, 2]
    assert usual[clone]["factor"] == longer[clone]["factor"] == short[clone]["factor"]
    assert longer[clone]["ratio"] > usual[clone]["ratio"]
    assert short["hypothetical index"]["verdicts"] == 3


def test_the_failure_memory_says_what_is_not_tried_again_and_until_when(ooda: Run, shop: Ledger) -> None:
    memory = ooda("learning", "--json").json["remembered"]
    of_type, *actions = memory
    assert (of_type["what"], of_type["shut"]) == ("IndexOptimization", False)
    assert of_type["why"] == "2 of 3 failed or did harm within 24 h"
    assert [a["why"].split(":")[0] for a in actions] == ["undone", "failed"]
    assert all(a["until"][:19] > a["at"][:19] for a in memory)
    closed(shop, "shop", datetime.now(UTC), predicting(0.5), outcome=None, state=State.FAILED)
    assert ooda("learning", "--json").json["remembered"][0]["shut"]
    assert "approves none" in ooda("learning").out


def test_without_a_verdict_it_says_so_and_a_wrong_target_is_told(
    ooda: Run, ledger: Ledger, configured: Callable[..., None]
) -> None:
    configured()
    assert "No verdict of an action of ours closed yet" in ooda("learning").out
    wrong = ooda("learning", "--target", "shpo")
    assert wrong.code == 2
    assert "shop" in wrong.err
    assert ooda("learning", "--since", "soon").code == 2
