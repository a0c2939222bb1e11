"""Does the evidence of a real action give its verdict again, and is each edit named? Real indexes, told histories."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ooda_dagster.cli.app import app
from ooda_dagster.collect.sampler import sample
from ooda_dagster.core.evidence_check import Checked, check
from ooda_dagster.core.evidence_file import PARTS, as_text, read, sealed
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Sampling
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.loop import evidence_files
from ooda_dagster.loop.act import act
from ooda_dagster.loop.by_hand import propose
from ooda_dagster.loop.evidence import evidence_of
from ooda_dagster.loop.learn import learn
from ooda_dagster.loop.observe import observe
from ooda_dagster.loop.verify import verify
from ooda_dagster_tests.actions.stage import ON_CUSTOMER, ON_STATUS, Stage, make_stage
from ooda_dagster_tests.ledger.ground import ask
from ooda_dagster_tests.loop.ground import begun, no_results, nothing_decided
from ooda_dagster_tests.loop.test_verify import Course, DiedError, history, judged, past_its_deadline, used
from ooda_dagster_tests.support import Database, dsn_of, traffic, wait_until

HELPS: dict[str, Course] = {"t": (10.0, 5.0), "c": (1.0, 1.0)}
HURTS: dict[str, Course] = {"t": (1.0, 3.0), "c": (1.0, 1.0)}

Document = dict[str, Any]


def closed(stage: Stage, courses: dict[str, Course] = HELPS, *actions: Action) -> Action:
    """An index that was built, and judged by a look."""
    built = actions or (stage.built(),)
    history(stage, courses)
    judged(stage, *built)
    used(stage)
    verify(stage.loop)
    return stage.now(built[0])


def path_of(stage: Stage, action: Action) -> Path:
    return stage.loop.home / "evidence" / stage.loop.name / f"{action.action_id}.json"


def document_of(stage: Stage, action: Action) -> Document:
    return read(path_of(stage, action).read_bytes())


def words(found: Checked) -> str:
    return "; ".join(f"{f.part}: {f.what}" for f in found.findings)


@pytest.mark.parametrize(
    ("courses", "late", "state", "outcome"),
    [
        (HELPS, False, State.KEPT, "better"),
        (HURTS, False, State.REVERTED, "worse"),
        ({"t": (1.0, 1.0), "c": (1.0, 1.0)}, True, State.INCONCLUSIVE, "inconclusive"),
    ],
)
def test_a_verdict_that_closes_is_in_a_file_that_gives_it_again(
    stage: Stage, courses: dict[str, Course], late: bool, state: State, outcome: str
) -> None:
    action = closed(past_its_deadline(stage) if late else stage, courses)
    assert action.state == state
    document = document_of(stage, action)
    found = check(document)
    assert (found.sound, found.equal, found.exact) == (True, True, True), words(found)
    verdict = document["verdict"]
    assert (verdict["outcome"], verdict["ratio"]) == (outcome, action.ratio)
    assert verdict["interval"] == [action.ratio_low, action.ratio_high]
    assert [row["to_state"] for row in document["journal"]["rows"]] == stage.moves(action)
    assert stat.S_IMODE(path_of(stage, action).stat().st_mode) == 0o600
    assert document["allowed_by"] | {"at": None, "approved_hash": None} == {
        "approver": "ann", "rule": "", "mode": "auto", "at": None, "journal_row": 2, "approved_hash": None,
        "rule_now": action.rule,
    }  # fmt: skip
    touched = document["before_after"][0]
    before, after = courses["t"]
    assert (touched["fingerprint"], touched["side"], touched["text"]) == ("t", "touched", "select 1")
    assert touched["before"]["ms_per_call"] == pytest.approx(before, rel=0.05)
    low, high = touched["change"]["interval"]
    assert low < touched["change"]["ratio"] < high
    assert touched["change"]["ratio"] == pytest.approx(after / before, rel=0.1)
    assert touched["after"]["n"] == verdict["n"]["calls_after"]
    assert list(path_of(stage, action).parent.iterdir()) == [path_of(stage, action)], "no part of a file is left"


# ------------------------------------------------------------------ edits


@pytest.fixture(scope="module")
def written(small: Database, books: Ledger, home: Path) -> tuple[Document, Stage, Action]:
    """Evidence of an index that helped, its stage and its action; not to be changed."""
    stage = make_stage(small, books, home)
    action = closed(stage)
    return document_of(stage, action), stage, action


def row(document: Document, state: str) -> dict[str, Any]:
    return next(r for r in document["journal"]["rows"] if r["to_state"] == state)


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


# ------------------------------------------------------------------ when it is written


def test_a_verdict_whose_export_was_killed_is_exported_by_the_next_cycle(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the rollups that it read are compacted by then."""

    def killed(*_: Any) -> None:
        raise DiedError

    with monkeypatch.context() as patched:
        patched.setattr(evidence_files, "write", killed)
        with pytest.raises(DiedError):
            closed(stage)
    (action,) = stage.ledger.actions.list(stage.loop.name)
    assert (action.state, path_of(stage, action).exists()) == (State.KEPT, False)
    later = stage.loop.clock() + timedelta(hours=2)
    stage.ledger.rollups.compact(stage.loop.name, now=later, policy=Sampling(keep_minutes_h=1, keep_blocks_d=0.05))
    delta = learn(stage.loop, no_results(stage.loop))
    assert check(document_of(stage, action)).exact
    assert [r.evidence for r in delta.outcomes] == [str(path_of(stage, action))]
    assert evidence_files.export_due(stage.loop) == [], "once"


def test_what_cannot_be_written_stops_nothing_and_is_tried_again(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said: list[str] = []
    blocked = stage.with_settings("evidence", directory=str(tmp_path / "file"))
    action = closed(replace(blocked, loop=replace(blocked.loop, say=said.append)))
    assert action.state == State.KEPT
    assert any("no evidence of action" in line for line in said)
    (known,) = stage.ledger.evidence.files([action.action_id]).values()
    left = path_of(stage, action).with_name(".one-killed.part")
    left.parent.mkdir(parents=True)
    left.write_text("half")
    os.utime(left, (0, 0))
    assert "Not a directory" in (known.error or "")
    assert evidence_files.export_due(stage.loop) == [path_of(stage, action)]
    assert stage.ledger.evidence.files([action.action_id])[action.action_id].error is None
    assert not left.exists()


def test_one_that_is_too_large_is_left_to_a_person(stage: Stage) -> None:
    small = stage.with_settings("evidence", max_mb=0.001)
    action = closed(small)
    assert not path_of(stage, action).exists()
    assert "evidence.max_mb" in (stage.ledger.evidence.files([action.action_id])[action.action_id].error or "")
    assert evidence_files.export_due(small.loop) == []


def test_where_it_is_switched_off_none_is_written_until_it_is_on(stage: Stage) -> None:
    action = closed(stage.with_settings("evidence", export=False))
    assert not path_of(stage, action).exists()
    assert evidence_files.export_due(stage.loop) == [path_of(stage, action)]


def test_what_happens_later_is_in_the_file_by_the_next_cycle(stage: Stage) -> None:
    action = closed(stage)
    stage.rollback(action)
    assert evidence_files.export_due(stage.loop) == [path_of(stage, action)]
    document = document_of(stage, action)
    assert document["action"]["state"] == "reverted"
    assert (document["verdict"]["outcome"], check(document).sound) == ("better", True)


def test_files_are_kept_as_long_as_it_is_set(stage: Stage) -> None:
    action = closed(stage)
    ask(stage.ledger, "update ooda.action set closed_at = closed_at - interval '401 days' where target = :t",
        t=stage.loop.name)  # fmt: skip
    ask(stage.ledger, "update ooda.judged set judged_at = judged_at - interval '401 days' where target = :t",
        t=stage.loop.name)  # fmt: skip
    assert evidence_files.export_due(stage.loop) == []
    assert not path_of(stage, action).exists()
    assert stage.ledger.evidence.files([action.action_id]) == {}
    found = check(evidence_of(stage.ledger, stage.now(action), stage.loop.settings, stage.loop.clock()))
    assert not found.sound


def test_an_action_that_is_still_judged_can_be_exported(stage: Stage) -> None:
    action = stage.built()
    judged(stage, action)
    found = check(evidence_of(stage.ledger, action, stage.loop.settings, stage.loop.clock()))
    assert (found.sound, found.equal, found.recomputed) == (True, None, None)
    assert "no verdict that closed" in found.notes[0]


def test_of_a_set_each_file_holds_the_verdict_and_how_each_was_used(stage: Stage) -> None:
    useful, idle = stage.built(ON_CUSTOMER), stage.built(ON_STATUS)
    closed(stage, HURTS, useful, idle)
    document = document_of(stage, idle)
    use = document["change_set"]["use"]
    assert (use[useful.action_id]["scans"], use[idle.action_id]["scans"]) == (1, 0)
    told = {a["action_id"]: (a["state"], a["outcome"]) for a in document["change_set"]["actions"]}
    assert told == {useful.action_id: ("verifying", None), idle.action_id: ("reverted", "worse")}
    assert check(document).exact
    assert not path_of(stage, useful).exists()
    for column in ("acted_until", "reverted_at"):  # the first undo was as long ago as the deed
        table = "verification" if column == "acted_until" else "action"
        before = f"{column} - interval '50 seconds'"
        ask(stage.ledger, f"update ooda.{table} set {column} = {before} where target = :t", t=stage.loop.name)
    verify(stage.loop, at_once=True)
    both = [document_of(stage, action) for action in (useful, idle)]
    assert [check(d).exact for d in both] == [True, True]
    assert [d["change_set"]["open"] for d in both] == [False, False]
    assert len({d["verdict"]["look"] for d in both}) == 2


def test_statements_with_literals_are_told_by_their_digest(stage: Stage) -> None:
    spec = IndexSpec.on("public", "orders", "customer")
    action = closed(stage, HELPS, stage.built(replace(spec, where="status <> 'm4rk7077'")))
    text = path_of(stage, action).read_text()
    assert "m4rk7077" not in text
    document = read(text)
    assert check(document).exact
    assert document["action"]["statements"][0]["text"].endswith("WHERE status <> '?'")
    (taken_out,) = row(document, "applying")["detail"]["statements"]
    assert taken_out == {"sha256": document["action"]["statements"][0]["sha256"]}
    assert stage.ledger.trail.verify(stage.loop.name).intact
    taken_out["sha256"] = "0" * 64
    assert "row 3 (applying by ann) was changed" in words(check(document))


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


@pytest.mark.slow
def test_a_live_verdict_is_exported_and_comes_out_again(small: Database, books: Ledger, home: Path) -> None:
    """Real traffic in the short profile: an index that a person wants, judged by looks until its verdict closes."""
    stage = make_stage(small, books, home, rows=30_000)
    small.execute("create table other as select g as id, g % 7 as kind from generate_series(1, 20000) g", dsn=small.app)
    loop = stage.loop
    observe(loop, begun(loop))  # and know the server
    statements: dict[str, Callable[[int], tuple[Any, ...]]] = {
        "select count(*), max(note) from orders where customer = %s": lambda n: (n % 5000,),
        "select count(*) from other where kind = %s": lambda n: (n % 7,),
        "select max(id) from other where id < %s": lambda n: (n,),
    }
    with traffic(small.app, statements, per_second=20):
        until = time.monotonic() + 45
        while time.monotonic() < until:
            sample(loop.target, loop.ledger, loop.settings.sampling)
            time.sleep(2)
        wanted = "create index on orders (customer)"
        action = propose(loop, wanted, by="ann", approve=True, why="it is slow")
        act(loop, nothing_decided(loop))
        assert stage.now(action).state == State.VERIFYING

        def looked() -> Action | None:
            sample(loop.target, loop.ledger, loop.settings.sampling)
            ended = verify(loop)
            time.sleep(2)
            return ended[0] if ended else None

        ended = wait_until(looked, timeout_s=150, what="the verdict")
    document = document_of(stage, ended)
    found = check(document)
    assert (found.sound, found.exact) == (True, True), words(found)
    assert (ended.outcome, document["verdict"]["outcome"]) == ("better", "better")
    assert document["action"]["statements"][0]["exact"]
    assert document["target"]["server_version"] == small.execute("show server_version")[0][0].split()[0]
    texts = {r["text"]: (r["side"], r["change"]["ratio"]) for r in document["before_after"]}
    side, ratio = next(value for text, value in texts.items() if "from orders where customer" in text)
    assert (side, ratio < 0.9) == ("touched", True)
    assert {value[0] for text, value in texts.items() if "from other" in text} == {"control"}
