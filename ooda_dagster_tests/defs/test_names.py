"""Do the definitions carry the names that others build on, and do they start nothing?"""

from __future__ import annotations

import ast
import inspect
import itertools
import socket
from pathlib import Path

import dagster as dg
import pytest

import ooda_dagster.defs
from ooda_dagster.config import Config, Deployment, Reference, TargetConfig
from ooda_dagster.definitions import defs
from ooda_dagster.defs.build import build_definitions
from ooda_dagster.defs.checks import make_checks
from ooda_dagster.defs.names import Names
from ooda_dagster_tests.defs.ground import PHASES, key

GROUPS = {
    "target/statements": "ooda_target",
    "target/catalogue": "ooda_target",
    "target/inference_requests": "ooda_target",
    "ooda/observations": "ooda_observe",
    "ooda/hypotheses": "ooda_decide",
    "ooda/decisions": "ooda_decide",
    "ooda/action_results": "ooda_act",
    "ooda/learning_deltas": "ooda_learn",
    "ooda/verdicts": "ooda_learn",
    "ooda/workload_days": "ooda_history",
}
REPOSITORY = defs.get_repository_def()
SPECS = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_the_definitions_are_valid_without_a_server_or_a_configuration() -> None:
    dg.Definitions.validate_loadable(defs)
    assert {"ooda_cycle", "ooda_verify"} <= {job.name for job in REPOSITORY.get_all_jobs()}


def test_definitions_of_an_unreachable_target_connect_to_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # it would hear who knocks, and never answers
        listener.setblocking(False)
        url = f"postgresql://nobody@127.0.0.1:{listener.getsockname()[1]}/none?connect_timeout=2"
        nowhere = Reference.literal(url)
        dg.Definitions.validate_loadable(build_definitions(Config(nowhere, {"gone": TargetConfig("gone", nowhere)})))
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_assets_have_their_keys_and_groups() -> None:
    assert {name: spec.group_name for name, spec in SPECS.items()} == GROUPS


def test_every_asset_is_partitioned_by_target_but_for_past_days() -> None:
    for name, spec in SPECS.items():
        if name == "ooda/workload_days":
            assert isinstance(spec.partitions_def, dg.DailyPartitionsDefinition)
            continue
        assert spec.partitions_def == dg.DynamicPartitionsDefinition(name="ooda_targets"), name


@pytest.mark.parametrize("name", GROUPS)
def test_every_asset_says_in_one_sentence_which_question_it_answers(name: str) -> None:
    description = SPECS[name].description or ""
    assert "?" in description
    assert 20 < len(description) < 140


def test_each_phase_reads_the_one_before() -> None:
    for before, after in itertools.pairwise(PHASES):
        assert {d.asset_key for d in SPECS[f"ooda/{after}"].deps} == {key(before)}


def test_a_run_never_spans_two_targets() -> None:
    for assets in defs.resolve_asset_graph().assets_defs:
        if assets.is_executable and not assets.check_keys:
            assert assets.backfill_policy == dg.BackfillPolicy.multi_run(1), assets.keys


def test_jobs_run_in_one_process_and_are_limited_in_time() -> None:
    jobs = {job.name: job for job in REPOSITORY.get_all_jobs()}
    for name, kind, priority in (
        ("ooda_cycle", "cycle", "10"),
        ("ooda_verify", "verify", "10"),
        ("ooda_act_approved", "act", "20"),
        ("ooda_history", "history", "-10"),
    ):
        assert jobs[name].executor_def == dg.in_process_executor
        assert jobs[name].tags["ooda/kind"] == kind
        assert jobs[name].tags["dagster/priority"] == priority
        assert 600 <= int(jobs[name].tags["dagster/max_runtime"]) <= 6 * 3600


def test_what_is_materialised_past_our_jobs_runs_in_one_process_too() -> None:
    assert REPOSITORY.get_job("__ASSET_JOB").executor_def == dg.in_process_executor


def test_jobs_hold_the_assets_of_their_name() -> None:
    assert set(defs.resolve_job_def("ooda_cycle").asset_layer.executable_asset_keys) == {key(p) for p in PHASES}
    assert set(defs.resolve_job_def("ooda_verify").asset_layer.executable_asset_keys) == {key("verdicts")}
    approved = defs.resolve_job_def("ooda_act_approved").asset_layer.executable_asset_keys
    assert set(approved) == {key("action_results")}
    assert set(defs.resolve_job_def("ooda_history").asset_layer.executable_asset_keys) == {key("workload_days")}


def test_checks_sit_on_their_assets_and_only_one_blocks() -> None:
    found = {
        (spec.asset_key.path[-1], spec.name): spec.blocking
        for checks in defs.resolve_asset_graph().assets_defs
        for spec in checks.check_specs
    }
    assert found == {
        ("observations", "journal_matches_catalogue"): True,
        ("action_results", "no_failed_action"): False,
        ("learning_deltas", "no_proven_regression"): False,
        ("observations", "target_fully_visible"): False,
        ("learning_deltas", "loop_is_alive"): False,
    }


def test_a_cycle_leaves_out_the_check_that_tells_of_cycles_that_do_not_run() -> None:
    graph = defs.resolve_job_def("ooda_cycle").asset_layer.asset_graph
    assert {k.name for k in graph.asset_check_keys} == {
        "journal_matches_catalogue",
        "target_fully_visible",
        "no_failed_action",
        "no_proven_regression",
    }


def test_checks_and_what_starts_runs_say_what_they_are_for() -> None:
    checks = [spec for checks in defs.resolve_asset_graph().assets_defs for spec in checks.check_specs]
    told: list[tuple[str, str | None]] = [(c.name, c.description) for c in checks]
    told += [(s.name, s.description) for s in (*REPOSITORY.schedule_defs, *REPOSITORY.sensor_defs)]
    told += [(j.name, j.description) for j in REPOSITORY.get_all_jobs() if j.name.startswith("ooda_")]
    for name, description in told:
        assert 20 < len(description or "") < 140, name


def test_every_asset_has_its_kind_and_nobody_owns_it_by_default() -> None:
    for name, spec in SPECS.items():
        assert spec.kinds == {"postgres"}, name
        assert list(spec.owners) == [], name


def test_owners_are_those_of_the_configuration_or_of_the_call() -> None:
    nowhere = Reference.literal("postgresql://nobody@127.0.0.1:1/none")
    config = Config(nowhere, {"gone": TargetConfig("gone", nowhere)}, deployment=Deployment(owners=("team:data",)))
    for made, owners in (
        (build_definitions(config), ["team:data"]),
        (build_definitions(config, owners=["ann@example.org"]), ["ann@example.org"]),
        (build_definitions(config, owners=[]), []),
    ):
        assert {tuple(spec.owners) for spec in made.resolve_all_asset_specs()} == {tuple(owners)}


def test_loading_starts_nothing() -> None:
    schedules = {s.name: s.default_status for s in REPOSITORY.schedule_defs}
    sensors = {s.name: s.default_status for s in REPOSITORY.sensor_defs}
    assert schedules == dict.fromkeys(
        ("ooda_adaptive_delay", "ooda_due_looks", "ooda_past_days"), dg.DefaultScheduleStatus.STOPPED
    )
    names = (
        "ooda_sample_statements",
        "ooda_new_inferences",
        "ooda_requests",
        "ooda_approvals",
        "ooda_alerts",
        "ooda_failures",
    )
    assert sensors == dict.fromkeys(names, dg.DefaultSensorStatus.STOPPED)


def test_no_asset_returns_a_materialize_result() -> None:
    """Without a value it would skip handle_output, yet downstream would load: a message would be lost silently."""
    for module in Path(inspect.getfile(ooda_dagster.defs)).parent.rglob("*.py"):
        tree = ast.parse(module.read_text())
        names = {
            n.attr if isinstance(n, ast.Attribute) else n.id
            for n in ast.walk(tree)
            if isinstance(n, (ast.Attribute, ast.Name))
        }
        assert not names & {"MaterializeResult", "ObserveResult"}, module.name


def test_checks_take_no_value_of_an_asset() -> None:
    """A check with an asset as parameter would call load_input, and so receive a message."""
    for check in make_checks(Names()):  # its only inputs are orderings
        assert [repr(i.dagster_type).count("_Nothing") for i in check.op.ins.values()] == [1]


def test_run_config_can_neither_approve_nor_raise_a_mode() -> None:
    from ooda_dagster.defs.assets import CycleConfig
    from ooda_dagster.defs.history import HistoryConfig

    assert set(CycleConfig.model_fields) == {"dry_run", "lookback_hours", "scope", "tenant"}
    assert set(HistoryConfig.model_fields) == {"targets"}
