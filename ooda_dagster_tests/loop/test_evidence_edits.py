"""Is each edit of an evidence file named, and does the command line tell of it? Evidence of a real index."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ooda_dagster.cli.app import app
from ooda_dagster.core.evidence_check import check
from ooda_dagster.core.evidence_file import PARTS, as_text, read, sealed
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster_tests.actions.stage import Stage, make_stage
from ooda_dagster_tests.loop.test_evidence import Document, closed, document_of, path_of, row, words
from ooda_dagster_tests.support import Database, dsn_of

# ------------------------------------------------------------------ edits


@pytest.fixture(scope="module")
def written(small: Database, books: Ledger, home: Path) -> tuple[Document, Stage, Action]:
    """Evidence of an index that helped, its stage and its action; not to be changed."""
    stage = make_stage(small, books, home)
    action = closed(stage)
    return document_of(stage, action), stage, action


def series(document: Document, fingerprint: str) -> dict[str, Any]:
    return next(s for s in document["judged"]["statements"] if s["fingerprint"] == fingerprint)


def put(of: dict[str, Any] | list[Any], key: Any, value: Any = None) -> None:
    """Another value, or the number plus one."""
    of[key] = of[key] + 1 if value is None else value


Edit = Callable[[Document], object]

#: What is edited, and the words by which it is named; also where every digest was computed anew.
BOUND: dict[str, Edit] = {
    "not what journal row 6 knows.*statement t: before.ms_per_call": lambda d: put(series(d, "t")["sum_ms"], 3),
    "judged: it is not what journal row 6 knows": lambda d: put(series(d, "c")["n"], 5),
    "evidence.block_s is": lambda d: put(d["judged"]["policy"], "block_s"),
    "statements: number 1 was changed: DROP": lambda d: put(d["action"]["statements"][0], "text", "DROP TABLE orders"),
    "its undo are not those of journal row 3": lambda d: put(d["action"]["undo"][0], "sha256", "0" * 64),
    r"row 3 \(applying by ann\) was changed": lambda d: put(row(d, "applying")["detail"], "undo", ["x"]),
    r"row 4 \(applied by ann\) was changed": lambda d: put(row(d, "applied")["detail"], "bytes"),
    r"row 2 \(approved by bob\) was changed": lambda d: put(row(d, "approved"), "actor", "bob"),
    r"row 6 \(kept by policy\) was changed": lambda d: put(row(d, "kept")["detail"]["n"], "calls_after"),
    "row 5 was replaced, or row 6": lambda d: put(row(d, "verifying"), "hash", "0" * 64),
    "rows between 1 and 3 are missing": lambda d: d["journal"]["rows"].pop(1),
    "rows before row 2 are missing": lambda d: d["journal"]["rows"].pop(0),
    "the action is kept, and verifying in its last row": lambda d: d["journal"]["rows"].pop(),
    "ratio is 1.* comes out": lambda d: put(d["verdict"], "ratio"),
    "outcome is worse, and better comes out": lambda d: put(d["verdict"], "outcome", "worse"),
    "n.calls_after is": lambda d: put(d["verdict"]["n"], "calls_after"),
    "evidence.log_e is": lambda d: put(d["verdict"]["evidence"], "log_e"),
    r"interval\[1\] is": lambda d: put(d["verdict"]["interval"], 1),
    "look 1 is not the verdict": lambda d: put(d["looks"][0], "ratio"),
    "statement t: change.ratio is": lambda d: put(d["before_after"][0]["change"], "ratio"),
    "allowed_by: it is not what the journal says": lambda d: put(d["allowed_by"], "approver", "bob"),
    "the use of its actions is not that of": lambda d: put(d["change_set"], "use", {}),
    "judged is not in the file|computed from is not in": lambda d: put(d, "judged", False),
    "row 6 tells of one, and the file holds none": lambda d: d.update(judged=None, verdict=None),
}
#: The same where only the digest of the part tells.
BY_DIGEST: dict[str, Edit] = {
    "series of statement t was changed, block of 20": lambda d: put(series(d, "t")["sum_ms"], 3),
    "series of statement c was changed, block of 20": lambda d: put(series(d, "c")["n"], 5),
    "judged: times, settings or the places of blocks": lambda d: put(d["judged"]["span_s"], 2),
    "judged: its statements are not those": lambda d: d["judged"]["statements"].pop(),
    "why: why it was proposed": lambda d: put(d["why"], "proposed_by", "bob"),
    "allowed_by: who or what": lambda d: put(d["allowed_by"], "mode", "propose"),
    "settings: the settings": lambda d: put(d["settings"]["now"], "acting.max_actions_per_day"),
    "target: the target": lambda d: put(d["target"], "server_version", "9.6"),
    "made_by: who made the file": lambda d: put(d["made_by"], "version", "0"),
    "change_set: the change set": lambda d: put(d["change_set"]["actions"][0], "outcome", "worse"),
    "more: it does not belong": lambda d: put(d, "more", 1),
    "digests: they are missing": lambda d: d.pop("digests"),
    "digests: those of the series": lambda d: put(d["digests"]["series"]["blocks"], 1, "0" * 16),
    "looks: the part is missing": lambda d: d.pop("looks"),
    "action: it cannot be read": lambda d: put(d, "action", [1]),
    "judged: it cannot be asked again": lambda d: put(series(d, "t"), "n", ["1"]),
}


@pytest.mark.parametrize("named", BY_DIGEST)
def test_an_edit_is_named(written: tuple[Document, Stage, Action], named: str) -> None:
    document = deepcopy(written[0])
    BY_DIGEST[named](document)
    found = check(read(as_text(document)))
    assert not found.sound
    assert re.search(named, words(found)), words(found)


@pytest.mark.parametrize("named", BOUND)
def test_an_edit_is_named_where_the_digests_were_made_anew(written: tuple[Document, Stage, Action], named: str) -> None:
    document = deepcopy(written[0])
    BOUND[named](document)
    if document["judged"] is False:
        document["judged"] = None
    found = check(read(as_text(sealed({part: document[part] for part in PARTS}))))
    assert not found.sound
    assert re.search(named, words(found)), words(found)


def test_numbers_are_written_as_they_are(written: tuple[Document, Stage, Action]) -> None:
    document, stage, action = written
    assert read(as_text(document)) == document
    (look,) = stage.ledger.verifications.looks(action.change_set_id or "")
    assert document["judged"] == stage.ledger.evidence.judged(look["change_set_id"], look["look"])
    assert document["verdict"]["evidence"] == look["evidence"]


# ------------------------------------------------------------------ the command line

Ran = Callable[..., Result]


@pytest.fixture
def ooda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """`ooda(...)` in an empty directory, with no ledger, target or configuration that could be reached."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OODA_CONFIG", str(tmp_path / "none.toml"))
    return lambda *arguments, **options: CliRunner().invoke(app, list(arguments), prog_name="ooda", **options)


def test_the_command_needs_the_file_alone(written: tuple[Document, Stage, Action], ooda: Ran, tmp_path: Path) -> None:
    document = written[0]
    file = tmp_path / "one.json"
    file.write_text(as_text(document))
    done = ooda("verify", str(file))
    assert done.exit_code == 0
    assert "equal, to the last bit" in done.stdout
    assert "as they were written." in done.stdout
    told = json.loads(ooda("verify", "-", "--json", input=file.read_bytes()).stdout)
    assert (told["schema_version"], told["sound"], told["equal"], told["findings"]) == (1, True, True, [])
    file.write_text(as_text({**document, "verdict": {**document["verdict"], "ratio": 0.1}}))
    done = ooda("verify", str(file))
    assert done.exit_code == 1
    assert "NOT equal" in done.stdout
    assert "ratio is 0.1, and" in done.stdout
    assert json.loads(ooda("verify", str(file), "--json").stdout)["equal"] is False


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        (b"", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"format": "ooda-dagster evidence", "format": 1}', "a name stands twice"),
        (b'{"format": "ooda-dagster evidence", "schema_version": NaN}', "NaN"),
        (b"[1, 2]", "no evidence of ooda-dagster"),
        (b'{"schema_version": 1}', "no evidence of ooda-dagster"),
        (b'{"format": "ooda-dagster evidence", "schema_version": 2}', "reads 1"),
    ],
)
def test_what_is_no_evidence_is_told_as_such(ooda: Ran, tmp_path: Path, content: bytes | None, why: str) -> None:
    file = tmp_path / "one.json"
    if content is not None:
        file.write_bytes(content)
    done = ooda("verify", str(file))
    assert (done.exit_code, done.stdout) == (2, "")
    assert why in done.stderr


def test_a_file_of_which_little_is_left_is_no_crash(ooda: Ran, tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text('{"format": "ooda-dagster evidence", "schema_version": 1, "action": 3, "judged": {}}')
    assert ooda("verify", str(file)).exit_code == 1


def test_an_action_is_exported_when_asked_and_shown_with_its_file(
    written: tuple[Document, Stage, Action], ooda: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, stage, action = written
    monkeypatch.setenv("TEST_LEDGER_URL", dsn_of(stage.ledger))
    config = tmp_path / "ooda.toml"
    config.write_text(
        f'[ledger]\nurl = "env:TEST_LEDGER_URL"\n[target.{stage.loop.name}]\nprofile = "short"\n'
        'observe = "env:NOWHERE"\n'
    )
    monkeypatch.setenv("OODA_CONFIG", str(config))
    piped = ooda("actions", "export", action.action_id[:8], "--out", "-").stdout
    assert check(read(piped)).exact
    assert read(piped)["judged"] == document["judged"]
    done = ooda("actions", "export", action.action_id, "--out", "some.json")
    assert (done.exit_code, Path("some.json").read_text().count("\n")) == (0, len(document) + 2)
    assert ooda("actions", "export", action.action_id, "--out", "some.json/no").exit_code == 2
    shown = ooda("actions", "show", action.action_id).stdout
    assert f"evidence {path_of(stage, action)}" in shown
    assert "as it was written" in shown
    assert "NOT" not in shown
    path_of(stage, action).write_text("{}")
    assert "NOT as it was written" in ooda("actions", "show", action.action_id).stdout
    os.remove(path_of(stage, action))
    told = json.loads(ooda("actions", "show", action.action_id, "--json").stdout)["evidence"]
    assert "`ooda actions export` writes it again" in told["state"]
