"""The statistics clone: what-if without touching the target."""

from ooda_dagster.embedded.clone.clone import StatisticsClone, clone_cluster
from ooda_dagster.embedded.clone.report import CloneReport

__all__ = ["CloneReport", "StatisticsClone", "clone_cluster"]
