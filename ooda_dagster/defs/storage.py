"""Where does Dagster keep runs and events? In PostgreSQL, where its URL is known; else in files of its own.

So `dagster dev` and `dagster definitions validate` work in a checkout, where nothing is configured and no server runs.
Every process of Dagster imports it, also those that load no other code of ours: it stays small.
"""

from __future__ import annotations

import os
from typing import Any

from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from ooda_dagster.config.home import home_directory


class PostgresOrFiles(DagsterStorage, ConfigurableClass):
    """Opens one of Dagster's own storages. `postgres_url_variable` names the environment variable with the URL.

    The URL names its driver (postgresql+psycopg2://): SQLAlchemy 2.1 takes the bare form for psycopg 3, which
    dagster-postgres cannot speak.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {"postgres_url_variable": str}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> DagsterStorage:  # type: ignore[override]
        url = os.environ.get(config_value["postgres_url_variable"])
        if url:
            return DagsterPostgresStorage(url, inst_data=inst_data)
        return DagsterSqliteStorage.from_local(str(home_directory() / "dagster" / "storage"), inst_data=inst_data)
