"""Does `ooda policy explain` say what each rule would say, and do the switches work with nothing but the ledger?"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ooda_dagster.actions.create_index import propose_index
from ooda_dagster.core.indexes import IndexSpec
from ooda_dagster.core.rules import RULES
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.cli.conftest import Run, command
from ooda_dagster_tests.support import Database, make_orders


@pytest.fixture
def shop(database: Database, configured: Callable[..., None]) -> Database:
    make_orders(database, 1000)
    configured(database, mode="auto")
    return database


def settings(tmp_path: Path, text: str) -> None:
    with (tmp_path / "ooda.toml").open("a") as file:
        file.write(f"[target.shop.acting]\n{text}\n")


def test_each_rule_is_told_with_its_value_and_its_word(ooda: Run, shop: Database, tmp_path: Path) -> None:
    settings(tmp_path, 'deny = ["schema:billing"]\nwindows = ["00:00-24:00 Europe/Berlin"]\nenabled = false')
    found = ooda("policy", "explain", "--json").json
    rules = {rule["rule"]: rule for rule in found["rules"]}
    assert list(rules) == [rule.name for rule in RULES]
    assert {name for name, rule in rules.items() if not rule["allows"]} == {"switch"}
    assert found["policy"] == found["approved_by_a_person"] == {"allows": False, "rule": "switch"}
    assert rules["denied"]["value"] == "schema:billing"
    assert rules["maintenance windows"]["value"].startswith("00:00-24:00 Europe/Berlin: open until ")
    assert (rules["switch"]["why"], rules["switch"]["setting"]) == ("switched off: no new action", "acting.enabled")
    assert rules["switch"]["remedy"] == "set acting.enabled = true in ooda.toml"
    assert all(rule["value"] for rule in rules.values())

    told = ooda("policy", "explain").out
    assert "switched off: no new action" in told
    assert "A person's approval would wait: switch." in told


def test_of_an_action_its_own_table_is_asked_about(ooda: Run, shop: Database, ledger: Ledger, tmp_path: Path) -> None:
    settings(tmp_path, 'allow = ["table:items"]')
    assert ooda("policy", "explain", "--json").json["policy"]["allows"]
    ledger.cycles.register("shop", kind="postgres", mode="auto", now=datetime.now(UTC))
    proposal = propose_index(IndexSpec.on("public", "orders", "customer"))
    action = ledger.actions.propose("shop", proposal, by="policy", now=datetime.now(UTC))
    found = ooda("policy", "explain", "--action", action.action_id[:8], "--json").json
    assert found["policy"] == {"allows": False, "rule": "allowed"}
    assert "would be carried out" in ooda("policy", "explain").out


def test_asking_changes_nothing_of_what_the_ledger_knows(ooda: Run, shop: Database, ledger: Ledger) -> None:
    ooda("policy", "explain")
    assert ledger.cycles.registered("shop") is None
    ledger.cycles.register("shop", kind="postgres", mode="propose", now=datetime.now(UTC))
    known, events = ledger.cycles.registered("shop"), ledger.trail.events()
    assert "would be carried out" in ooda("policy", "explain").out  # in mode auto, as ooda.toml says by now
    assert (ledger.cycles.registered("shop"), ledger.trail.events()) == (known, events)


def test_a_single_deed_notes_a_new_target_and_no_other_settings_of_a_known_one(
    ooda: Run, shop: Database, ledger: Ledger, tmp_path: Path
) -> None:
    ooda("sample")
    known = ledger.cycles.registered("shop")
    assert known is not None
    assert known["mode"] == "auto"
    events = ledger.trail.events()
    settings(tmp_path, "max_actions_per_day = 7")
    assert ooda("sample").code == 0
    assert ooda("actions", "propose", "--sql", "create index on orders (customer)").code == 0
    now = ledger.cycles.registered("shop") or {}
    assert (now["mode"], now["settings"]) == (known["mode"], known["settings"])
    assert [e for e in ledger.trail.events() if e not in events and e.event == "policy"] == []


def test_a_pause_and_its_end_need_neither_dagster_nor_the_target(
    ooda: Run, configured: Callable[..., None], ledger: Ledger, tmp_path: Path
) -> None:
    """With Dagster down in the hardest way: it cannot even be imported, and the target does not answer."""
    configured(mode="auto")
    broken = tmp_path / "broken"
    (broken / "dagster").mkdir(parents=True)
    (broken / "dagster" / "__init__.py").write_text("raise ImportError('Dagster is down')")
    top = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": f"{broken}{os.pathsep}{top}", "DAGSTER_HOME": str(tmp_path / "none")}

    def run(*words: str) -> str:
        done = subprocess.run(
            command(*words), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "shop is paused since" in run("pause", "--target", "shop", "--why", "an incident")
    assert (ledger.cycles.registered("shop") or {})["paused_at"] is not None
    assert "auto, paused" in ooda("status").out
    assert "shop is acted on again" in ooda("resume", "--target", "shop").out
    assert (ledger.cycles.registered("shop") or {})["paused_at"] is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('windows = ["22-04"]', "has the form 'Mon-Fri 22:00-04:00 Europe/Berlin'"),
        ('windows = ["22:00-04:00 Europe/Bern"]', "'Europe/Bern' is no time zone"),
        ('deny = ["billing.*"]', "'billing.*' is no entry of a list"),
        ('table_index_budget = "much"', "neither a share (25%) nor a size"),
        ("enable = false", "did you mean 'enabled'?"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_with_its_line(
    ooda: Run, configured: Callable[..., None], tmp_path: Path, line: str, words: str
) -> None:
    configured()
    settings(tmp_path, line)
    ran = ooda("config", "check")
    assert ran.code == 2
    assert "ooda.toml:9: " in ran.err
    assert words in " ".join(ran.err.split())
