"""Can anything be done twice by clicking? Materialising by hand, re-execution, two cycles at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from ooda_dagster.core.messages import ActionResults, Hypotheses
from ooda_dagster.core.settings import Mode
from ooda_dagster.embedded import Cluster
from ooda_dagster.loop import by_hand
from ooda_dagster.loop.context import utc_now
from ooda_dagster_tests.defs.ground import NAME, PHASES, Ground, busy_shop

MakeShop = Callable[[Mode], Ground]


@pytest.fixture(scope="module")
def acting(
    target_server: Cluster, ledger_server: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    """A shop in mode auto, after a cycle that built an index. One for all tests: what they do changes nothing."""
    with busy_shop(target_server, ledger_server, tmp_path_factory.mktemp("acting"), Mode.AUTO) as made:
        ran = made.cycle()
        assert ran.results is not None
        assert ran.results.executed_actions == 1
        yield made


def state_of(ground: Ground) -> tuple[Any, ...]:
    """What a second deed would change: indexes with their oids, and the journal."""
    indexes = ground.database.execute("select indexrelid, indexrelid::regclass::text from pg_index order by 1")
    actions = ground.ledger.actions.list(NAME)
    return (
        indexes,
        [(a.action_id, a.state) for a in actions],
        [len(ground.ledger.actions.history(a.action_id)) for a in actions],
    )


def materialized(result: dg.JobExecutionResult) -> int:
    return sum(e.event_type_value == "ASSET_MATERIALIZATION" for e in result.all_events)


def test_re_execution_of_a_run_that_acted_acts_on_nothing(acting: Ground) -> None:
    before, first = state_of(acting), acting.cycles[0]
    result = acting.re_execute(first.run_id)
    assert result.success
    assert materialized(result) == len(PHASES)
    assert state_of(acting) == before
    assert [c.analysis_id for c in acting.cycles] == [first.analysis_id]


@pytest.mark.slow
def test_re_execution_after_the_index_was_rolled_back_does_not_build_it_again(shop: MakeShop) -> None:
    acting = shop(Mode.AUTO)
    acting.cycle()
    (action,) = acting.ledger.actions.list(NAME)
    by_hand.rollback(acting.loop, action, by="analyst")
    before = state_of(acting)
    assert acting.re_execute(acting.cycles[0].run_id, ["decisions", "action_results"]).success
    assert state_of(acting) == before


@pytest.mark.parametrize("phase", ["hypotheses", "action_results"])
def test_an_asset_made_by_hand_reads_the_latest_message_and_acts_on_nothing(acting: Ground, phase: str) -> None:
    before = state_of(acting)
    result = acting.run([phase])
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert "nothing was acted on" in str(event.materialization.metadata["replayed"].value)
    kind = Hypotheses if phase == "hypotheses" else ActionResults
    stored = acting.ledger.messages.load(kind, f"replay-{result.run_id}")
    assert stored is not None
    assert stored.replayed
    assert state_of(acting) == before
    assert len(acting.cycles) == 1


def test_a_replay_is_not_the_latest_message(acting: Ground) -> None:
    original = acting.ledger.messages.latest(Hypotheses, NAME)
    acting.run(["hypotheses"])
    assert acting.ledger.messages.latest(Hypotheses, NAME) == original


def test_an_asset_made_by_hand_before_any_cycle_says_what_to_run_first(shop: MakeShop) -> None:
    result = shop(Mode.PROPOSE).run(["decisions"])
    assert not result.success
    failure = next(e for e in result.all_node_events if e.is_step_failure)
    assert "run the job ooda_cycle first" in str(failure.step_failure_data.error)


def test_a_second_cycle_while_one_runs_is_skipped_by_name(shop: MakeShop) -> None:
    made = shop(Mode.PROPOSE)
    running = made.ledger.cycles.begin(
        made.loop.name,
        due_at=utc_now() - timedelta(minutes=1),
        run_id="other",
        trigger="hand",
        mode="propose",
        now=utc_now(),
    )
    result = made.run()
    assert result.success
    assert result.get_asset_materialization_events() == []
    assert f"a cycle of {NAME} runs since" in made.run_tags(result.run_id)["ooda/skipped"]
    assert running.analysis_id in made.run_tags(result.run_id)["ooda/skipped"]


def test_a_due_time_is_taken_once_whoever_starts_it(shop: MakeShop) -> None:
    made = shop(Mode.PROPOSE)
    due = utc_now().replace(second=0, microsecond=0).isoformat()
    first = made.run(tags={"ooda/due_at": due})
    second = made.run(tags={"ooda/due_at": due})
    assert len(first.get_asset_materialization_events()) == len(PHASES)
    assert second.get_asset_materialization_events() == []
    assert "already ran" in made.run_tags(second.run_id)["ooda/skipped"]


def test_observing_alone_leaves_no_cycle_open(shop: MakeShop) -> None:
    made = shop(Mode.PROPOSE)
    made.loop.register()
    before = made.ledger.cycles.queue([NAME])
    assert made.run(["observations"]).success
    (only,) = made.cycles
    assert (only.state, only.next_due_reason) == ("finished", "the run was asked for no more than observations")
    assert made.ledger.cycles.queue([NAME]) == before


@pytest.mark.slow
def test_a_dry_run_stays_dry_when_it_is_executed_again(shop: MakeShop) -> None:
    made = shop(Mode.AUTO)
    ran = made.cycle(dry_run=True)
    before = state_of(made)
    assert not any(name.startswith("ooda_") for name in made.database.indexes())
    assert made.re_execute(ran.run_id).success
    assert state_of(made) == before


@pytest.mark.slow
def test_the_definitions_of_a_mode_that_only_proposes_touch_nothing(shop: MakeShop) -> None:
    made = shop(Mode.PROPOSE)
    indexes = made.database.indexes()
    assert made.run().success
    assert made.run(["action_results"]).success
    assert made.database.indexes() == indexes
