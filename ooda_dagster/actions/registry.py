"""The action types that exist."""

from __future__ import annotations

from ooda_dagster.actions.base import ActionType
from ooda_dagster.actions.create_index import CreateIndex
from ooda_dagster.actions.create_index_partitioned import CreatePartitionedIndex

TYPES: dict[str, ActionType] = {kind.name: kind for kind in (CreateIndex(), CreatePartitionedIndex())}
