"""Thin Dagster: assets, checks, schedules, sensors over the loop. No rule about databases or latency in here."""

import warnings

import dagster as dg

# Dagster warns of each parameter that may still change. We pin its version; a user's own warnings stay as they are.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)
    warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec", dg.PreviewWarning)
    from ooda_dagster.defs.build import build_definitions

__all__ = ["build_definitions"]
