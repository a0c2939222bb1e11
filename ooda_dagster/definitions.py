"""The code location: the only thing that Dagster loads."""

from ooda_dagster.defs import build_definitions

defs = build_definitions()
