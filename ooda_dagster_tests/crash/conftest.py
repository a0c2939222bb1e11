"""The ground of the crash matrix, and its table at the end of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

from ooda_dagster_tests.conftest import SEED
from ooda_dagster_tests.crash.ground import Ground, make_ground
from ooda_dagster_tests.crash.points import Fault, cells
from ooda_dagster_tests.crash.scenarios import SCENARIOS

#: Under this name a test reports its cells: (row, column, state).
CELL = "crash cell"
_LABEL = 110  # characters: statements are in some


@pytest.fixture(scope="package")
def ground(home: Path) -> Iterator[Ground]:
    """Two servers of this package's own, which die and are started again some hundred times."""
    with make_ground(home) as made:
        yield made


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Where was the worker, what died, and what state did the action end in?"""
    rows: dict[str, dict[str, str]] = {}
    for report in (r for outcome in ("passed", "failed") for r in terminalreporter.stats.get(outcome, ())):
        for name, value in report.user_properties:
            if name == CELL:
                row, column, state = value
                rows.setdefault(row, {})[column] = state
    if not rows:
        return
    terminalreporter.section("crash matrix")
    terminalreporter.line(f"points that are drawn: {SEED}={os.environ[SEED]} draws the same")
    order = {cell.row: n for n, cell in enumerate(cell for scenario in SCENARIOS for cell in cells(scenario))}
    rows = dict(sorted(rows.items(), key=lambda row: order.get(row[0], len(order))))  # a stable sort
    width = min(max(map(len, rows)), _LABEL) + 2
    terminalreporter.line(" " * width + "".join(f"{fault:>16}" for fault in Fault))
    for row, found in rows.items():
        label = row if len(row) <= _LABEL else f"{row[: _LABEL // 2]}...{row[3 - _LABEL // 2 :]}"
        terminalreporter.line(f"{label:{width}}" + "".join(f"{found.get(fault, ''):>16}" for fault in Fault))
    states = [state for found in rows.values() for state in found.values()]
    terminalreporter.line(f"{len(states)} crashes, {states.count('RED')} red")
