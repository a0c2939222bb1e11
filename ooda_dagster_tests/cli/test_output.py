"""Can people read what is printed, on a terminal and through a pipe, and programs the JSON?"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ooda_dagster.cli.output import emit, shown, table
from ooda_dagster.core.text import size

SQL = (
    "CREATE INDEX CONCURRENTLY ooda_orders_customer_placed_0a1b2c ON public.orders USING btree (customer, placed DESC)"
)


def test_no_line_of_a_table_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    table("Found", ["n", "what"], [(1, SQL * 3), (20, "short")])

    assert capsys.readouterr().out.splitlines() == ["Found", " n  what", f" 1  {SQL * 3}", "20  short", ""]


def test_what_is_long_stands_under_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    table("", ["n", "sql", "why"], [(1, SQL, "slow"), (2, "", "none")], below=["sql"])

    assert capsys.readouterr().out.splitlines() == ["n  why", "1  slow", f"    {SQL}", "2  none", ""]


def test_cells_are_aligned_also_where_a_character_takes_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    table("", ["name", "n"], [("注文", 1.5), ("a", None), ("b", 2000.0)])

    assert capsys.readouterr().out.splitlines() == ["name      n", "注文   1.50", "a", "b     2,000", ""]


def test_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table("[red]", ["a"], [("x[1] [bold]y[/bold]",)])

    assert capsys.readouterr().out.splitlines() == ["[red]", "a", "x[1] [bold]y[/bold]", ""]


def test_a_statement_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table("", ["sql"], [("select '\x1b[2J\x07'\n, 1",)])

    assert capsys.readouterr().out.splitlines()[1] == "select '�[2J�' , 1"


def test_half_a_surrogate_pair_can_be_printed() -> None:
    assert shown("a\ud800b").encode() == "a�b".encode()


def test_json_has_a_version_and_times_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"at": datetime(2026, 1, 2, 3, tzinfo=UTC), "n": Decimal("1.5")})

    printed = capsys.readouterr().out
    assert '"schema_version": 1' in printed
    assert '"at": "2026-01-02T03:00:00' in printed
    assert '"n": 1.5' in printed


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (8192, "8.0 KB"), (3 << 40, "3072.0 GB")])
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert size(count) == text
