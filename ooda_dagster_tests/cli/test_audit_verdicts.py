"""`ooda audit-verdicts`: measured on the ledger's own history, told with its interval, and kept as the target's bar."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ooda_dagster.core.settings import Verifying
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.verdict_bar import EVENT, MEASURED, policy_of
from ooda_dagster_tests.cli.conftest import Run
from ooda_dagster_tests.loop.days import buckets, know


@pytest.fixture
def history(configured: Callable[..., None], ledger: Ledger) -> Ledger:
    """A quarter of an hour of four statements of `shop`, in buckets of two seconds."""
    configured()
    ids = list(know(ledger, "shop").values())
    chance, now = np.random.default_rng(1), datetime.now(UTC)
    rows = []
    for back in range(450, 0, -1):
        load = chance.normal(0, 0.2)
        work = {i: (100, 1000.0 * float(np.exp(load + chance.normal(0, 0.05)))) for i in ids}
        rows.append((now - timedelta(seconds=2 * back), 2.0, work))
    buckets(ledger, rows, "shop")
    return ledger


def test_it_measures_and_leaves_the_bar_where_it_holds(ooda: Run, history: Ledger) -> None:
    ran = ooda("audit-verdicts", "--target", "shop", "--placebos", "20", "--json")
    assert ran.code == 0
    (told,) = ran.json["targets"]
    assert (told["target"], told["placebos"], told["moved"]) == ("shop", 20, False)
    assert 1 <= told["effective"] <= 20
    assert told["false"]["count"] <= 1
    assert told["false"]["low"] <= told["false"]["share"] <= told["false"]["high"]
    assert (told["needed_e"], told["needed_revert_e"]) == (100, 20)
    assert history.trail.events("shop", events=(EVENT,)) == []
    (event,) = history.trail.events("shop", events=(MEASURED,))
    words = ooda("audit-verdicts", "--placebos", "20", "--dry-run").out
    assert history.trail.events("shop", events=(MEASURED,)) == [event], "a dry run notes nothing"
    status = ooda("status", "--json").json["targets"][0]
    assert status["verdict_audit"]["placebos"] == 20
    assert status["verdict_audit"]["raised"] is False
    assert status["verdicts"].startswith("0.0 % false, 95 % from 0.0 to ")
    assert "0.0 % false" in " ".join(ooda("status").out.split())
    assert "shop: 20 placebos from" in words
    assert "false verdicts: 0, 0.00%; 95 % from 0.00%" in words


def test_a_bar_that_was_raised_holds_until_an_audit_finds_it_is_not_needed(ooda: Run, history: Ledger) -> None:
    history.audit(EVENT, target="shop", decide_e=700.0, revert_e=10.0, why="measured")
    raised = policy_of(history, "shop", Verifying())
    assert (raised.decide_e, raised.revert_e) == (700, 20)
    assert policy_of(history, "other", Verifying()) == Verifying()
    assert "verdict bar" in ooda("audit", "list").out
    again = ooda("audit-verdicts", "--target", "shop", "--placebos", "20")
    assert "the bar is the settings' again" in again.out
    assert policy_of(history, "shop", Verifying()) == Verifying()


def test_small_audits_do_not_lower_a_bar_that_a_large_one_raised(ooda: Run, history: Ledger) -> None:
    history.audit(EVENT, target="shop", decide_e=700.0, revert_e=10.0, effective=900.0, why="measured")
    for _ in range(2):  # the first of them moves the other bar
        ooda("audit-verdicts", "--target", "shop", "--placebos", "20")
        assert policy_of(history, "shop", Verifying()).decide_e == 700
    first, second = history.trail.events("shop", events=(EVENT,))
    assert (first.detail["effective"], second.detail["effective"]) == (900, 900)
    history.audit(EVENT, target="shop", decide_e=700.0, revert_e=20.0, effective=1.0, why="measured")
    ooda("audit-verdicts", "--target", "shop", "--placebos", "20")
    assert policy_of(history, "shop", Verifying()) == Verifying()


def test_too_short_a_history_is_told_and_is_no_error(
    ooda: Run, configured: Callable[..., None], ledger: Ledger
) -> None:
    configured()
    ran = ooda("audit-verdicts")
    assert ran.code == 0
    assert "shop: cannot be measured yet: the ledger has 0.0 min of history; 1.7 min and more are needed" in ran.out
