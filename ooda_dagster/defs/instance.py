"""Which Dagster instance do we run on? The user's, where DAGSTER_HOME is set, else ours in the embedded default."""

from __future__ import annotations

import os
import shutil
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

import dagster as dg

from ooda_dagster.config import Config, home_directory
from ooda_dagster.config.servers import dagster_dsn
from ooda_dagster.defs.running import RUNNING


def use_instance(config: Config, *, running: bool = False) -> Path:
    """Set the environment for a Dagster instance, and return its home. The embedded ledger must run.

    running: schedules and sensors are on, in the processes that are started with this environment.
    """
    os.environ[RUNNING] = "1" if running else ""
    # The processes that are started with this environment load the same configuration.
    os.environ["OODA_HOME"] = str(home_directory())
    if config.path is not None:
        os.environ["OODA_CONFIG"] = str(config.path.absolute())
    if os.environ.get("DAGSTER_HOME"):
        return Path(os.environ["DAGSTER_HOME"])
    home = home_directory() / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    with as_file(_instance_file()) as source:
        shutil.copyfile(source, home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    if not os.environ.get("OODA_DAGSTER_PG_URL"):
        os.environ["OODA_DAGSTER_PG_URL"] = dagster_dsn()
    return home


def open_instance(config: Config, *, running: bool = False) -> dg.DagsterInstance:
    """The instance to run on in this process."""
    use_instance(config, running=running)
    return dg.DagsterInstance.get()


def _instance_file() -> Traversable:
    """The packaged dagster.yaml, or, in a checkout, the one at its top."""
    packaged = files("ooda_dagster.defs") / "dagster.yaml"
    return packaged if packaged.is_file() else files("ooda_dagster") / ".." / "dagster.yaml"
