"""Do the ranges in pyproject.toml hold at both ends? Each end gets an environment of its own, filled by pip."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPENDENCIES: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
#: What touches every dependency: parsing, rollups, the ledger's schema, a whole cycle, both storages, the merge.
TRIED = [
    "core/test_detect.py",
    "core/test_detect_fixed.py",
    "core/test_scrub.py",
    "core/test_verdict.py",
    "collect/test_deltas.py",
    "config/test_file.py",
    "ledger/test_migrations.py",
    "defs/test_names.py",
    "defs/test_cycle.py",
    "defs/test_instance.py",
    "defs/test_loading.py",
    "defs/test_sensor.py",
    "defs/test_merge.py",
    "cli/test_doctor_instance.py",
    "cli/test_cycle_command.py",
]


def lowest(requirement: str) -> str:
    """`name>=1.2,<2` → `name==1.2`"""
    found = re.fullmatch(r"([A-Za-z0-9_\[\]-]+)>=([0-9.]+)(,<[0-9.]+)?", requirement)
    assert found is not None, f"{requirement} names no lowest version"
    return f"{found[1]}=={found[2]}"


def test_every_dependency_names_its_lowest_version() -> None:
    assert [lowest(r) for r in DEPENDENCIES]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("end", ["lowest", "newest"])
def test_the_ranges_hold(end: str, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    wanted = [lowest(r) for r in DEPENDENCIES] if end == "lowest" else DEPENDENCIES
    install = [str(python), "-m", "pip", "install", "--quiet", *wanted, "pytest", "pytest-timeout"]
    subprocess.run(install, check=True, timeout=900)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OODA_", "DAGSTER_", "PYTEST_"))}
    tests = [str(Path("ooda_dagster_tests") / name) for name in TRIED]
    tests += ["--deselect", "ooda_dagster_tests/defs/test_loading.py::test_dg_checks_the_definitions"]  # no `dg` there
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env={**clean, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
