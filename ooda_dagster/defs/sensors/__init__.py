"""What the loop notices by itself. One file a sensor."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from ooda_dagster.defs.names import Names
from ooda_dagster.defs.sensors.alerts import make_alerts
from ooda_dagster.defs.sensors.failures import make_failures
from ooda_dagster.defs.sensors.sample_statements import ooda_sample_statements

#: Sensors that are the same under all names.
SENSORS: list[dg.SensorDefinition] = [ooda_sample_statements]


def make_sensors(names: Names, jobs: Sequence[Any]) -> list[dg.SensorDefinition]:
    """All sensors, for assets of these names; failures of these jobs are told."""
    return [*SENSORS, make_alerts(names), make_failures(jobs)]
