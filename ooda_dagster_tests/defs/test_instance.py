"""Does our dagster.yaml open PostgreSQL where its URL is known, with a named driver, and files where it is not?"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.storage.runs import SqliteRunStorage
from dagster_postgres import PostgresRunStorage

from ooda_dagster.config import Config
from ooda_dagster.defs.instance import open_instance, use_instance
from ooda_dagster.defs.runner import Runner
from ooda_dagster.embedded import Cluster
from ooda_dagster.ledger import Ledger
from ooda_dagster_tests.defs.ground import NAME, PHASES, config_of
from ooda_dagster_tests.support import Database

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A home of our own, and nothing left of what `use_instance` sets."""
    for name in ("DAGSTER_HOME", "OODA_DAGSTER_PG_URL", "OODA_RUNNING", "OODA_CONFIG"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("OODA_HOME", str(tmp_path))
    return monkeypatch


@pytest.fixture
def storage_url(ledger_server: Cluster) -> Iterator[str]:
    """An empty database for Dagster, by a URL that names its driver."""
    name = f"dagster_{uuid.uuid4().hex[:12]}"
    ledger_server.create_database(name)
    yield ledger_server.dsn(name).replace("postgresql://", "postgresql+psycopg2://", 1)
    ledger_server.drop_database(name)


@pytest.fixture
def config(database: Database, ledger: Ledger) -> Config:
    return config_of(database, ledger)


def test_a_cycle_runs_on_postgres_storage(environment: pytest.MonkeyPatch, storage_url: str, config: Config) -> None:
    environment.setenv("OODA_DAGSTER_PG_URL", storage_url)
    with open_instance(config) as instance:
        ran = Runner(config, instance).cycle(NAME, trigger="hand")
        run = instance.get_run_by_id(ran.run_id)
        assert run is not None
        assert run.status == dg.DagsterRunStatus.SUCCESS
        assert isinstance(instance.run_storage, PostgresRunStorage)
    engine = sa.create_engine(storage_url)
    with engine.connect() as connection:
        assert engine.dialect.driver == "psycopg2"
        rows = connection.execute(sa.text("select count(*) from asset_keys")).scalar_one()
        events, size = connection.execute(
            sa.text("select count(*), sum(pg_column_size(e.*)) from event_logs e where run_id = :id"),
            {"id": ran.run_id},
        ).one()
    engine.dispose()
    assert rows >= len(PHASES)
    assert events <= 80
    assert size <= 150_000


def test_without_a_url_runs_are_kept_in_files_of_the_home(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    environment.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.run_storage, SqliteRunStorage)
    assert (tmp_path / "dagster" / "storage" / "history" / "runs.db").exists()


def test_the_instance_limits_runs_and_tells_nobody(environment: pytest.MonkeyPatch) -> None:
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    assert settings["telemetry"] == {"enabled": False}
    assert settings["nux"] == {"enabled": False}
    assert settings["run_monitoring"]["max_runtime_seconds"] > 0
    assert settings["run_retries"]["retry_on_asset_or_op_failure"] is False
    runs = settings["concurrency"]["runs"]
    assert runs["tag_concurrency_limits"] == [
        {"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1},
        {"key": "ooda/kind", "value": "history", "limit": 1},
        {"key": "dagster/backfill", "limit": 3},
    ]
    assert runs["max_concurrent_runs"] > 3  # a backfill leaves a slot to the cycles


def test_a_dagster_of_the_users_own_is_used_and_told_our_configuration(
    environment: pytest.MonkeyPatch, tmp_path: Path, config: Config
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    environment.setenv("DAGSTER_HOME", str(theirs))
    file = tmp_path / "other.toml"
    assert use_instance(Config(config.ledger, config.targets, file)) == theirs
    assert os.environ["OODA_CONFIG"] == str(file)
    assert list(theirs.iterdir()) == []
