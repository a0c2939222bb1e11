"""`ooda audit`: is told who did what, and does it say where the record was changed?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.ledger import Action, Ledger
from ooda_dagster.ledger.who import os_user, seen_by
from ooda_dagster_tests.cli.conftest import MARKER, Run
from ooda_dagster_tests.ledger.ground import ask, proposal


@pytest.fixture
def waiting(configured: Callable[..., None], ledger: Ledger) -> Callable[[str], Action]:
    """Makes an action of `shop` that waits for an approval."""
    configured(mode="approve")

    def make(name: str) -> Action:
        now = datetime.now(UTC)
        ledger.cycles.register("shop", kind="postgres", mode="approve", now=now)
        action = ledger.actions.propose("shop", proposal(name), by="policy", now=now)
        return ledger.actions.transition(action.action_id, State.PENDING_APPROVAL, actor="policy")

    return make


def events(run: Run, *options: str) -> list[tuple[str, str, str | None]]:
    return [(e["event"], e["actor"], e["target"]) for e in run("audit", "list", "--json", *options).json["events"]]


def test_what_people_did_is_listed_with_who_and_why(ooda: Run, waiting: Callable[[str], Action]) -> None:
    first, second = waiting("i1"), waiting("i2")
    for arguments in (
        ("approvals", "approve", first.action_id, "--why", "needed"),
        ("approvals", "reject", second.action_id, "--why", "not now"),
        ("pause", "-t", "shop", "--why", "release"),
        ("resume", "-t", "shop"),
        ("queues", "reset", "-t", "shop", "--why", "stuck"),
    ):
        assert ooda(*arguments).code == 0
    me = os_user()
    assert events(ooda) == [
        ("mode", seen_by(), "shop"),
        *((event, me, "shop") for event in ("approved", "rejected", "paused", "resumed", "queues reset")),
    ]
    shown = ooda("audit", "list").out
    for words in ("none -> approve", f"{first.action_id[:8]} build it; (needed)", "(not now)", "(release)", "(stuck)"):
        assert words in shown
    assert events(ooda, "--event", "paused", "--event", "resumed", "--limit", "1") == [("resumed", me, "shop")]
    assert events(ooda, "--actor", "nobody") == events(ooda, "--target", "other") == []
    assert len(events(ooda, "--since", "1h")) == 6
    assert [e for e, _, _ in events(ooda, "--transitions") if e == "pending_approval"] == ["pending_approval"] * 2


def test_a_change_of_the_configuration_is_told_with_its_keys(
    ooda: Run, configured: Callable[..., None], ledger: Ledger, tmp_path: Path
) -> None:
    configured()
    assert ooda("pause", "-t", "shop").code == 0
    configured(mode="approve")
    file = tmp_path / "ooda.toml"
    literal = f"requests.status = \"coalesce(state, '{MARKER}')\"\n"
    file.write_text(file.read_text() + f"acting.max_actions_per_day = 7\n{literal}")
    for _ in range(2):  # the second sees nothing new
        assert ooda("recover", "-t", "shop", "--why", "look").code == 3  # the target of these tests is away
    found = [e for e in ooda("audit", "list", "--json").json["events"] if e["event"] in ("mode", "policy")]
    assert [(e["event"], e["actor"]) for e in found] == [("mode", seen_by()), ("policy", seen_by())] * 2
    assert found[2]["detail"] == {"before": "propose", "after": "approve"}
    assert (found[1]["detail"]["first"], found[3]["detail"]["first"]) == (True, False)
    assert found[3]["detail"]["changes"]["acting.max_actions_per_day"] == {"before": 20, "after": 7}
    shown = ooda("audit", "list").out
    assert "acting.max_actions_per_day: 20 -> 7" in shown
    assert "requests.status: status -> coalesce(state, '?') #" in shown
    assert MARKER not in shown + str(ask(ledger, "select * from ooda.target")) + str(found)


def test_a_recovery_by_hand_is_audited(ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    ooda("recover", "-t", "shop", "--why", "after the crash")
    assert ("recovery", os_user(), "shop") in events(ooda)
    assert "(after the crash)" in ooda("audit", "list", "--event", "recovery").out


def test_an_intact_record_is_told_with_its_rows(ooda: Run, waiting: Callable[[str], Action]) -> None:
    waiting("i1")
    ran = ooda("audit", "verify")
    assert (ran.code, ran.out.strip()) == (0, "3 rows in 2 chains: as they were written.")
    assert ooda("audit", "verify", "--json").json == {
        "schema_version": 1,
        "intact": True,
        "rows": {"audit": 1, "journal/shop": 2},
        "broken": [],
        "breaks": {},
        "anchors": [],
    }


def test_a_changed_row_is_named_and_the_exit_code_is_1(
    ooda: Run, waiting: Callable[[str], Action], ledger: Ledger
) -> None:
    waiting("i1")
    ask(ledger, "update ooda.journal set actor = 'mallory' where position = 2")
    ran = ooda("audit", "verify", "--target", "shop")
    assert ran.code == 1
    assert "journal/shop    2  this row was changed: pending_approval by mallory" in ran.out
    assert "NOT as they were written" in ran.out
    found = ooda("audit", "verify", "--json")
    assert (found.code, found.json["intact"], found.json["broken"][0]["position"]) == (1, False, 2)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_kept_head_proves_the_past_and_shows_that_it_was_rewritten(
    as_json: bool, ooda: Run, waiting: Callable[[str], Action], ledger: Ledger, tmp_path: Path
) -> None:
    waiting("i1")
    kept = ooda("audit", "head", *["--json"][:as_json]).out
    (tmp_path / "kept").write_text(kept)
    waiting("i2")
    ran = ooda("audit", "verify", "--expect", "@kept")
    assert ran.code == 0
    assert "nothing was changed up to row 2 of journal/shop" in ran.out
    ask(ledger, "truncate ooda.journal, ooda.chain_head, ooda.audit_event, ooda.action cascade")
    assert ooda("audit", "verify").code == 0
    ran = ooda("audit", "verify", "--expect", "@kept")
    assert ran.code == 1
    assert ran.out.count("no row has this hash") == 2


def test_what_is_no_hash_is_refused(ooda: Run, configured: Callable[..., None]) -> None:
    configured()
    for wrong in ("abc", "@nowhere"):
        assert ooda("audit", "verify", "--expect", wrong).code == 2


def test_the_doctor_looks_at_the_record(ooda: Run, waiting: Callable[[str], Action], ledger: Ledger) -> None:
    waiting("i1")

    def row() -> tuple[str, str]:
        rows = ooda("doctor", "--json").json["rows"]
        return next((r["state"], r["found"]) for r in rows if r["what"] == "record of the past")

    assert row() == ("ok", "journal chain intact, 3 rows")
    ask(ledger, "delete from ooda.journal where position = 2")
    state, found = row()
    assert state == "fail"
    assert found.startswith("journal/shop, row 2: row 2 is missing at the end")


def test_who_it_was_is_asked_of_the_system_and_not_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os_user()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "ceo")
    assert os_user() == before
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "ann")
    assert os_user() == "ann (sudo)"
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    assert os_user() == "uid 4000000"
