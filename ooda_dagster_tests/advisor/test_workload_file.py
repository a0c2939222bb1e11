"""Does a workload file say which of its lines is wrong?"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from ooda_dagster.advisor.workload import WorkloadFileError, from_counters, from_file, from_totals

GOOD = '{"sql": "select * from orders where customer = $1", "calls": 10}'

WRONG = {
    "{": "no JSON",
    '"select 1"': "no text",
    "[1]": "no text",
    '{"calls": 1}': "'sql' is missing",
    '{"sql": 5}': "no text",
    '{"sql": "  "}': "must be a statement",
    '{"sql": "select 1\\u0000"}': "must be a statement",
    '{"sql": "select \'\\ud800\'"}': "no text",
    '{"sql": "select 1", "calls": -1}': "not a number of at least 0",
    '{"sql": "select 1", "calls": NaN}': "not a number of at least 0",
    '{"sql": "select 1", "calls": Infinity}': "not a number of at least 0",
    '{"sql": "select 1", "calls": "many"}': "could not convert",
    '{"sql": "select 1", "rows": "few"}': "could not convert",
    '{"sql": "select 1", "total_ms": -5}': "not a number of at least 0",
}


def file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "work.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_line_is_named(line: str, tmp_path: Path) -> None:
    with pytest.raises(WorkloadFileError, match=r"work\.jsonl:3: ") as raised:
        from_file(file(tmp_path, GOOD, "", line))

    assert WRONG[line] in str(raised.value)


def test_what_a_line_may_say(tmp_path: Path) -> None:
    entry = {"sql": "select * from orders where placed > $1", "calls": 5, "id": "late", "total_ms": 900, "rows": 50}
    plain, full = from_file(file(tmp_path, GOOD, json.dumps(entry))).statements

    assert (plain.label, plain.calls, plain.total_ms) == ("line 1", 10, None)
    assert (full.label, full.calls, full.total_ms, full.rows_per_call) == ("late", 5, 900, 10)


def test_line_ends_of_windows_and_unicode_are_read(tmp_path: Path) -> None:
    path = tmp_path / "work.jsonl"
    odd = '{"sql": "select \'a\u2028b\u0085c\'"}'
    path.write_bytes(b"\xef\xbb\xbf" + f"{GOOD}\r\n{odd}\r\n".encode())

    assert [s.text for s in from_file(path).statements][1] == "select 'a\u2028b\u0085c'"


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(WorkloadFileError, match="holds no statement"):
        from_file(file(tmp_path, text))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")

    for path in (tmp_path / "nothing", tmp_path, binary):
        with pytest.raises(WorkloadFileError, match="cannot be read"):
            from_file(path)


def test_the_servers_counters_are_merged_by_statement_and_ours_left_out() -> None:
    frame = pd.DataFrame(
        {"query_id": [1, 2, 3, 4], "calls": [1, 2, 3, 4], "total_ms": [10.0, 20, 30, 40], "rows": [1, 1, 1, 1]}
    )
    texts = {
        1: "select * from orders where customer = $1",
        2: "SELECT * FROM orders WHERE customer = $1",
        3: "select 1 /* ooda t/observe */",
    }
    found = from_counters(frame, texts, 2.0)

    assert [(s.calls, s.total_ms) for s in found.statements] == [(3, 30)]
    assert found.hours == 2


def test_totals_come_heaviest_first() -> None:
    rows = [("a", "select", "select 1", 1, 5.0, 1), ("b", "select", "select 2", 1, 9.0, 1)]
    frame = pd.DataFrame(rows, columns=["fingerprint", "kind", "text", "n", "sum_ms", "rows"])

    found = from_totals(frame, 1, "ledger", {"b": ("select 2",)})
    assert [(s.fingerprint, s.samples) for s in found.statements] == [("b", ("select 2",)), ("a", ())]
