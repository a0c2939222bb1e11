"""Thin Dagster: assets, checks, schedules, sensors over the loop. No rule about databases or latency in here."""

from ooda_dagster.defs.build import build_definitions

__all__ = ["build_definitions"]
