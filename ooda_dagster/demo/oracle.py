"""What was possible? The planted truth, applied by hand on a copy of the start state, under the same traffic."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import psycopg

from ooda_dagster.demo.load import prepare
from ooda_dagster.demo.planted import Plan
from ooda_dagster.demo.traffic import Measurement, Traffic
from ooda_dagster.embedded import Cluster
from ooda_dagster.targets.postgres.queries import trusted

_DATABASE = "oracle"
_SETTLE_S = 3.0


def measure_truth(cluster: Cluster, plan: Plan, *, seconds: float, scale: float = 1.0) -> Measurement:
    """Traffic on a copy with the truth applied. The caller has stopped the other traffic."""
    prepare(cluster, _DATABASE, plan, scale=scale)
    try:
        with psycopg.connect(cluster.dsn(_DATABASE), autocommit=True) as connection:
            for ddl in plan.truth:
                connection.execute(trusted(ddl))
        return _measure(cluster.dsn(_DATABASE), plan.seed, seconds, scale)
    finally:
        cluster.drop_database(_DATABASE)


def _measure(dsn: str, seed: int, seconds: float, scale: float) -> Measurement:
    traffic = Traffic(dsn, seed, scale=scale)
    traffic.start()
    try:
        while traffic.calls < 50 and traffic.alive:  # its process starts, and caches fill
            time.sleep(0.1)
        time.sleep(_SETTLE_S + seconds)
        now = datetime.now(UTC)
        return traffic.window(now - timedelta(seconds=seconds), now)
    finally:
        traffic.stop()
