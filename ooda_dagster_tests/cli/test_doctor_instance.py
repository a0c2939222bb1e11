"""Does `ooda doctor` say what the Dagster instance lacks, with the lines that mend it, and survive a broken one?"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._daemon.types import DaemonHeartbeat

from ooda_dagster.defs import inspection
from ooda_dagster.defs.inspection import Finding, inspect_instance
from ooda_dagster.defs.jobs import make_jobs
from ooda_dagster.defs.names import Names
from ooda_dagster.defs.sensors import make_sensors
from ooda_dagster_tests.cli.conftest import MARKER, Run
from ooda_dagster_tests.support import Database

ROOT = Path(__file__).parents[2]


@pytest.fixture
def their_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An instance of somebody's, with an empty dagster.yaml."""
    home = tmp_path / "theirs"
    home.mkdir()
    (home / "dagster.yaml").touch()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return home


def findings() -> dict[str, Finding]:
    return {f.what: f for f in inspect_instance()}


def test_each_line_mends_what_it_stands_beside(their_home: Path) -> None:
    missing = {what: f for what, f in findings().items() if f.state == "warn"}
    assert set(missing) == {"one run a target", "run monitoring", "run retries", "old ticks", "telemetry"}
    settings: dict[str, object] = {}
    for finding in missing.values():
        settings |= yaml.safe_load(finding.remedy)
    (their_home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    assert [f for f in findings().values() if f.state != "ok"] == []
    with dg.DagsterInstance.get() as instance:  # Dagster takes these lines too
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.tag_concurrency_limits
        assert instance.run_retries_enabled


def test_looking_at_an_instance_that_never_ran_makes_no_file_in_it(their_home: Path) -> None:
    assert "where nothing ran yet" in findings()["instance"].found
    assert [p.name for p in their_home.iterdir()] == ["dagster.yaml"]


def test_ours_lacks_nothing_but_what_is_switched_on(their_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(ROOT / "dagster.yaml", their_home / "dagster.yaml")
    monkeypatch.setenv("OODA_HOME", str(their_home))
    with dg.DagsterInstance.get():
        pass
    found = findings()
    assert {f.what for f in found.values() if f.state != "ok"} == {
        "daemon",
        "schedule ooda_adaptive_delay",
        "schedule ooda_due_looks",
        "schedule ooda_past_days",
        *(f"sensor {s.name}" for s in make_sensors(Names(), make_jobs(Names()))),
    }
    assert "nothing starts by itself" in found["daemon"].found
    assert found["storage"].found.startswith("SQLite: fine for one machine")


def test_limits_of_the_older_form_are_mended_in_the_older_form(their_home: Path) -> None:
    (their_home / "dagster.yaml").write_text("run_queue: { max_concurrent_runs: 3 }\n")
    assert findings()["one run a target"].remedy.startswith("run_queue: { tag_concurrency_limits: [")
    (their_home / "dagster.yaml").write_text(
        "run_coordinator: { module: dagster.core.run_coordinator, class: DefaultRunCoordinator }\n"
    )
    assert findings()["run coordinator"].state == "warn"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: [", "dagster.yaml"),
        ("- a\n", "holds no table"),
        pytest.param(  # Dagster asks for ten seconds
            "storage: { postgres: { postgres_url: 'postgresql+psycopg2://x:m4rker-secret@127.0.0.1:1/x' } }",
            "cannot be opened",
            marks=pytest.mark.slow,
        ),
        ("storage: { custom: { module: nowhere, class: None, config: {} } }", "cannot be opened"),
    ],
)
def test_a_broken_or_silent_instance_is_a_row(their_home: Path, text: str, word: str) -> None:
    (their_home / "dagster.yaml").write_text(text)
    (failed,) = [f for f in inspect_instance() if f.state == "fail"]
    assert word in f"{failed.what} {failed.found}"
    assert MARKER not in failed.found


@pytest.mark.parametrize("ran", [False, True])
def test_lines_that_are_no_tables_are_a_row(their_home: Path, ran: bool) -> None:
    if ran:
        with dg.DagsterInstance.get():
            pass
    (their_home / "dagster.yaml").write_text("run_monitoring: true\n")
    assert {f.state for f in findings().values()} >= {"ok"}
    assert any(f.state != "ok" and ("bool" in f.found or "run_monitoring" in f.found) for f in findings().values())


def test_a_dagster_of_an_odd_version_is_a_row(their_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "version", lambda name: "1!0+dev")  # as in a checkout of Dagster
    assert findings()["packages"].state == "warn"


def test_json_holds_the_rows_and_a_bare_instance_fails_nothing(
    their_home: Path, ooda: Run, database: Database, configured: Callable[..., None]
) -> None:
    configured(database)
    ran = ooda("doctor", "--json")
    rows = {r["what"]: r for r in ran.json["rows"] if r["where"] == "dagster"}
    assert ran.code == 0
    assert rows["one run a target"]["remedy"].startswith("concurrency: ")
    assert "politeness only" in rows["one run a target"]["found"]


def test_a_daemon_that_lives_and_one_that_went_silent(their_home: Path) -> None:
    with dg.DagsterInstance.get() as instance:

        def beat(age_s: float) -> None:
            for name in instance.get_daemon_statuses():
                instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - age_s, name, str(uuid.uuid4()), errors=[]))

        beat(3)
        assert findings()["daemon"].state == "ok"
        assert re.search(r"alive, last heard \d{1,2} s ago", findings()["daemon"].found)
        beat(3600)
        assert findings()["daemon"].found.startswith("silent: ")
        assert "last heard 60 min ago" in findings()["daemon"].found


@pytest.mark.slow
def test_a_schedule_that_was_started_is_on(their_home: Path, tmp_path: Path) -> None:
    (tmp_path / "ooda.toml").write_text('[target.t]\nobserve = "env:NOWHERE"\n')
    with dg.DagsterInstance.get():
        pass
    argv = ["schedule", "start", "ooda_adaptive_delay", "-m", "ooda_dagster_tests.defs.theirs", "-a", "merged"]
    subprocess.run(
        [sys.executable, "-m", "dagster", *argv],
        cwd=tmp_path,
        env={**os.environ, "OODA_CONFIG": str(tmp_path / "ooda.toml"), "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        timeout=120,
    )
    found = findings()
    assert found["schedule ooda_adaptive_delay"].state == "ok"
    assert found["schedule ooda_adaptive_delay"].found.startswith("on in ")
    assert found["schedule ooda_due_looks"].found == "off"
