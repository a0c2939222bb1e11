"""Does each execution count once, does an estimate hold until the next, and does what is old go?"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ooda_dagster.core.plan_log import LogPosition
from ooda_dagster.core.plans import Plan
from ooda_dagster.core.regressions import Step
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.plans import Check, Seen
from ooda_dagster_tests.ledger.ground import NOW, register

A, B = Plan("a", "Index Scan", ("public.orders",)), Plan("b", "Seq Scan", ("public.orders",))
FIRST, SECOND = LogPosition("one.json", 10, "h"), LogPosition("one.json", 20, "h")
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def target(ledger: Ledger) -> str:
    register(ledger, "other")
    return register(ledger)


def test_a_position_moves_with_what_was_read_and_only_from_where_it_was(ledger: Ledger) -> None:
    assert ledger.plans.position("t") is None
    seen = [Seen("s", A, NOW, 3, 6.0), Seen("s", A, NOW, 1, 4.0), Seen("s", B, NOW + HOUR, 2, 50.0)]
    assert ledger.plans.keep_executed("t", seen, after=None, position=FIRST, now=NOW)
    assert not ledger.plans.keep_executed("t", seen, after=None, position=FIRST, now=NOW)
    assert not ledger.plans.keep_executed("t", seen, after=SECOND, position=FIRST, now=NOW)
    assert ledger.plans.keep_executed("t", seen[2:], after=FIRST, position=SECOND, now=NOW)
    assert ledger.plans.position("t") == SECOND
    assert ledger.plans.position("other") is None
    newest, oldest = ledger.plans.of("t", ["s"])
    assert (newest.plan_hash, newest.executions, newest.mean_ms) == ("b", 4, 25.0)
    assert (oldest.plan_hash, oldest.executions, oldest.total_ms, oldest.text) == ("a", 4, 10.0, "Index Scan")
    assert ledger.plans.executions("t", NOW + HOUR) == {"s": 4}
    uses = ledger.plans.uses("t", ["s"], NOW)
    assert [(u.plan_hash, u.seen_at, u.executions) for u in uses] == [("a", NOW, 4), ("b", NOW + HOUR, 4)]


def test_first_and_last_seen_are_the_extremes_whatever_the_order(ledger: Ledger) -> None:
    for at in (NOW, NOW - HOUR, NOW + HOUR):
        ledger.plans.keep_estimates("t", [Seen("s", A, at)], [])
    (kept,) = ledger.plans.of("t", ["s"])
    assert (kept.first_seen, kept.last_seen, kept.mean_ms) == (NOW - HOUR, NOW + HOUR, None)


def test_executed_plans_and_estimates_are_told_apart(ledger: Ledger) -> None:
    ledger.plans.keep_executed("t", [Seen("s", A, NOW, 1, 1.0)], after=None, position=FIRST, now=NOW)
    ledger.plans.keep_estimates("t", [Seen("s", A, NOW)], [])
    assert {(p.source, p.executions) for p in ledger.plans.of("t", ["s"])} == {("executed", 1), ("estimate", 0)}


def test_the_last_estimate_before_a_window_is_told_too_but_no_execution(ledger: Ledger) -> None:
    ledger.plans.keep_estimates(
        "t", [Seen("s", A, NOW - 9 * HOUR), Seen("s", B, NOW - 8 * HOUR), Seen("s", A, NOW)], []
    )
    old = [Seen("s", B, NOW - 7 * HOUR, 1, 1.0)]
    ledger.plans.keep_executed("t", old, after=None, position=FIRST, now=NOW)
    uses = ledger.plans.uses("t", ["s"], NOW - HOUR)
    assert [(u.source, u.plan_hash) for u in uses] == [("estimate", "b"), ("estimate", "a")]


def test_a_check_is_kept_with_its_failure_and_replaced_by_the_next(ledger: Ledger) -> None:
    ledger.plans.keep_estimates("t", [], [Check("s", NOW, "d1", error="EXPLAIN failed (42P01)")])
    assert ledger.plans.checks("t")["s"].error == "EXPLAIN failed (42P01)"
    ledger.plans.keep_estimates("t", [Seen("s", A, NOW)], [Check("s", NOW + HOUR, "d2", "a")])
    assert ledger.plans.checks("t") == {"s": Check("s", NOW + HOUR, "d2", "a", None)}
    assert ledger.plans.checks("other") == {}


def test_what_is_old_or_too_much_goes_and_what_is_needed_stays(ledger: Ledger) -> None:
    many = [Seen("s", replace(A, hash=f"p{n}"), NOW - n * timedelta(days=1)) for n in range(12)]
    ledger.plans.keep_estimates("t", many, [Check("s", NOW - timedelta(days=11), "d")])
    ledger.plans.keep_estimates("other", many, [])
    ledger.plans.prune("t", now=NOW, keep_d=7.5, per_statement=5, needed=["p9"])
    assert sorted(p.plan_hash for p in ledger.plans.of("t", ["s"])) == ["p0", "p1", "p2", "p3", "p4", "p9"]
    assert len(ledger.plans.uses("t", ["s"], NOW - timedelta(days=99))) == 8
    assert ledger.plans.checks("t") == {}
    assert len(ledger.plans.of("other", ["s"])) == 12


def test_many_plans_at_once(ledger: Ledger) -> None:
    seen = [Seen(f"s{n}", A, NOW, 1, 1.0) for n in range(2500)]
    assert ledger.plans.keep_executed("t", seen, after=None, position=FIRST, now=NOW)
    assert sum(ledger.plans.executions("t", NOW).values()) == 2500


def step(kind: str = "slower_plan_unknown", **values: object) -> Step:
    known = {
        "fingerprint": "s", "since": NOW, "before_ms": 1.0, "after_ms": 10.0, "calls_before": 50, "calls_after": 60,
        "extra_s": 20.0, "rows_ratio": 1.0, "blocks_ratio": 1.0, "reason": kind,
    }  # fmt: skip
    return Step(kind=kind, **{**known, **values})  # type: ignore[arg-type]


def test_a_finding_is_opened_once_renewed_and_closed(ledger: Ledger) -> None:
    book = ledger.regressions
    for n in range(8):  # a server's statement is prepared after some
        book.record("t", [step(after_ms=10.0 + n, extra_s=20.0 - n)], {}, analysis_id=f"a{n}", now=NOW + n * HOUR)
    (one,) = book.list("t")
    assert (one.opened_by, one.opened_at, one.looked_at) == ("a0", NOW, NOW + 7 * HOUR)
    assert (one.after_ms, one.extra_s, one.ratio) == (17.0, 20.0, 17.0)
    book.record("t", [], {"s": "quick again"}, analysis_id="a9", now=NOW + 9 * HOUR)
    assert book.list("t") == []
    (gone,) = book.list("t", gone=True)
    assert (gone.gone_at, gone.evidence["gone"], gone.evidence["blocks_ratio"]) == (NOW + 9 * HOUR, "quick again", 1.0)
    book.record("t", [step()], {}, analysis_id="b", now=NOW + 10 * HOUR)
    assert [r.opened_by for r in book.list("t", gone=True)] == ["b", "a0"]
    assert book.list("other", gone=True) == []


def test_a_plain_slowdown_becomes_a_regression_once_its_plans_are_known_and_stays_one(ledger: Ledger) -> None:
    book = ledger.regressions
    book.record("t", [step()], {}, analysis_id="a", now=NOW)
    book.record("t", [step("slower_same_plan", plan_before="a", plan_after="a")], {}, analysis_id="b", now=NOW)
    assert book.list("t")[0].kind == "slower_same_plan"
    flip = step("plan_regression", source="executed", plan_before="a", plan_after="b")
    book.record("t", [flip], {}, analysis_id="c", now=NOW)
    for later in (step(), step("slower_same_plan"), step("parameter_sensitive")):
        book.record("t", [later], {}, analysis_id="d", now=NOW)
    (one,) = book.list("t")
    assert (one.kind, one.source, one.plan_before, one.plan_after) == ("plan_regression", "executed", "a", "b")
    assert one.reason == "plan_regression"


def test_what_has_been_gone_for_long_goes(ledger: Ledger) -> None:
    book = ledger.regressions
    book.record("t", [step()], {}, analysis_id="a", now=NOW)
    book.record("t", [], {"s": "x"}, analysis_id="b", now=NOW)
    book.record("t", [step()], {}, analysis_id="c", now=NOW + 30 * HOUR)
    book.prune("t", now=NOW + 48 * HOUR, keep_d=1)
    assert [r.opened_by for r in book.list("t", gone=True)] == ["c"]
