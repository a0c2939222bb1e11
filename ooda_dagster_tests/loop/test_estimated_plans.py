"""Is a plan asked for where it may have changed, and nowhere else? How much of a plan log is read?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ooda_dagster.collect.sampler import sample
from ooda_dagster.core.messages import Observation
from ooda_dagster.core.plan_log import LogPosition, PlanLogPart
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.executed_plans import read_executed_plans
from ooda_dagster.loop.observe import observe
from ooda_dagster.targets.base import TargetError
from ooda_dagster.targets.postgres.observing import PostgresObserving
from ooda_dagster_tests.loop.ground import begun, make_loop, with_settings
from ooda_dagster_tests.support import Database, make_orders

BY_CUSTOMER = "select note from orders where customer = 7"
COUNT = "select count(*) from people"


@pytest.fixture(scope="module")
def built(target_server: Cluster) -> Iterator[Database]:
    made = Database(target_server, "test_loop_estimates")
    made.create()
    make_orders(made, 2000)
    made.execute("create table people (id int); insert into people values (1)", dsn=made.app)
    yield made
    made.drop()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements whose plan was asked for, in order."""
    found: list[str] = []
    real = PostgresObserving.estimated_plan

    def spied(self: Any, text: str, **options: Any) -> Any:
        found.append(text)
        return real(self, text, **options)

    monkeypatch.setattr(PostgresObserving, "estimated_plan", spied)
    return found


@pytest.fixture
def loop(built: Database, books: Ledger, home: Path, asked: list[str]) -> Loop:
    """Two statements were called since the first sample."""
    made = make_loop(built, books, home)
    sample(made.target, made.ledger, made.settings.sampling)
    call(made, built, BY_CUSTOMER, COUNT)
    return made


def call(loop: Loop, database: Database, *texts: str) -> None:
    for text in texts:
        database.execute(text, dsn=database.app)
    assert sample(loop.target, loop.ledger, loop.settings.sampling).error is None


def looked(loop: Loop) -> Observation:
    cycle = begun(loop)
    seen = observe(loop, cycle)
    loop.ledger.cycles.finish(cycle.analysis_id, now=loop.clock(), next_due_at=None, reason="test")
    return seen


def about(asked: list[str], table: str) -> int:
    return sum(f"from {table}" in text for text in asked)


def test_a_plan_is_asked_for_once_and_again_where_the_catalogue_changed(
    loop: Loop, built: Database, asked: list[str]
) -> None:
    looked(loop)
    assert (about(asked, "orders"), about(asked, "people")) == (1, 1)
    assert "customer = $1" in " ".join(asked)
    looked(loop)
    assert len(asked) == 2
    for change in ("create index by_customer on orders (customer)", "analyze orders", "alter table orders add x int"):
        before = len(asked)
        built.execute(change, dsn=built.app)
        looked(loop)
        assert (len(asked) - before, "orders" in asked[-1]) == (1, True), change
    built.execute("drop index by_customer; alter table orders drop x", dsn=built.app)
    looked(loop)
    plans = loop.ledger.plans.of(loop.name, list(loop.ledger.plans.checks(loop.name)))
    assert {p.text.split()[0] for p in plans if "public.orders" in p.relations} >= {"Seq", "Index"}
    assert {p.source for p in plans} == {"estimate"}


@pytest.mark.slow
def test_the_planner_s_settings_and_a_day_are_reasons_to_ask_again(
    loop: Loop, built: Database, asked: list[str]
) -> None:
    looked(loop)
    built.execute(f"alter database {built.name} set enable_hashagg = off")
    try:
        looked(loop)
        assert len(asked) == 4
    finally:
        built.execute(f"alter database {built.name} reset enable_hashagg")
    looked(loop)
    assert len(asked) == 6
    wide = with_settings(loop, regressions={"lookback_h": 100})
    for hours, expected in ((23, 6), (25, 8)):
        looked(replace(wide, clock=lambda hours=hours: loop.clock() + timedelta(hours=hours)))
        assert len(asked) == expected


def test_no_more_is_asked_than_allowed_and_the_rest_comes_later(loop: Loop, asked: list[str]) -> None:
    one = with_settings(loop, plans={"max_explains": 1})
    for expected in (1, 2, 2):
        looked(one)
        assert len(asked) == expected
    assert len(set(asked)) == 2


@pytest.mark.parametrize("off", [{"enabled": False}, {"max_explains": 0}])
def test_each_switch_asks_for_nothing(loop: Loop, asked: list[str], off: dict[str, Any]) -> None:
    looked(with_settings(loop, plans=off))
    assert asked == []


def test_what_writes_locks_or_cannot_be_planned_is_not_asked_about_each_cycle(
    loop: Loop, built: Database, asked: list[str]
) -> None:
    looked(loop)
    asked.clear()
    built.execute("create table gone (id int)", dsn=built.app)
    call(
        loop, built, "select id from gone", "select note from orders where id = 5 for update",
        "update orders set note = 'y' where id = 5", "with x as (delete from gone returning id) select * from x",
    )  # fmt: skip
    built.execute("drop table gone", dsn=built.app)
    looked(loop)
    looked(loop)
    assert len(asked) == 2
    assert not any("update" in text.lower() for text in asked)
    errors = {c.error for c in loop.ledger.plans.checks(loop.name).values() if c.error}
    assert errors == {"EXPLAIN failed (42P01)", "it does more than read"}


@pytest.mark.slow
def test_the_plan_of_a_statement_that_became_slower_is_asked_for_again(
    loop: Loop, built: Database, asked: list[str]
) -> None:
    keen = with_settings(loop, regressions={"look_s": 1, "looks": 2})
    built.execute("create or replace function slow() returns text language sql as $$ select ''::text $$", dsn=built.app)
    text = "select slow() from people"
    call(keen, built, *[text] * 20)
    looked(keen)
    asked.clear()
    time.sleep(4.2)
    sample(keen.target, keen.ledger, keen.settings.sampling)
    built.execute("create or replace function slow() returns text language sql as $$ select pg_sleep(0.1)::text $$",
                  dsn=built.app)  # fmt: skip
    call(keen, built, *[text] * 4)
    looked(keen)
    assert asked == [text]


class Log:
    """A session with a log of `size` bytes, which is read in parts."""

    def __init__(self, size: int) -> None:
        self.size, self.read = size, 0

    def capabilities(self) -> Any:
        return type("Seen", (), {"levels": {3}})

    def plan_log(self, after: LogPosition | None, *, most_bytes: int) -> PlanLogPart:
        at = after.byte if after else max(0, self.size - most_bytes)
        until = min(self.size, at + most_bytes)
        self.read += until - at
        return PlanLogPart(LogPosition("f", until, "h"), behind=self.size - until)


def test_a_log_is_read_up_to_the_bound_and_what_grows_faster_is_passed_over_by_name(loop: Loop) -> None:
    bounded = with_settings(loop, plans={"max_log_mb": 2})
    session, mb = Log(3 << 20), 1 << 20
    catalogue: Any = None
    assert read_executed_plans(bounded, session, catalogue) == []  # type: ignore[arg-type]
    assert session.read == mb  # the first time: its end
    session.size = 6 * mb
    assert read_executed_plans(bounded, session, catalogue) == []  # type: ignore[arg-type]
    assert session.read == 3 * mb  # the rest comes in the next cycle
    session.size = 20 * mb
    (spot,) = read_executed_plans(bounded, session, catalogue)  # type: ignore[arg-type]
    assert "12.0 MB of it were passed over" in spot.why
    assert "plans.max_log_mb" in spot.remedy
    position = loop.ledger.plans.position(loop.name)
    assert position is not None
    assert position.byte == session.size


def test_a_log_that_cannot_be_read_is_a_blind_spot(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise TargetError("reading the plan log: no such file")

    monkeypatch.setattr("ooda_dagster.loop.plans.read_executed_plans", fails)
    (spot,) = [b for b in looked(loop).blind_spots if b.what == "the plan log"]
    assert spot.why == "reading the plan log: no such file"
