"""Does the evidence of a real action give its verdict again, and is each edit named? Real indexes, told histories."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ooda_dagster.collect.sampler import sample
from ooda_dagster.core.evidence_check import Checked, check
from ooda_dagster.core.evidence_file import read
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode, Sampling
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
from ooda_dagster_tests.loop.test_verify import DiedError
from ooda_dagster_tests.loop.told_history import Course, history, judged, past_its_deadline, used
from ooda_dagster_tests.support import Database, traffic, wait_until

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


def row(document: Document, state: str) -> dict[str, Any]:
    return next(r for r in document["journal"]["rows"] if r["to_state"] == state)


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
    assert touched["before"]["ms_per_call"] == pytest.approx(
        before, rel=0.25
    )  # the deed is a little later on a slow machine
    low, high = touched["change"]["interval"]
    assert low < touched["change"]["ratio"] < high
    assert touched["change"]["ratio"] == pytest.approx(after / before, rel=0.25)
    assert touched["after"]["n"] == verdict["n"]["calls_after"]
    assert list(path_of(stage, action).parent.iterdir()) == [path_of(stage, action)], "no part of a file is left"


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


def test_of_looks_that_are_not_carried_out_only_the_last_is_kept(stage: Stage) -> None:
    """In a mode that does not act, a harmful index is judged again and again until a person undoes it."""
    settings = stage.loop.settings.model_copy(update={"mode": Mode.PROPOSE})
    action = closed(replace(stage, loop=replace(stage.loop, settings=settings)), HURTS, stage.built())
    assert (action.state, action.outcome) == (State.VERIFYING, "worse")
    verify(replace(stage.loop, settings=settings), at_once=True)
    kept = "select look from ooda.judged where target = :t"
    assert [look for (look,) in ask(stage.ledger, kept, t=stage.loop.name)] == [2]
    verify(stage.loop, at_once=True)
    assert [look for (look,) in ask(stage.ledger, kept, t=stage.loop.name)] == [3]
    document = document_of(stage, action)
    assert (document["verdict"]["look"], check(document).exact) == (3, True)


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
