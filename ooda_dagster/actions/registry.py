"""The action types that exist."""

from __future__ import annotations

from ooda_dagster.actions.analyze import Analyze
from ooda_dagster.actions.base import ActionType
from ooda_dagster.actions.bind_concept import BindConcept
from ooda_dagster.actions.create_index import CreateIndex
from ooda_dagster.actions.create_index_partitioned import CreatePartitionedIndex
from ooda_dagster.actions.create_statistics import CreateStatistics
from ooda_dagster.actions.set_statistics_target import SetStatisticsTarget

_ALL: tuple[ActionType, ...] = (
    CreateIndex(),
    CreatePartitionedIndex(),
    Analyze(),
    CreateStatistics(),
    SetStatisticsTarget(),
    BindConcept(),
)
TYPES: dict[str, ActionType] = {kind.name: kind for kind in _ALL}
