"""Makes the clone's planner go by the source's settings, and forget what newer versions learnt."""

from __future__ import annotations

from typing import Any

import psycopg

from ooda_dagster.core.errors import server_words
from ooda_dagster.embedded.clone.report import CloneReport
from ooda_dagster.embedded.clone.source import Source, trusted

#: Beside the category "Query Tuning".
_NAMES = (
    "work_mem",
    "hash_mem_multiplier",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "effective_io_concurrency",
    "maintenance_io_concurrency",
    "temp_buffers",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "default_text_search_config",
    "transform_null_equals",
)
#: Planner features by the version that brought them: off, where the source is older.
_NEWER = {
    "enable_presorted_aggregate": 16,
    "enable_group_by_reordering": 17,
    "enable_self_join_elimination": 18,
    "enable_distinct_reordering": 18,
}
_STATEMENT_TIMEOUT = "10s"


def copy_settings(source: Source, clone: psycopg.Connection[Any], report: CloneReport, search_path: list[str]) -> None:
    """Set the clone's session; what its version does not know is named."""
    for row in source.rows("read_settings", names=list(_NAMES)):
        try:
            clone.execute("select pg_catalog.set_config(%s, %s, false)", (row.name, row.value))
            report.settings[row.name] = row.value
        except psycopg.Error as error:
            report.blind[f"setting {row.name}"] = server_words(error)
    for name, version in _NEWER.items():
        if source.major < version:
            clone.execute(trusted(f"set {name} = off"))
            report.settings[name] = "off"
    fixed = {"jit": "off", "statement_timeout": _STATEMENT_TIMEOUT, "search_path": ", ".join(search_path)}
    for name, value in fixed.items():
        clone.execute("select pg_catalog.set_config(%s, %s, false)", (name, value))
