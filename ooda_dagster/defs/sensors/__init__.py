"""What the loop notices by itself. One file a sensor."""

from __future__ import annotations

import dagster as dg

from ooda_dagster.defs.names import Names
from ooda_dagster.defs.sensors.approvals import ooda_approvals
from ooda_dagster.defs.sensors.new_inferences import make_new_inferences
from ooda_dagster.defs.sensors.requests import make_requests
from ooda_dagster.defs.sensors.sample_statements import ooda_sample_statements


def make_sensors(names: Names) -> list[dg.SensorDefinition]:
    """All of them; what they report goes to assets of these names."""
    return [ooda_sample_statements, make_new_inferences(names), make_requests(), ooda_approvals]
