"""Samples targets into the ledger's rollups."""

from ooda_dagster.collect.sampler import Sample, sample

__all__ = ["Sample", "sample"]
