"""`ooda regressions`: are both plans side by side, in JSON too, and is a wrong target told?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ooda_dagster.cli.regressions import side_by_side
from ooda_dagster.core.plan_log import LogPosition
from ooda_dagster.core.plans import Plan
from ooda_dagster.core.regressions import Step
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.plans import Seen
from ooda_dagster_tests.cli.conftest import Run

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXT = "select note from orders where customer = $1 and status = $2"
QUICK = Plan("a" * 16, "Index Scan using orders_customer on orders\n     Index Cond: (customer = ?)", ("orders",))
SLOW = Plan("b" * 16, "Limit\n  -> Seq Scan on orders\n       Filter: (customer = ?)", ("orders",))


def step(fingerprint: str, kind: str = "plan_regression", **values: object) -> Step:
    known = {
        "since": AT, "before_ms": 1.5, "after_ms": 30.0, "calls_before": 900, "calls_after": 2000, "extra_s": 57.0,
        "rows_ratio": 1.0, "blocks_ratio": 40.0, "score": 41.5, "source": "executed",
        "reason": "a call takes 20 times as long since it is executed by another plan",
        "plan_before": QUICK.hash, "plan_after": SLOW.hash,
    }  # fmt: skip
    return Step(fingerprint=fingerprint, kind=kind, **{**known, **values})  # type: ignore[arg-type]


@pytest.fixture
def shop(ledger: Ledger, configured: Callable[..., None]) -> Ledger:
    """One of each kind; the target itself does not answer, and is not asked."""
    configured()
    ledger.cycles.register("shop", kind="postgres", mode="propose", now=AT)
    texts = {"s1": TEXT, "s2": "select 2 from people", "s3": "select 3 from jobs"}
    ledger.rollups.learn_queries("shop", [(n, f, "select", t) for n, (f, t) in enumerate(texts.items())])
    seen = [Seen("s1", QUICK, AT, 30, 45.0), Seen("s1", SLOW, AT + timedelta(hours=1), 20, 600.0)]
    seen.append(Seen("s2", QUICK, AT, 5, 5.0))
    ledger.plans.keep_executed("shop", seen, after=None, position=LogPosition("f", 1, "h"), now=AT)
    steps = [
        step("s1"),
        step("s2", "slower_same_plan", plan_after=QUICK.hash, extra_s=20.0),
        step("s3", "parameter_sensitive", plan_before=None, plan_after=None, source=None, reason="asked for more"),
    ]
    ledger.regressions.record("shop", steps, {}, analysis_id="a1", now=AT)
    return ledger


def test_both_plans_stand_side_by_side(ooda: Run, shop: Ledger) -> None:
    ran = ooda("regressions", "--target", "shop")
    assert ran.code == 0
    assert "Filter: (customer = ?)" in ran.out
    assert "plan regression" in ran.out
    first = next(line for line in ran.out.splitlines() if "Index Scan" in line)
    assert first.split(" | ")[1] == "Limit"
    head = next(line for line in ran.out.splitlines() if "before (" in line)
    assert "30 executions logged" in head
    assert "now (20 executions logged" in head
    assert "before and now (5 executions logged, 1 ms each)" in ran.out
    assert "(not known)" in ran.out
    assert ran.out.index("slower, same plan") < ran.out.index("No regression: it depends on what is asked")


def test_json_has_all_of_it(ooda: Run, shop: Ledger) -> None:
    first, second, third = ooda("regressions", "--json").json["regressions"]
    assert (first["statement"], first["kind"], first["state"], first["ratio"]) == (TEXT, "plan_regression", "open", 20)
    assert (first["plan_before"]["text"], first["plan_after"]["text"]) == (QUICK.text, SLOW.text)
    assert (first["plan_after"]["executions"], first["plan_after"]["mean_ms"]) == (20, 30.0)
    assert first["since"] == "2026-03-01T12:00:00.000Z"
    assert {second["kind"], third["kind"]} == {"slower_same_plan", "parameter_sensitive"}


def test_what_is_gone_is_listed_where_asked_for(ooda: Run, shop: Ledger) -> None:
    shop.regressions.record("shop", [], {"s1": "quick again"}, analysis_id="a2", now=AT)
    assert len(ooda("regressions", "--json").json["regressions"]) == 2
    assert len(ooda("regressions", "--gone", "--json").json["regressions"]) == 3
    assert "gone at 2026-03-01T12:00:00.000Z: quick again" in ooda("regressions", "--gone").out


def test_nothing_found_and_an_unknown_target(ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    ran = ooda("regressions")
    assert (ran.code, ran.out) == (0, "No statement became slower.\n")
    wrong = ooda("regressions", "--target", "shopp")
    assert wrong.code == 2
    assert "shop" in wrong.err


def test_a_statement_cannot_steer_the_terminal(ooda: Run, shop: Ledger) -> None:
    bad = Plan("c" * 16, "Seq Scan on \x1b]0;owned\x07orders", ())
    shop.plans.keep_estimates("shop", [Seen("s3", bad, AT)], [])
    shop.regressions.record("shop", [], {"s2": "x", "s3": "x"}, analysis_id="a3", now=AT)
    shop.regressions.record("shop", [step("s3", plan_before=bad.hash, plan_after=None, source="estimate")], {},
                            analysis_id="a3", now=AT)  # fmt: skip
    out = ooda("regressions").out
    assert "owned" in out
    assert "\x1b" not in out


def test_long_lines_go_on_below_indented_as_they_were() -> None:
    left, right = ["a", "  -> " + "word " * 12], ["b" * 50, "c"]
    lines = list(side_by_side(left, right, 43))
    assert all(len(line) <= 43 for line in lines)
    assert lines[0].startswith("a ")
    assert lines[2].startswith("    ")
    assert "".join(line.split(" | ")[1] for line in lines[:3]).replace(" ", "").startswith("b" * 50)
