"""`ooda advise`: advice by a role that may only read; nothing is written, JSON is alone on stdout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ooda_dagster_tests.cli.conftest import Ran, Run, role_of
from ooda_dagster_tests.support import Database, make_orders

WORK = '{"sql": "select * from orders where customer = $1", "calls": 900, "id": "by customer", "rows": 36000}'


@pytest.fixture
def advisee(database: Database, reader: str) -> Callable[..., str]:
    """A database with orders and some traffic, and the connection of a role with pg_monitor and SELECT only."""
    make_orders(database, 60_000)
    database.execute(f"grant pg_monitor to {role_of(reader)}; grant select on orders to {role_of(reader)}")
    # Loading a table is a write that an index would have made dearer: it is not what the advice is asked for.
    database.execute("select pg_stat_statements_reset(0, oid, 0) from pg_database where datname = current_database()")
    for n in range(5):
        database.execute("select count(note) from orders where customer = %s", n, dsn=database.app)
    return lambda: reader


def state_of(database: Database) -> list[object]:
    """Everything that a write would change."""
    classes = database.execute("select oid, relname, relfilenode from pg_class order by oid")
    counters = database.execute("select n_tup_ins, n_tup_upd, n_tup_del from pg_stat_user_tables order by relid")
    return [classes, counters, database.execute("select count(*) from pg_namespace")]


def advice(ran: Ran) -> list[str]:
    assert ran.code == 0, ran.err
    return [i["ddl"].split(" ON ")[1] for i in ran.json["indexes"]]


def test_a_role_that_may_only_read_gets_advice_and_nothing_is_written(
    process: Run, database: Database, advisee: Callable[[], str]
) -> None:
    before = state_of(database)
    ran = process("advise", "--url", advisee(), "--min-statement-ms", "1")

    assert ran.code == 0, ran.err
    assert "1 indexes," in ran.out
    assert "ON public.orders USING btree (customer);" in ran.out
    assert "select count(note) from orders where customer = $1" in ran.out
    assert state_of(database) == before


def test_json_is_alone_on_stdout_and_progress_on_stderr(process: Run, advisee: Callable[[], str]) -> None:
    ran = process("advise", "--url", advisee(), "--min-statement-ms", "1", "--json")

    assert advice(ran) == ["public.orders USING btree (customer)"]
    assert "worth a look" in ran.err
    (found,) = ran.json["indexes"]
    assert found["bytes"] > 8192
    assert found["undo"].startswith("DROP INDEX CONCURRENTLY public.ooda_orders_customer_")
    assert found["serves"][0]["cost_after"] < found["serves"][0]["cost_before"]
    assert "m4rker" not in ran.out + ran.err


def test_a_workload_file_is_enough(ooda: Run, advisee: Callable[[], str], tmp_path: Path) -> None:
    (tmp_path / "w.jsonl").write_text(WORK + '\n{"sql": "select (((", "id": "broken"}\n')
    ran = ooda("advise", "--url", advisee(), "--workload", "w.jsonl", "--json")

    assert advice(ran) == ["public.orders USING btree (customer)"]
    assert ran.json["indexes"][0]["serves"][0]["id"] == "by customer"
    assert [(n["id"], n["reason"][:10]) for n in ran.json["not_judged"]] == [("broken", "the parser")]


def test_what_cannot_be_judged_is_shown_with_its_reason(ooda: Run, advisee: Callable[[], str], tmp_path: Path) -> None:
    (tmp_path / "w.jsonl").write_text('{"sql": "select * from nowhere where a = $1", "id": "lost"}')
    ran = ooda("advise", "--url", advisee(), "--workload", "w.jsonl")

    assert "Nothing to build: none of the heavy statements could be judged." in ran.out
    assert "lost  it reads nowhere, which is a view or not in the catalogue" in ran.out


def test_the_budget_bounds_the_answer(ooda: Run, advisee: Callable[[], str], tmp_path: Path) -> None:
    (tmp_path / "w.jsonl").write_text(WORK)
    found = {
        budget: ooda("advise", "--url", advisee(), "--workload", "w.jsonl", "--budget", budget, "--json")
        for budget in ("50%", "200MB", "8KB")
    }

    assert found["200MB"].json["budget_bytes"] == 200 << 20
    assert [len(advice(ran)) for ran in found.values()] == [1, 1, 0]


@pytest.mark.parametrize("budget", ["much", "-5%", "10XB", "", "%", "inf", "inf%", "nan"])
def test_a_budget_that_is_none_is_a_usage_error(budget: str, ooda: Run) -> None:
    ran = ooda("advise", "--url", "postgresql://nobody@127.0.0.1:1/x", "--budget", budget)

    assert ran.code == 2
    assert "neither a share (25%) nor a size (200MB, 2GB)" in ran.err


def test_a_wrong_line_of_the_workload_is_named_before_anything_is_asked(ooda: Run, tmp_path: Path) -> None:
    (tmp_path / "w.jsonl").write_text(f"{WORK}\nnot json\n")
    ran = ooda("advise", "--url", "postgresql://nobody@127.0.0.1:1/x", "--workload", "w.jsonl")

    assert ran.code == 2
    assert "w.jsonl:2: not of the form" in ran.err


@pytest.mark.parametrize("options", [[], ["--url", "postgresql://h/d", "--target", "t"]])
def test_one_database_must_be_named(options: list[str], ooda: Run) -> None:
    ran = ooda("advise", *options)

    assert ran.code == 2
    assert "give --url or --target" in ran.err


def test_an_empty_database_has_nothing_to_build(ooda: Run, database: Database) -> None:
    ran = ooda("advise", "--url", database.observe, "--json")

    assert ran.code == 0
    assert (ran.json["indexes"], ran.json["explains"]) == ([], 0)
    assert json.dumps(ran.json["reason"]) != '""'
