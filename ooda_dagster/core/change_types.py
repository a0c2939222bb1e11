"""The kinds of change that the loop knows."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class HypothesisType(StrEnum):
    """What kind of change; names an action type, too."""

    INDEX = "IndexOptimization"
    PARTITIONED_INDEX = "PartitionedIndexOptimization"
    ANALYZE = "UpdateStatistics"
    EXTENDED_STATISTICS = "ExtendedStatistics"
    STATISTICS_TARGET = "StatisticsTarget"
    CONCEPT = "ConceptDiscovery"


def is_statistics(action_type: str) -> bool:
    """Whether it changes only what the planner knows."""
    return action_type in (
        HypothesisType.ANALYZE,
        HypothesisType.EXTENDED_STATISTICS,
        HypothesisType.STATISTICS_TARGET,
    )


def changes_statements(action_type: str) -> bool:
    """Whether it can make a statement faster or slower; what cannot is judged by no statement's work."""
    return action_type != HypothesisType.CONCEPT


def group_of(action_type: str, spec: Mapping[str, Any]) -> frozenset[str]:
    """The columns that statistics are kept of together; none for any other change.

    By a random sample a column more or less is found to hang together with the others: two groups of a table of which
    one holds the other are the same try.
    """
    return frozenset(spec.get("columns", ())) if action_type == HypothesisType.EXTENDED_STATISTICS else frozenset()


def makes_index(action_type: str) -> bool:
    """Whether limits of indexes concern it."""
    return action_type in (HypothesisType.INDEX, HypothesisType.PARTITIONED_INDEX)
