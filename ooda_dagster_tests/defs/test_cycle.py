"""What does a cycle leave in Dagster: every asset, every check, metadata that people can read, and little of it?"""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import dagster as dg
import pytest
from dagster._serdes import serialize_value

from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.loop import by_hand
from ooda_dagster_tests.defs.conftest import Acted
from ooda_dagster_tests.defs.ground import NAME, PHASES, Ground, records

TAGS = {f"ooda/{name}" for name in ("target", "analysis_id", "trigger", "mode", "due_at", "kind")}
_PICTURE = re.compile(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)")


def markdown(entry: dg.AssetMaterialization, name: str) -> str:
    value = entry.metadata[name]
    assert isinstance(value, dg.MarkdownMetadataValue)
    return str(value.value)


def test_every_phase_is_materialised_for_the_target(acted: Acted) -> None:
    for phase in PHASES:
        assert acted.materialization(phase).partition == NAME


def test_the_missing_index_was_built(acted: Acted) -> None:
    assert acted.ran.results is not None
    assert [r.state for r in acted.ran.results.results] == [State.VERIFYING]
    assert any(name.startswith("ooda_orders_customer") for name in acted.ground.database.indexes())


def test_checks_are_evaluated_for_the_partition(acted: Acted) -> None:
    events = [e.dagster_event for e in acted.events if e.dagster_event]
    evaluations = [
        e.asset_check_evaluation_data for e in events if e.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    assert {e.check_name: (e.passed, e.partition) for e in evaluations} == {
        "journal_matches_catalogue": (True, NAME),
        "no_failed_action": (True, NAME),
        "no_proven_regression": (True, NAME),
        "target_fully_visible": (True, NAME),
    }, "all but loop_is_alive, which no cycle can report"


def test_a_run_is_found_by_its_tags(acted: Acted) -> None:
    tags = acted.ground.run_tags(acted.ran.run_id)
    begun = acted.ran.cycle
    expected = {
        "ooda/target": NAME,
        "ooda/analysis_id": begun.analysis_id,
        "ooda/trigger": "hand",
        "ooda/mode": "auto",
        "ooda/kind": "cycle",
        "ooda/due_at": begun.due_at.isoformat(),
        "dagster/partition": NAME,
    }
    assert {name: tags.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("asset", "name", "columns"),
    [
        ("observations", "top_statements", ["ms per call", "calls", "share %", "statement"]),
        ("hypotheses", "proposed", ["priority", "what", "why", "gain %", "expected %", "bytes"]),
        ("decisions", "decisions", ["action", "state", "rule"]),
        ("action_results", "actions", ["action", "state", "sql", "undo", "lock_wait_ms", "duration_s", "journal_id"]),
    ],
)
def test_metadata_are_tables(acted: Acted, asset: str, name: str, columns: list[str]) -> None:
    rows = records(acted.materialization(asset).metadata[name])
    assert list(rows[0])[: len(columns)] == columns


@pytest.mark.parametrize("asset", PHASES)
def test_every_asset_begins_with_what_this_cycle_found(acted: Acted, asset: str) -> None:
    metadata = acted.materialization(asset).metadata
    assert next(iter(metadata)) == "summary"
    print(f"{asset}: {metadata['summary'].value}")
    assert str(metadata["summary"].value).endswith(".")


@pytest.mark.parametrize(("asset", "name"), [("observations", "where_the_time_goes"), ("hypotheses", "saving")])
def test_charts_are_small_valid_pictures(acted: Acted, asset: str, name: str) -> None:
    text = markdown(acted.materialization(asset), name)
    found = _PICTURE.search(text)
    assert found is not None
    assert len(text) < 30_000
    root = ElementTree.fromstring(base64.b64decode(found[1]))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall("{*}rect")) >= 2


def test_what_was_done_is_shown_with_its_undo(acted: Acted) -> None:
    (done,) = records(acted.materialization("action_results").metadata["actions"])
    assert "CREATE INDEX CONCURRENTLY ooda_orders_customer" in str(done["sql"])
    assert "DROP INDEX CONCURRENTLY public.ooda_orders_customer" in str(done["undo"])
    assert isinstance(done["journal_id"], int)


def test_when_the_loop_looks_again_is_shown_with_the_reason(acted: Acted) -> None:
    metadata = acted.materialization("learning_deltas").metadata
    assert metadata["next_due_reason"].value == "verification open"
    assert metadata["next_delay_min"].value == 30


def test_a_cycle_costs_dagster_at_most_80_rows_and_150_kb(acted: Acted) -> None:
    events = acted.events
    size = sum(len(serialize_value(event)) for event in events)
    print(f"{len(events)} event rows, {size:,} bytes")
    assert len(events) <= 80
    assert size <= 150_000


def test_no_literal_of_a_proposal_reaches_dagster(shop: Callable[[Mode], Ground]) -> None:
    made = shop(Mode.AUTO)
    ddl = "create index on orders (placed) where status = 'marker5471'"
    by_hand.propose(made.loop, ddl, by="analyst", approve=True)
    ran = made.cycle()
    assert ran.results is not None
    assert made.ledger.actions.list()[0].statements[0].endswith("'marker5471'"), "the journal has the exact statement"
    assert [s for r in ran.results.results for s in r.executed_actions if s.endswith("status = '?'")]
    logged = "".join(serialize_value(e) for e in made.instance.all_logs(ran.run_id))
    assert "WHERE status" in logged
    assert "marker5471" not in logged


@pytest.mark.slow
def test_a_run_from_the_ui_is_found_by_its_tags_too(shop: Callable[[Mode], Ground]) -> None:
    made = shop(Mode.AUTO)
    result = made.run()
    assert result.success
    (begun,) = made.cycles
    tags = made.run_tags(result.run_id)
    assert (tags["ooda/target"], tags["ooda/analysis_id"], tags["ooda/mode"]) == (NAME, begun.analysis_id, "auto")
    assert (begun.trigger, begun.state, begun.run_id) == ("hand", "finished", result.run_id)
    assert tags.keys() >= TAGS


@pytest.mark.slow
def test_a_look_and_a_replay_are_found_by_their_tags_too(shop: Callable[[Mode], Ground]) -> None:
    made = shop(Mode.PROPOSE)
    first = made.run()
    for asset, kind, analysis in (("hypotheses", "replay", "replay-"), ("learning_deltas", "replay", "replay-")):
        replayed = made.run([asset])
        assert replayed.success
        tags = made.run_tags(replayed.run_id)
        assert (tags["ooda/kind"], tags["ooda/analysis_id"]) == (kind, analysis + replayed.run_id)
        assert tags.keys() >= TAGS
    assert made.run_tags(first.run_id)["ooda/kind"] == "cycle"
    made.runner.verify(NAME)
    look = made.instance.get_runs(limit=1)[0]
    assert (look.job_name, look.tags["ooda/kind"], look.tags["ooda/mode"]) == ("ooda_verify", "verify", "propose")
    assert look.tags["ooda/analysis_id"] == f"verify-{look.run_id}"
    assert look.tags.keys() >= TAGS


def test_what_learning_receives_names_what_was_decided_on(acted: Acted) -> None:
    ran = acted.ran
    assert ran.results is not None
    assert ran.hypotheses is not None
    payload = ran.results.original_hypothesis_payload
    assert (payload["analysisId"], payload["hypothesesGenerated"]) == (ran.cycle.analysis_id, 1)
    assert [h["HypothesisId"] for h in payload["hypotheses"]] == [ran.hypotheses.hypotheses[0].hypothesis_id]
