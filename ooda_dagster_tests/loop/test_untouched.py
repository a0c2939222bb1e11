"""Is a target that the loop may not change provably untouched?"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.embedded.binaries import find_binaries
from ooda_dagster.loop.act import act
from ooda_dagster.loop.by_hand import propose
from ooda_dagster.loop.context import Loop
from ooda_dagster.loop.decide import decide
from ooda_dagster.loop.learn import learn
from ooda_dagster.loop.verify import verify
from ooda_dagster_tests.loop.ground import logged, turn
from ooda_dagster_tests.support import Database


def schema_of(database: Database) -> str:
    """The schema dump, without the token that is another one in each dump."""
    program = Path(find_binaries().directory) / "pg_dump"
    argv = [str(program), "--schema-only", "--dbname", database.superuser]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    return "\n".join(line for line in done.stdout.splitlines() if "restrict" not in line)


@contextmanager
def untouched(database: Database, *, looks: bool = True) -> Iterator[None]:
    """The block must change nothing, and ask for no change. looks: it must have asked for something."""
    before = schema_of(database)
    with logged(database) as statements:
        yield
        assert len(statements.lines) > 10 or not looks
        assert statements.writes == []
    assert schema_of(database) == before


def test_the_log_tells_a_write(busy: Database) -> None:
    """What the other tests rest on."""
    with logged(busy) as statements:
        busy.execute("create temp table a (b int)")
        busy.execute("select 1")
        assert len(statements.writes) == 1


def test_whole_cycles_in_propose_change_nothing(busy: Database, shop: Callable[..., Loop]) -> None:
    loop = shop(Mode.PROPOSE)
    with untouched(busy):
        first, second = turn(loop), turn(loop)
    assert [d.state for d in (*first.decisions.decisions, *second.decisions.decisions)] == [State.PROPOSED] * 2


def test_an_approval_in_propose_changes_nothing(busy: Database, shop: Callable[..., Loop]) -> None:
    loop = shop(Mode.PROPOSE)
    with untouched(busy):
        action = propose(loop, "create index on orders (customer)", by="ann", approve=True)
        turn(loop)
        verify(loop, at_once=True)
    assert loop.ledger.actions.get(action.action_id).state == State.APPROVED


def test_a_dry_run_in_auto_changes_nothing(busy: Database, shop: Callable[..., Loop]) -> None:
    loop = shop(Mode.AUTO)
    with untouched(busy):
        ran = turn(loop, dry_run=True)
    assert [r.note for r in ran.results.results] == ["dry run: nothing is changed"]
    assert ran.results.executed_actions == 0


def test_a_dry_run_in_auto_undoes_nothing_either(busy: Database, shop: Callable[..., Loop]) -> None:
    """A verdict that is due may undo its action: not in a dry run."""
    loop = shop(Mode.AUTO)
    (result,) = turn(loop).results.results
    late = replace(loop, clock=lambda: loop.clock().replace(year=loop.clock().year + 1))
    with untouched(busy):
        turn(late, dry_run=True)
    assert loop.ledger.actions.get(result.action_id).state == State.VERIFYING


@pytest.mark.parametrize("approved", [False, True])
def test_replayed_messages_in_auto_change_nothing(busy: Database, shop: Callable[..., Loop], approved: bool) -> None:
    loop = shop(Mode.AUTO)
    ran = turn(loop, dry_run=True)
    if approved:
        propose(loop, "create index on orders (placed)", by="ann", approve=True)
    with untouched(busy, looks=False):
        decisions = decide(loop, ran.hypotheses.model_copy(update={"replayed": True}))
        results = act(loop, ran.decisions.model_copy(update={"replayed": True}))
        delta = learn(loop, results)
    assert decisions.decisions == []
    assert (decisions.replayed, results.replayed, delta.replayed) == (True, True, True)
    assert results.executed_actions == 0
