"""Do we live in somebody else's code location and instance, without a clash and as correctly as in our own?"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ooda_dagster.config import Config, Deployment, Reference, TargetConfig, load_config
from ooda_dagster.core.journal import State
from ooda_dagster.core.settings import Mode
from ooda_dagster.defs.build import build_definitions
from ooda_dagster.defs.names import names_of
from ooda_dagster_tests.defs import theirs
from ooda_dagster_tests.defs.ground import NAME, PHASES, Ground

OURS = [dg.AssetKey([theirs.PREFIX, "ooda", name]) for name in PHASES]
NOWHERE = Reference.literal("postgresql://nobody@127.0.0.1:1/none")
CONFIG = Config(NOWHERE, {"gone": TargetConfig("gone", NOWHERE)})
NAMES: dict[str, Any] = {
    "key_prefix": theirs.PREFIX,
    "group_prefix": "db_",
    "source_assets": theirs.SOURCE_ASSETS,
}


@pytest.fixture(scope="module")
def merged() -> dg.Definitions:
    return dg.Definitions.merge(theirs.theirs, build_definitions(CONFIG, **NAMES))


def upstream(defs: dg.Definitions, key: dg.AssetKey) -> set[dg.AssetKey]:
    return set(defs.resolve_asset_graph().get(key).parent_keys)


def test_the_merged_definitions_load_with_all_of_theirs_and_all_of_ours(merged: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(merged)  # raises where two clash
    both = (theirs.theirs, build_definitions(CONFIG, **NAMES))
    for kind in ("schedule_defs", "sensor_defs"):
        names = [[s.name for s in getattr(defs.get_repository_def(), kind)] for defs in (merged, *both)]
        assert sorted(names[0]) == sorted(names[1] + names[2])
    keys = [{spec.key for spec in defs.resolve_all_asset_specs()} for defs in (merged, *both)]
    assert keys[0] == keys[1] | keys[2]


def test_nothing_of_theirs_changes(merged: dg.Definitions) -> None:
    graph = merged.resolve_asset_graph()
    assert graph.get(dg.AssetKey("observations")).partitions_def is None
    assert graph.get(dg.AssetKey("statement_exports")).partitions_def == theirs.DAYS
    assert graph.get(dg.AssetKey(["warehouse", "catalogue"])).group_name == "ooda_act"
    assert merged.executor == dg.multiprocess_executor
    jobs = {job.name: job for job in merged.get_repository_def().get_all_jobs()}
    assert jobs["nightly"].executor_def == dg.multiprocess_executor
    assert set(jobs["nightly"].asset_layer.executable_asset_keys) == {
        dg.AssetKey("observations"),
        dg.AssetKey("decisions"),
    }


def test_our_jobs_keep_to_one_process_and_to_our_assets(merged: dg.Definitions) -> None:
    jobs = {job.name: job for job in merged.get_repository_def().get_all_jobs()}
    assert set(jobs["ooda_cycle"].asset_layer.executable_asset_keys) == set(OURS)
    assert all(job.executor_def == dg.in_process_executor for name, job in jobs.items() if name.startswith("ooda_"))


def test_all_schedules_and_sensors_are_stopped(merged: dg.Definitions) -> None:
    repository = merged.get_repository_def()
    assert {s.default_status.value for s in (*repository.schedule_defs, *repository.sensor_defs)} == {"STOPPED"}


def test_groups_of_ours_are_apart(merged: dg.Definitions) -> None:
    groups = {spec.key: spec.group_name for spec in merged.resolve_all_asset_specs()}
    assert {g for key, g in groups.items() if key.path[0] == theirs.PREFIX} >= {"db_ooda_observe", "db_ooda_act"}
    assert all(str(g).startswith("db_") for key, g in groups.items() if key.path[0] == theirs.PREFIX)


def test_lineage_leads_through_their_assets(merged: dg.Definitions) -> None:
    assert upstream(merged, OURS[0]) == {
        dg.AssetKey("statement_exports"),
        dg.AssetKey(["warehouse", "catalogue"]),
        dg.AssetKey(["elsewhere", "requests"]),
    }
    for before, after in itertools.pairwise(OURS):
        assert upstream(merged, after) == {before}
    assert upstream(merged, dg.AssetKey("decisions")) == {dg.AssetKey("observations")}


def test_a_source_asset_that_we_do_not_know_is_named() -> None:
    with pytest.raises(ValueError, match="no source asset statement; there are: statements"):
        build_definitions(CONFIG, source_assets={"statement": "x"})


def test_the_snippet_of_the_docs_gives_the_names_that_it_says() -> None:
    text = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
    (snippet,) = re.findall(r"```python\n(.+?)```", text, re.S)
    found: dict[str, Any] = {}
    exec(snippet, found)
    assert [name for name, value in found.items() if isinstance(value, dg.Definitions)] == ["defs"]
    groups = {spec.key.to_user_string(): spec.group_name for spec in found["defs"].resolve_all_asset_specs()}
    assert groups["tuning/ooda/observations"] == "db_ooda_observe"
    assert dg.AssetKey(["exports", "pg_stat_statements"]) in upstream(found["defs"], OURS[0])


def test_a_step_is_called_as_dagster_calls_it() -> None:
    """Keys may have characters that steps may not."""
    defs = build_definitions(CONFIG, key_prefix="my-team/v1")
    names = names_of(Deployment(), "my-team/v1")
    assert names.op("observations") == defs.get_assets_def(names.key("observations")).op.name


def test_names_may_stand_in_the_configuration() -> None:
    named = Deployment(("tuning",), "db_", {"catalogue": ("warehouse", "catalogue")})
    defs = build_definitions(Config(NOWHERE, CONFIG.targets, deployment=named))
    keys = {spec.key.to_user_string(): spec.group_name for spec in defs.resolve_all_asset_specs()}
    assert keys["tuning/ooda/observations"] == "db_ooda_observe"
    assert "tuning/target/catalogue" not in keys
    # What Python says goes before what the file says.
    plain = build_definitions(Config(NOWHERE, CONFIG.targets, deployment=named), key_prefix="")
    assert dg.AssetKey(["ooda", "observations"]) in {spec.key for spec in plain.resolve_all_asset_specs()}


class Location:
    """Their merged location on their bare instance, used from processes of its own."""

    def __init__(self, ground: Ground, home: Path) -> None:
        self.ground, self.home = ground, home
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("DAGSTER_")},
            **ground.environment,
            "DAGSTER_HOME": str(home),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        names = f'[dagster]\nkey_prefix = "{theirs.PREFIX}"\ngroup_prefix = "db_"\n'
        path = Path(ground.environment["OODA_CONFIG"])
        path.write_text(path.read_text() + names)

    def start(self, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", *argv],
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *argv: str) -> str:
        process = self.start(*argv)
        words, _ = process.communicate(timeout=240)
        assert process.returncode == 0, words[-4000:]
        return words

    def dagster(self, *argv: str) -> tuple[str, ...]:
        return ("dagster", *argv, "-m", "ooda_dagster_tests.defs.theirs", "-a", "merged")

    def job(self) -> tuple[str, ...]:
        return self.dagster("job", "execute", "-j", "ooda_cycle", "--tags", json.dumps({"dagster/partition": NAME}))

    @property
    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.home))

    def materialized(self) -> set[dg.AssetKey]:
        with self.instance as instance:
            return {key for key in instance.all_asset_keys() if instance.get_materialized_partitions(key) & {NAME}}


@pytest.fixture
def location(shop: Callable[[Mode], Ground], tmp_path: Path) -> Location:
    home = tmp_path / "their_dagster"
    home.mkdir()
    (home / "dagster.yaml").touch()
    ground = shop(Mode.AUTO)
    ground.runner.ooda.ledger  # noqa: B018 migrated before processes race for it
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_dynamic_partitions("ooda_targets", [NAME])
    return Location(ground, home)


def built(ground: Ground) -> list[str]:
    return [name for name in ground.database.indexes() if name.startswith("ooda_")]


@pytest.mark.slow
def test_a_cycle_runs_whole_on_their_instance_and_acts_once(location: Location) -> None:
    ground = location.ground
    location.run(*location.job())
    (first,) = ground.cycles
    assert first.state == "finished"
    assert location.materialized() == set(OURS)
    (index,) = built(ground)
    assert index in (ground.ledger.actions.list(NAME)[0].object_name or "")

    # The command line takes the names from the configuration: its cycle is in the same lineage.
    location.run("ooda_dagster", "cycle", "--target", NAME, "--json")
    assert [c.state for c in ground.cycles] == ["finished"] * 2
    assert location.materialized() == set(OURS)
    assert built(ground) == [index]


@pytest.mark.slow
def test_of_two_runs_at_once_one_runs_and_the_other_is_skipped_by_name(location: Location) -> None:
    ground = location.ground
    both = [location.start(*location.job()) for _ in range(2)]
    for process in both:
        words, _ = process.communicate(timeout=240)
        assert process.returncode == 0, words[-4000:]
    with location.instance as instance:
        runs = [record.dagster_run for record in instance.get_run_records()]
    skipped = [run.tags["ooda/skipped"] for run in runs if "ooda/skipped" in run.tags]
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 2
    # They may come one after the other on a slow machine; then neither stands in the other's way.
    assert len(ground.cycles) + len(skipped) == 2
    assert all(f"a cycle of {NAME} runs since" in words for words in skipped)
    assert len(built(ground)) == 1


@pytest.mark.slow
def test_assets_picked_in_the_ui_run_with_their_executor_a_process_each(location: Location) -> None:
    """Their default executor is the multiprocess one: every phase in a process of its own."""
    ground = location.ground
    keys = ",".join(key.to_user_string() for key in OURS)
    words = location.run(*location.dagster("asset", "materialize", "--select", keys, "--partition", NAME))
    assert words.count("Launching subprocess for") >= len(OURS)
    (only,) = ground.cycles
    assert only.state == "finished"
    assert location.materialized() == set(OURS)
    assert len(built(ground)) == 1
    (action,) = ground.ledger.actions.list(NAME)
    assert action.state == State.VERIFYING
    # One asset alone is a replay here too.
    location.run(*location.dagster("asset", "materialize", "--select", keys.split(",")[3], "--partition", NAME))
    assert len(built(ground)) == len(ground.cycles) == 1


def test_the_configuration_with_names_loads(tmp_path: Path) -> None:
    file = tmp_path / "ooda.toml"
    file.write_text(
        '[dagster]\nkey_prefix = "a/b"\ngroup_prefix = "db_"\n[dagster.source_assets]\nstatements = "w/statements"\n'
        '[target.t]\nobserve = "env:X"\n'
    )
    assert load_config(file).deployment == Deployment(("a", "b"), "db_", {"statements": ("w", "statements")})
