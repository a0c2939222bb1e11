"""The code location: the only thing that Dagster loads."""

import dagster as dg

from ooda_dagster.defs.build import build_definitions

# The executor is for what a person materialises in the UI past our jobs: one process for a cycle there too.
defs = dg.Definitions.merge(build_definitions(), dg.Definitions(executor=dg.in_process_executor))
