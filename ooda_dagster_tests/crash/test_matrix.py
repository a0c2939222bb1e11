"""Is all as before, or as after, wherever what dies?"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from ooda_dagster.actions.registry import TYPES
from ooda_dagster_tests.conftest import SEED
from ooda_dagster_tests.crash.conftest import CELL
from ooda_dagster_tests.crash.crash import crash
from ooda_dagster_tests.crash.ground import Ground
from ooda_dagster_tests.crash.points import Cell, cells
from ooda_dagster_tests.crash.scenarios import SCENARIOS, Scenario

Record = Callable[[str, object], None]


#: What an action may be in once recovery ran; `crash` asserts which of them the catalogue bears out.
SETTLED = {"nothing", "proposed", "approved", "failed", "verifying", "reverted"}


def run(ground: Ground, cell: Cell, record: Record) -> str:
    """The state that the action ended in; fails where `crash` finds anything amiss, and records that cell as red."""
    found = "RED"
    try:
        found = crash(ground, cell)
    finally:
        record(CELL, (cell.row, str(cell.fault), found))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("cell", [cell for scenario in SCENARIOS for cell in cells(scenario)], ids=str)
def test_after_every_crash_all_is_as_before_or_as_after(ground: Ground, cell: Cell, record_property: Record) -> None:
    assert run(ground, cell, record_property) in SETTLED


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_after_a_crash_that_is_drawn_all_is_as_before_or_as_after(
    ground: Ground, scenario: Scenario, record_property: Record
) -> None:
    drawn = random.Random(f"{os.environ[SEED]} {scenario}").choice(list(cells(scenario)))
    assert run(ground, drawn, record_property) in SETTLED


def test_every_action_type_has_a_scenario() -> None:
    missing = TYPES.keys() - {scenario.action_type for scenario in SCENARIOS}
    assert not missing, f"add scenarios of {', '.join(sorted(missing))} to ooda_dagster_tests/crash/scenarios.py"
