"""One partition a target."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

targets = dg.DynamicPartitionsDefinition(name="ooda_targets")


def ensure(instance: dg.DagsterInstance, names: Iterable[str]) -> None:
    """Add the partitions of configured targets; those of removed ones stay, with their history."""
    missing = sorted(set(names) - set(instance.get_dynamic_partitions("ooda_targets")))
    if missing:
        instance.add_dynamic_partitions("ooda_targets", missing)
