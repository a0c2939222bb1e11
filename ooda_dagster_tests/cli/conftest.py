"""Runs `ooda`: in this process where what counts is the answer, as a process of its own where that counts too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from ooda_dagster.cli.app import app
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster.ledger.tables import metadata
from ooda_dagster_tests.support import Database, dsn_of, fresh_ledger

#: A password that must be found nowhere.
MARKER = "m4rker-secret"


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Stdout, which must be JSON and nothing else."""
        found = json.loads(self.out)
        assert found["schema_version"] == 1
        return found


Run = Callable[..., Ran]


@pytest.fixture
def ooda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`ooda("doctor", "--json")` in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ran:
        done = CliRunner().invoke(app, list(arguments), prog_name="ooda")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ran(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def process(tmp_path: Path, home: Path) -> Run:
    """The same as a process."""

    def run(*arguments: str, **environment: str) -> Ran:
        done = subprocess.run(
            command(*arguments),
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ooda_dagster", *arguments]


@pytest.fixture(scope="session")
def one_ledger(ledger_server: Cluster) -> Iterator[Ledger]:
    with fresh_ledger(ledger_server) as opened:
        yield opened


@pytest.fixture
def ledger(one_ledger: Ledger) -> Ledger:
    """An empty ledger. It is one database for all tests here, emptied before each: making one takes longer."""
    names = ", ".join(f"{t.schema}.{t.name}" for t in metadata.sorted_tables)
    with one_ledger.engine.begin() as connection:
        connection.execute(sa.text(f"truncate {names}"))
    return one_ledger


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> Callable[..., None]:
    """Writes an ooda.toml with the target `shop` on the test's ledger: `configured(database, mode="approve")`.

    Without a database, the target is one that cannot be reached. requests: `requests.*` of the target, as a table.
    """

    def write(database: Database | None = None, *, mode: str = "propose", requests: str = "") -> None:
        dead = f"postgresql://nobody:{MARKER}@127.0.0.1:1/nothing"
        monkeypatch.setenv("TEST_LEDGER_URL", dsn_of(ledger))
        monkeypatch.setenv("TEST_OBSERVE_URL", database.observe if database else dead)
        monkeypatch.setenv("TEST_ACT_URL", database.act if database else dead)
        (tmp_path / "ooda.toml").write_text(
            f'[ledger]\nurl = "env:TEST_LEDGER_URL"\n[target.shop]\nmode = "{mode}"\nprofile = "short"\n'
            'observe = "env:TEST_OBSERVE_URL"\nact = "env:TEST_ACT_URL"\n' + (requests and f"requests = {requests}\n")
        )

    return write


@pytest.fixture
def reader(database: Database) -> Iterator[str]:
    """A role that may do nothing but log in, as a connection to the test's database."""
    role = f"reader_{uuid.uuid4().hex[:8]}"
    database.execute(f"create role {role} login password '{MARKER}'")
    yield database.cluster.dsn(database.name, user=role, password=MARKER)
    database.execute(f"reassign owned by {role} to postgres; drop owned by {role}; drop role {role}")


def role_of(dsn: str) -> str:
    return str(make_url(dsn).username)
