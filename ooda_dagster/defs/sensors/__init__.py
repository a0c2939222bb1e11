"""What the loop notices by itself. One file a sensor."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from ooda_dagster.defs.names import Names
from ooda_dagster.defs.sensors.alerts import make_alerts
from ooda_dagster.defs.sensors.approvals import ooda_approvals
from ooda_dagster.defs.sensors.failures import make_failures
from ooda_dagster.defs.sensors.new_inferences import make_new_inferences
from ooda_dagster.defs.sensors.requests import make_requests
from ooda_dagster.defs.sensors.sample_statements import make_sample_statements


def make_sensors(names: Names, jobs: Sequence[Any]) -> list[dg.SensorDefinition]:
    """All of them, for assets of these names; failures of these jobs are told."""
    return [
        make_sample_statements(),
        make_new_inferences(names),
        make_requests(),
        ooda_approvals,
        make_alerts(names),
        make_failures(jobs),
    ]
