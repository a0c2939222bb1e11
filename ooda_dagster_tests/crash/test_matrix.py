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
from ooda_dagster_tests.crash.lives import Kind, lives
from ooda_dagster_tests.crash.points import Cell, cells, silences
from ooda_dagster_tests.crash.recorded import LifeCell, cells_of, covering, crash_in, record, recordings
from ooda_dagster_tests.crash.scenarios import SCENARIOS, Scenario

Record = Callable[[str, object], None]

#: What an action may be in once recovery ran; `check` asserts which of them the catalogue bears out.
SETTLED = {"nothing", "proposed", "approved", "failed", "verifying", "reverted"}
#: And what a life of another kind may end in.
ENDED = SETTLED | {"revert_failed", "kept", "inconclusive", "rejected", "expired", "superseded"}

#: Kinds of lives that an action type has: those of an undo only where it has one. What a verdict or a word commits is
#: the same for every type; of the others it is drawn.
KINDS = [
    (scenario, kind)
    for scenario in SCENARIOS
    for kind in Kind
    if lives(kind, scenario) and (kind not in (Kind.VERDICT, Kind.WORD) or scenario is SCENARIOS[0])
]


def run(ground: Ground, cell: Cell | LifeCell, record: Record) -> str:
    """The state that the action ended in; fails where anything is amiss, and records that cell as red."""
    found = "RED"
    try:
        found = crash(ground, cell) if isinstance(cell, Cell) else crash_in(ground, cell)
    finally:
        record(CELL, (cell.row, str(cell.fault), found if found in ENDED else "RED"))
    return found


def drawn(what: str) -> random.Random:
    return random.Random(f"{os.environ[SEED]} {what}")


@pytest.mark.slow
@pytest.mark.parametrize("cell", [cell for scenario in SCENARIOS for cell in cells(scenario)], ids=str)
def test_after_every_crash_all_is_as_before_or_as_after(ground: Ground, cell: Cell, record_property: Record) -> None:
    assert run(ground, cell, record_property) in SETTLED


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_after_a_crash_that_is_drawn_all_is_as_before_or_as_after(
    ground: Ground, scenario: Scenario, record_property: Record
) -> None:
    cell = drawn(str(scenario)).choice(list(cells(scenario)))
    assert run(ground, cell, record_property) in SETTLED


@pytest.mark.slow
@pytest.mark.timeout(3600)  # up to two hundred crashes
@pytest.mark.parametrize(("scenario", "kind"), KINDS, ids=str)
def test_after_every_crash_of_a_life_it_is_settled(
    ground: Ground, scenario: Scenario, kind: Kind, record_property: Record
) -> None:
    """Its steps are recorded first; one red cell keeps no other from being tried."""
    red: list[str] = []
    for cell in covering(recordings(ground, kind, scenario)):
        try:
            assert run(ground, cell, record_property) in ENDED
        except AssertionError as error:
            red.append(f"{cell}: {error}")
    assert not red, "\n".join(red)


@pytest.mark.parametrize("kind", Kind)
def test_after_a_crash_of_a_life_that_is_drawn_it_is_settled(
    ground: Ground, kind: Kind, record_property: Record
) -> None:
    draw = drawn(kind)
    life = draw.choice([life for scenario in SCENARIOS for life in lives(kind, scenario)])
    cell = draw.choice(list(cells_of(record(ground, life, thoroughly=False))))
    assert run(ground, cell, record_property) in ENDED


@pytest.mark.slow
@pytest.mark.parametrize("cell", [cell for scenario in SCENARIOS for cell in silences(scenario)], ids=str)
def test_a_network_that_falls_silent_is_given_up_and_recovered_from(
    ground: Ground, cell: Cell, record_property: Record
) -> None:
    assert run(ground, cell, record_property) in SETTLED


def test_a_silence_that_is_drawn_is_given_up_and_recovered_from(ground: Ground, record_property: Record) -> None:
    cell = drawn("silence").choice([cell for scenario in SCENARIOS for cell in silences(scenario)])
    assert run(ground, cell, record_property) in SETTLED


def test_every_action_type_has_a_scenario() -> None:
    missing = TYPES.keys() - {scenario.action_type for scenario in SCENARIOS}
    assert not missing, f"add scenarios of {', '.join(sorted(missing))} to ooda_dagster_tests/crash/scenarios.py"
