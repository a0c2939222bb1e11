"""Do Dagster's own commands load the project from a checkout, quietly and with nothing configured?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*argv: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in the checkout."""
    return run_program(sys.executable, *argv, home=home, **environment)


def run_program(*argv: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program in the checkout, as on a fresh machine: no DAGSTER_HOME, no ledger, no ooda.toml."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OODA_", "DAGSTER_"))}
    return subprocess.run(
        argv,
        cwd=ROOT,
        env={**clean, "OODA_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_dagster_validates_the_workspace(tmp_path: Path) -> None:
    done = run("-m", "dagster", "definitions", "validate", "-w", "workspace.yaml", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "All code locations passed validation" in done.stdout + done.stderr
    assert "BetaWarning" not in done.stderr
    assert "PreviewWarning" not in done.stderr
    assert not list(ROOT.glob(".tmp_dagster_home_*"))


def test_dg_checks_the_definitions(tmp_path: Path) -> None:
    """By the command of the environment that the tests run in, else by the first on the path."""
    beside = str(Path(sys.executable).parent)
    dg = shutil.which("dg", path=os.pathsep.join((beside, os.environ["PATH"])))
    assert dg, "dg is missing: install the test extra (`make test` does), which has dagster-dg-cli"
    done = run_program(dg, "check", "defs", home=tmp_path, VIRTUAL_ENV=str(Path(beside).parent))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All definitions loaded successfully" in done.stdout + done.stderr
    assert not list(ROOT.glob(".tmp_dagster_home_*"))


def test_the_module_that_dg_is_told_of_loads_without_a_word() -> None:
    """Warnings of Dagster's about what may still change are ours to know, not the reader's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    module = project["dg"]["project"]["code_location_target_module"]
    assert module == project["dagster"]["module_name"]
    code = f"import dagster, {module} as m; assert isinstance(m.defs, dagster.Definitions)"
    done = run("-W", "always", "-c", code, home=Path("/nonexistent"))
    assert done.returncode == 0, done.stderr
    ours = [line for line in done.stderr.splitlines() if "BetaWarning" in line or "PreviewWarning" in line]
    assert ours == []
    assert "ooda_dagster" not in done.stderr


def test_the_users_own_warnings_are_not_muted() -> None:
    code = (
        "import ooda_dagster.definitions, dagster as dg\n"
        "@dg.asset(backfill_policy=dg.BackfillPolicy.single_run())\ndef mine(): ..."
    )
    done = run("-c", code, home=Path("/nonexistent"))
    assert "BetaWarning" in done.stderr


def test_dagsters_processes_that_load_no_other_code_of_ours_stay_small() -> None:
    """The webserver and the daemon import the storage alone, not what the loop computes with."""
    heavy = ("pandas", "scipy", "ooda_dagster.defs.build")
    code = f"import ooda_dagster.defs.storage, sys; print([m for m in {heavy} if m in sys.modules])"
    assert run("-c", code, home=Path("/nonexistent")).stdout.strip() == "[]"
