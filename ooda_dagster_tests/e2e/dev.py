"""`ooda dev` as a person starts it: a process of its own, on a free port, with a home of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from ooda_dagster.config.servers import ledger_cluster
from ooda_dagster.embedded.files import free_port
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.support import room, wait_until

START_S = 120
_TERMINATE = """mutation ($run: String!) { terminateRun(runId: $run, terminatePolicy: SAFE_TERMINATE) {
    __typename ... on TerminateRunFailure { message } ... on PythonError { message } } }"""
_DELETE = "mutation ($run: String!) { deletePipelineRun(runId: $run) { __typename } }"
_BACKFILL = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"


class Dev:
    """A running `ooda dev`, or one that ended."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OODA_", "DAGSTER_"))}
        with open(home / "dev.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ooda_dagster", "dev", "--port", str(self.port)],
                cwd=home,
                env={**clean, "OODA_HOME": str(home / "ooda")},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A test run in the background ignores SIGINT, and would hand that on.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.home / "dev.log").read_text(errors="replace")

    def ask(self, query: str, **variables: Any) -> Any:
        return graphql(self.url, query, **variables)

    def cancel(self, run_id: str) -> None:
        """As the button of the UI does it."""
        done = self.ask(_TERMINATE, run=run_id)["terminateRun"]
        assert done["__typename"] == "TerminateRunSuccess", done

    def delete(self, run_id: str) -> None:
        done = self.ask(_DELETE, run=run_id)["deletePipelineRun"]
        assert done["__typename"] == "DeletePipelineRunSuccess", done

    def backfill(self, asset: str, partitions: list[str]) -> str:
        """Materialise partitions of an asset, as its page does; the id of the backfill."""
        params = {"assetSelection": [{"path": asset.split("/")}], "partitionNames": partitions, "fromFailure": False}
        done = self.ask(_BACKFILL, params=params)["launchPartitionBackfill"]
        assert done["__typename"] == "LaunchBackfillSuccess", done
        return done["backfillId"]

    def status(self, run_id: str) -> str:
        return next(run["status"] for run in self.runs() if run["id"] == run_id)

    def answers(self) -> bool:
        assert self.process.poll() is None, f"ooda dev ended:\n{self.log[-3000:]}"
        try:
            return bool(self.ask("{ version }"))
        except OSError:
            return False

    def runs(self, **tags: str) -> list[dict[str, Any]]:
        """Runs that carry all of `tags` (`__` for `/`), with their status."""
        wanted = {name.replace("__", "/"): value for name, value in tags.items()}
        found = []
        for run in self.ask(_RUNS)["runsOrError"]["results"]:
            has = {t["key"]: t["value"] for t in run["tags"]}
            if wanted.items() <= has.items():
                found.append({"id": run["runId"], "status": run["status"], "tags": has})
        return found

    def families(self, due_key: str) -> set[str]:
        """Runs of a due time; retries of a run count as one."""
        return {run["tags"].get("dagster/root_run_id", run["id"]) for run in self.runs(ooda__due_key=due_key)}

    def family(self) -> list[psutil.Process]:
        """The process and all that it started, servers of PostgreSQL too."""
        return working_below(self.home)

    def program(self, name: str) -> psutil.Process:
        (found,) = [p for p in psutil.Process(self.process.pid).children() if name in " ".join(p.cmdline())]
        return found


def graphql(url: str, query: str, **variables: Any) -> Any:
    """What a webserver answers."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


def working_below(home: Path) -> list[psutil.Process]:
    """Processes that were started for a home, by their environment or their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environment, argv = process.info["environ"] or {}, process.info["cmdline"] or ()
        if environment.get("OODA_HOME", "").startswith(str(home)) or str(home) in " ".join(argv):
            found.append(process)
    return found


def start(home: Path) -> Dev:
    """Start it, and wait until its UI answers."""
    dev = Dev(home)
    wait_until(dev.answers, timeout_s=START_S, what="the UI")
    return dev


@contextmanager
def dev_home() -> Iterator[Path]:
    """A home of its own. Whatever still runs in it at the end is killed."""
    with room("e2e") as home:
        try:
            yield home
        finally:
            for process in working_below(home):
                process.kill()


@contextmanager
def started(config: str = "") -> Iterator[Dev]:
    """A start in a home of its own, with `config` as its ooda.toml."""
    with dev_home() as home:
        if config:
            (home / "ooda.toml").write_text(config)
        yield start(home)


def ledger_of(home: Path) -> Ledger:
    """The ledger of an `ooda dev` that runs."""
    return Ledger(ledger_cluster(home / "ooda").dsn("ooda"))
