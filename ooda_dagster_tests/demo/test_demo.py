"""Does the demonstration keep its promises, as a person would run it?"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import psutil
import pytest
from filelock import FileLock

from ooda_dagster_tests.support import room, wait_until

_SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "demo-report.schema.json").read_text())


@pytest.fixture
def own_home() -> Iterator[Path]:
    with room("demo-test") as directory:
        yield directory
        assert _processes(directory) == [], "nothing runs afterwards"


def _processes(home: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["cwd", "cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(home) in line or (process.info["cwd"] or "").startswith(str(home)):
            found.append(line)
    return found


def _start(home: Path, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OODA_HOME": str(home)}
    environment.pop("DAGSTER_HOME", None)
    return subprocess.Popen(
        [sys.executable, "-m", "ooda_dagster", "demo", *options],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _report(home: Path, *options: str) -> dict[str, object]:
    process = _start(home, "--json", "-", *options)
    out, err = process.communicate(timeout=280)
    assert out, err
    report = json.loads(out)
    jsonschema.validate(report, _SCHEMA)
    assert process.returncode == (0 if report["ok"] else 1), err
    return report


def test_ctrl_c_stops_the_traffic_and_the_servers(own_home: Path) -> None:
    process = _start(own_home, "--scale", "0.05")
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any("traffic runs" in line for line in lines)
    assert len(_processes(own_home)) > 2, "two servers run"
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    wait_until(lambda: not _processes(own_home), what="the end of the servers")


def test_a_second_demo_in_the_same_place_is_refused_by_name(own_home: Path) -> None:
    with FileLock(own_home / "demo.lock"):
        process = _start(own_home, "--scale", "0.05")
        _, err = process.communicate(timeout=180)
    assert process.returncode == 2
    assert "another demo runs" in err


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, random.Random().randrange(10_000)])
def test_all_planted_problems_are_mended(own_home: Path, seed: int) -> None:
    report = _report(own_home, "--seed", str(seed))
    assert report["ok"], report["not_reached"]
    assert [g for g in report["goals"] if not g["met"]] == []  # type: ignore[attr-defined]
    assert report["seconds"] < 240  # type: ignore[operator]


@pytest.mark.slow
def test_in_the_control_arm_nothing_changes(own_home: Path) -> None:
    report = _report(own_home, "--no-act", "--seed", "2")
    assert report["ok"], report["not_reached"]
    assert [g for g in report["goals"] if not g["met"]] == []  # type: ignore[attr-defined]
    assert [a for a in report["actions"] if a["applied"]] == []  # type: ignore[attr-defined]
