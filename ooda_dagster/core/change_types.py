"""The kinds of change that the loop knows."""

from __future__ import annotations

from enum import StrEnum


class HypothesisType(StrEnum):
    """What kind of change; names an action type, too."""

    INDEX = "IndexOptimization"
    PARTITIONED_INDEX = "PartitionedIndexOptimization"
    ANALYZE = "UpdateStatistics"
    EXTENDED_STATISTICS = "ExtendedStatistics"
    STATISTICS_TARGET = "StatisticsTarget"


def is_statistics(action_type: str) -> bool:
    """Whether it changes only what the planner knows."""
    return action_type in (
        HypothesisType.ANALYZE,
        HypothesisType.EXTENDED_STATISTICS,
        HypothesisType.STATISTICS_TARGET,
    )


def makes_index(action_type: str) -> bool:
    """Whether limits of indexes concern it."""
    return action_type in (HypothesisType.INDEX, HypothesisType.PARTITIONED_INDEX)
