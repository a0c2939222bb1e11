"""Does one turn of the loop find the missing index of a real workload, build it, and say what it did and why?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.ledger import Ledger
from ooda_dagster.loop.context import Loop
from ooda_dagster_tests.loop.ground import Turn, make_loop, turn
from ooda_dagster_tests.support import Database, work


@pytest.fixture(scope="module")
def acted(busy: Database, books: Ledger, home: Path) -> Iterator[tuple[Loop, Turn]]:
    """A loop in mode auto after its first cycle. To be looked at only."""
    work(busy)
    loop = make_loop(busy, books, home, Mode.AUTO)
    ran = turn(loop)
    yield loop, ran
    for result in ran.results.results:
        for statement in result.undo if result.action_status == "Executed" else ():
            busy.execute(statement)


def test_the_observation_shows_the_heaviest_statement_first(acted: tuple[Loop, Turn]) -> None:
    heaviest = acted[1].observation.statements[0]
    assert "from orders where customer = $" in heaviest.text
    assert heaviest.share > 0.5
    assert heaviest.calls >= 60


def test_the_observation_shows_server_load_and_levels(acted: tuple[Loop, Turn]) -> None:
    seen = acted[1].observation
    assert (seen.server["tables"], seen.server["observing_levels"]) == (1, [1, 2])
    assert seen.load["database_mb"] > 5
    assert seen.blind_spots == []


def test_the_missing_index_is_found_priced_and_explained(acted: tuple[Loop, Turn]) -> None:
    (found,) = acted[1].hypotheses.hypotheses
    assert found.identity == "index ON public.orders USING btree (customer)"
    assert found.undo == [f"DROP INDEX CONCURRENTLY public.{found.object_name}"]
    assert found.gain_pct > 50
    assert found.bytes > 100_000
    assert ["customer" in s.text for s in found.serves] == [True]
    assert "clone" in acted[1].hypotheses.backend


def test_it_is_allowed_with_the_rule_that_spoke(acted: tuple[Loop, Turn]) -> None:
    (decision,) = acted[1].decisions.decisions
    assert decision.state == State.APPROVED
    assert decision.rule.startswith("mode auto, priority")


def test_it_is_built_and_told_with_its_statements(acted: tuple[Loop, Turn], busy: Database) -> None:
    (result,) = acted[1].results.results
    assert (result.action_status, result.state) == ("Executed", State.VERIFYING)
    assert result.executed_actions[0].startswith("CREATE INDEX CONCURRENTLY")
    assert result.execution_time_ms > 0
    assert acted[1].results.executed_actions == 1
    assert len(busy.indexes()) == 2


def test_learning_waits_for_the_open_verdict(acted: tuple[Loop, Turn]) -> None:
    delta = acted[1].delta
    assert (delta.delay_minutes, delta.next_due_reason) == (30, "verification open")
    assert [row.state for row in delta.open] == [State.VERIFYING]
    assert delta.outcomes == []
    assert delta.next_due_at.second == 0


def test_the_next_turn_does_not_propose_it_again(acted: tuple[Loop, Turn]) -> None:
    again = turn(acted[0])
    assert again.hypotheses.hypotheses == []
    assert len(acted[0].ledger.actions.list(acted[0].name)) == 1
