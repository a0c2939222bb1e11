"""What the loop notices by itself. One file a sensor."""

from ooda_dagster.defs.sensors.approvals import ooda_approvals
from ooda_dagster.defs.sensors.sample_statements import ooda_sample_statements

SENSORS = [ooda_sample_statements, ooda_approvals]
