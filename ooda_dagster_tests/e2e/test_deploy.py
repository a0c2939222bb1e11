"""Does the example deployment run: code location, webserver and daemon, beside somebody else's location?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
import yaml

from ooda_dagster.config import load_config
from ooda_dagster.core.settings import Mode
from ooda_dagster.embedded import Cluster
from ooda_dagster.embedded.files import free_port
from ooda_dagster_tests.defs.ground import NAME, Ground, busy_shop
from ooda_dagster_tests.e2e.dev import graphql
from ooda_dagster_tests.support import wait_until

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "docker-compose.yml").read_text())

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
#: Of the schema of compose files, what the example uses. Anything else is a mistake.
SCHEMA = {
    "type": "object",
    "required": ["services"],
    "additionalProperties": False,
    "patternProperties": {"^x-": {}},
    "properties": {
        "name": {"type": "string"},
        "volumes": {"type": "object", "additionalProperties": {"type": ["object", "null"]}},
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["image"],
                "additionalProperties": False,
                "properties": {
                    "build": _TEXTS,
                    "image": {"type": "string"},
                    "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
                    "environment": _TEXTS,
                    "command": {"type": "array", "items": {"type": "string"}},
                    "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}},
                    "volumes": {"type": "array", "items": {"type": "string"}},
                    "depends_on": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "properties": {
                                "condition": {
                                    "enum": ["service_started", "service_healthy", "service_completed_successfully"]
                                }
                            },
                            "additionalProperties": False,
                        },
                    },
                    "healthcheck": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "test": {"type": "array", "items": {"type": "string"}},
                            "interval": {"type": "string", "pattern": r"^\d+s$"},
                            "retries": {"type": "integer"},
                        },
                    },
                },
            },
        },
    },
}


def test_the_compose_file_is_one() -> None:
    jsonschema.validate(COMPOSE, SCHEMA)
    services = COMPOSE["services"]
    mounted = {v.split(":")[0] for s in services.values() for v in s.get("volumes", []) if not v.startswith(".")}
    assert mounted == set(COMPOSE["volumes"])
    files = [v.split(":")[0] for s in services.values() for v in s.get("volumes", []) if v.startswith(".")]
    assert all((ROOT / "deploy" / f).is_file() for f in files)
    assert all(name in services for s in services.values() for name in s.get("depends_on", {}))


def test_what_the_image_copies_is_there_and_no_secret_is_in_it() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.+)$", text, re.M):
        assert [part for part in line.split()[:-1] if not (ROOT / part).exists()] == []
    for file in (ROOT / "deploy").iterdir():
        assert not re.search(r"password\w*\s*[:=]\s*[a-z0-9]", file.read_text(), re.IGNORECASE), file.name


def test_the_configuration_of_the_image_loads() -> None:
    config = load_config(ROOT / "deploy" / "ooda.toml")
    references = {str(config.ledger), *(str(t.observe) for t in config.targets.values())}
    wanted = {reference.removeprefix("env:") for reference in references}
    given = {name: set(COMPOSE["services"][name]["environment"]) for name in ("code", "webserver", "daemon")}
    assert wanted <= given["code"]
    assert not wanted & (given["webserver"] | given["daemon"])  # what does not connect holds no password of it


class Deployment:
    """The services' commands as processes, on an instance with an empty dagster.yaml."""

    def __init__(self, ground: Ground, home: Path) -> None:
        self.home = home
        self.code_port, self.web_port = free_port(), free_port()
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DAGSTER_")}
        self.environment = {
            **clean,
            **ground.environment,
            "DAGSTER_HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        (home / "dagster.yaml").touch()
        workspace = yaml.safe_load((ROOT / "deploy" / "workspace.yaml").read_text())
        workspace["load_from"][0]["grpc_server"].update(host="127.0.0.1", port=self.code_port)
        theirs = {"module_name": "ooda_dagster_tests.defs.theirs", "attribute": "theirs", "location_name": "theirs"}
        workspace["load_from"].append({"python_module": theirs})
        (home / "workspace.yaml").write_text(yaml.safe_dump(workspace))

    def start(self, service: str) -> subprocess.Popen[bytes]:
        ports: dict[str, str] = {"4000": str(self.code_port), "3000": str(self.web_port), "0.0.0.0": "127.0.0.1"}
        argv: list[str] = [ports.get(word, word) for word in map(str, COMPOSE["services"][service]["command"])]
        with open(self.home / f"{service}.log", "ab") as log:
            return subprocess.Popen(
                argv, cwd=self.home, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def ask(self, query: str, **variables: Any) -> Any:
        return graphql(f"http://127.0.0.1:{self.web_port}", query, **variables)

    def loaded(self) -> dict[str, str]:
        try:
            found = self.ask(
                "{ workspaceOrError { ... on Workspace { locationEntries "
                "{ name locationOrLoadError { __typename } } } } }"
            )
        except OSError:
            return {}
        entries = found["workspaceOrError"]["locationEntries"]
        return {e["name"]: (e["locationOrLoadError"] or {}).get("__typename", "") for e in entries}


@pytest.fixture
def deployment(target_server: Cluster, ledger_server: Cluster, tmp_path: Path) -> Iterator[tuple[Deployment, Ground]]:
    home = tmp_path / "their_dagster"
    home.mkdir()
    with ExitStack() as stack:
        ground = stack.enter_context(busy_shop(target_server, ledger_server, tmp_path, Mode.AUTO))
        made = Deployment(ground, home)
        started = [made.start(name) for name in ("code", "webserver", "daemon")]

        def end() -> None:
            family = [p for process in started for p in _family(process.pid)]
            for process in family:
                process.terminate()
            _, left = psutil.wait_procs(family, timeout=15)
            for process in left:
                process.kill()

        stack.callback(end)
        yield made, ground


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


_LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_SWITCHES = """{ repositoriesOrError { ... on RepositoryConnection { nodes { location { name }
  schedules { name scheduleState { status } } sensors { name sensorState { status } } } } } }"""


@pytest.mark.slow
@pytest.mark.e2e
def test_a_cycle_that_the_ui_launches_runs_beside_their_location(deployment: tuple[Deployment, Ground]) -> None:
    made, ground = deployment
    both = {"ooda_dagster": "RepositoryLocation", "theirs": "RepositoryLocation"}
    wait_until(lambda: made.loaded() == both, timeout_s=120, what="loading both locations")

    nodes = made.ask(_SWITCHES)["repositoriesOrError"]["nodes"]
    states = [s["scheduleState"]["status"] for n in nodes for s in n["schedules"]]
    states += [s["sensorState"]["status"] for n in nodes for s in n["sensors"]]
    assert len(states) >= 5
    assert set(states) == {"STOPPED"}

    ground.loop.register()
    made.ask(
        'mutation { addDynamicPartition(partitionsDefName: "ooda_targets", partitionKey: "shop", repositorySelector: '
        '{ repositoryName: "__repository__", repositoryLocationName: "ooda_dagster" }) { __typename } }'
    )
    params = {
        "selector": {
            "repositoryName": "__repository__",
            "repositoryLocationName": "ooda_dagster",
            "pipelineName": "ooda_cycle",
        },
        "mode": "default",
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": NAME}]},
    }
    # Twice at once, with no limit on this instance.
    launched = [made.ask(_LAUNCH, params=params)["launchRun"] for _ in range(2)]
    assert [one["__typename"] for one in launched] == ["LaunchRunSuccess"] * 2

    def ended() -> list[dict[str, Any]]:
        runs = made.ask("{ runsOrError { ... on Runs { results { status tags { key value } } } } }")
        results: list[dict[str, Any]] = runs["runsOrError"]["results"]
        return results if {r["status"] for r in results} <= {"SUCCESS", "FAILURE", "CANCELED"} else []

    runs = wait_until(ended, timeout_s=180, what="both runs")
    assert [run["status"] for run in runs] == ["SUCCESS"] * 2
    skipped = [tag["value"] for run in runs for tag in run["tags"] if tag["key"] == "ooda/skipped"]
    assert len(ground.cycles) + len(skipped) == 2
    assert {c.state for c in ground.cycles} == {"finished"}
    assert len([name for name in ground.database.indexes() if name.startswith("ooda_")]) == 1
