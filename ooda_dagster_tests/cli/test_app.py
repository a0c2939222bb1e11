"""Is the table of contents true, and quick?"""

from __future__ import annotations

import subprocess
import sys

import pytest

from ooda_dagster import __version__
from ooda_dagster.cli.app import COMMANDS, load
from ooda_dagster_tests.cli.conftest import Run

_HEAVY = ("alembic", "dagster", "numpy", "pandas", "pglast", "psycopg", "pydantic", "scipy", "sqlalchemy")


def words(text: str) -> list[str]:
    return text.lower().replace(",", "").replace(";", "").split()


@pytest.mark.parametrize("name", COMMANDS)
def test_what_the_list_says_of_a_command_is_what_its_help_begins_with(name: str) -> None:
    said = load(name).help or ""

    assert words(said)[:2] == words(COMMANDS[name][2])[:2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, ooda: Run) -> None:
    ran = ooda(name, "--help")

    assert ran.code == 0
    assert f"Usage: ooda {name}" in ran.out


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['ooda', '--help']\n"
        "from ooda_dagster.cli import main\n"
        "try: main()\n"
        f"finally: print('imported', sorted(set(sys.modules) & set({_HEAVY!r})))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert ran.returncode == 0
    assert [name for name in COMMANDS if name not in ran.stdout] == []
    assert "imported []" in ran.stdout


def test_no_commands_module_imports_dagster() -> None:
    code = "from ooda_dagster.cli.app import COMMANDS, load; import sys; list(map(load, COMMANDS))"
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}; print('dagster' in sys.modules)"], capture_output=True, text=True, check=True
    )

    assert ran.stdout.strip() == "False"


def test_the_version_is_told(ooda: Run) -> None:
    assert ooda("--version").out.strip() == __version__


def test_a_command_that_is_nearly_right_is_suggested(ooda: Run) -> None:
    ran = ooda("aprovals")

    assert ran.code == 2
    assert "Did you mean 'approvals'" in ran.err


def test_it_runs_as_a_module_of_python(process: Run) -> None:
    ran = process("config", "check")

    assert (ran.code, ran.err) == (0, "")
    assert "built-in default: ok" in ran.out
